import { describe, expect, it } from 'vitest';
import { addressPolicy } from '../../src/infra/sources/url-guard.js';

const verdict = (allow: string[], host: string, address = host, port = 80): string => {
  try {
    addressPolicy(allow).check(host, address, port);
    return 'allowed';
  } catch (error) {
    return (error as { code: string }).code;
  }
};

describe('the address policy', () => {
  it.each([
    '8.8.8.8',
    '1.1.1.1',
    '172.32.0.1',
    '100.128.0.1',
    '2606:4700:4700::1111',
    '2a00:1450:4001:81b::200e',
  ])('permits the public address %s', (address) => expect(verdict([], address)).toBe('allowed'));

  it.each([
    ...[
      '127.0.0.1',
      '127.255.255.254',
      '0.0.0.0',
      '0.1.2.3',
      '10.0.0.1',
      '172.16.0.1',
      '172.31.255.255',
      '192.168.1.1',
    ],
    ...[
      '169.254.169.254',
      '100.64.0.1',
      '100.127.255.255',
      '224.0.0.1',
      '239.1.1.1',
      '255.255.255.255',
      '240.0.0.1',
    ],
    ...['192.0.0.192', '192.0.2.1', '198.18.0.1', '198.51.100.1', '203.0.113.1', '192.88.99.1'],
    ...['::1', '::', 'fe80::1', 'fe80::1%eth0', 'fc00::1', 'fd00:ec2::254', 'fec0::1', 'ff02::1', '100::1'],
    ...['::ffff:127.0.0.1', '::ffff:8.8.8.8', '::127.0.0.1', '::8.8.8.8', '::ffff:0:127.0.0.1'],
    ...['64:ff9b::7f00:1', '64:ff9b:1::1', '2002:7f00:1::', '2001::1', '2001:db8::1', '3fff::1', '4000::1'],
  ])('refuses %s', (address) => expect(verdict([], address)).toBe('SourceNotAllowed'));

  it('refuses what is no address', () => expect(verdict([], 'x', 'nonsense')).toBe('SourceNotAllowed'));

  it('permits what a CIDR block or an address names, and nothing beside it', () => {
    expect(verdict(['10.1.0.0/16'], 'h', '10.1.2.3')).toBe('allowed');
    expect(verdict(['10.1.0.0/16'], 'h', '::ffff:10.1.2.3')).toBe('allowed');
    expect(verdict(['10.1.0.0/16'], 'h', '10.2.0.1')).toBe('SourceNotAllowed');
    expect(verdict(['fd00::/8'], 'h', 'fd12::1')).toBe('allowed');
    expect(verdict(['fd00::/8'], 'h', '10.0.0.1')).toBe('SourceNotAllowed');
    expect(verdict(['127.0.0.1'], '127.0.0.1')).toBe('allowed');
    expect(verdict(['127.0.0.1'], '127.0.0.2')).toBe('SourceNotAllowed');
    expect(verdict(['::1'], '::1')).toBe('allowed');
  });

  it('holds a rule to its port', () => {
    expect(verdict(['127.0.0.1:8080'], '127.0.0.1', '127.0.0.1', 8080)).toBe('allowed');
    expect(verdict(['127.0.0.1:8080'], '127.0.0.1', '127.0.0.1', 80)).toBe('SourceNotAllowed');
    expect(verdict(['[::1]:8080'], '::1', '::1', 8080)).toBe('allowed');
    expect(verdict(['[::1]:8080'], '::1', '::1', 81)).toBe('SourceNotAllowed');
    expect(verdict(['intra.example:81'], 'intra.example', '10.0.0.1', 81)).toBe('allowed');
    expect(verdict(['intra.example:81'], 'intra.example', '10.0.0.1', 80)).toBe('SourceNotAllowed');
  });

  it('permits a host by its name only', () => {
    expect(verdict(['Intra.Example'], 'intra.example.', '10.0.0.1')).toBe('allowed');
    expect(verdict(['intra.example'], 'evil.intra.example', '10.0.0.1')).toBe('SourceNotAllowed');
    expect(verdict(['intra.example'], '10.0.0.1')).toBe('SourceNotAllowed');
  });

  it.each([
    '',
    'a b',
    '10.0.0.0/99',
    'http://x',
    'x:',
    'x:0',
    'x:70000',
    '*',
    '[::1',
    '10.0.0.0/8:80',
    'user@x',
  ])('refuses the entry %j', (entry) =>
    expect(() => addressPolicy([entry])).toThrow(expect.objectContaining({ code: 'InvalidConfig' })),
  );
});
