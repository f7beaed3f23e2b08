import { createHash, randomBytes } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { fingerprint } from '../../src/client/fingerprint.js';
import { checkRotation, rotationUpload } from '../../src/client/rotation.js';
import type { UploadObjectInput } from '../../src/core/uploads.js';
import type { NodeRow } from '../../src/infra/catalog/nodes.js';
import {
  customerKey,
  customerKeyFromBase64,
  customerKeyFromFile,
} from '../../src/infra/keys/customer-key.js';
import { isTrustedSocket, mustBeTrusted } from '../../src/infra/keys/transport.js';

const bytes = randomBytes(32);
const b64 = bytes.toString('base64');
const md5 = createHash('md5').update(bytes).digest('base64');

describe('a customer’s key', () => {
  it.each([
    ['raw', bytes],
    ['in base64', Buffer.from(b64)],
    ['in base64 on a line', Buffer.from(`${b64}\n`)],
    ['in base64 without its end', Buffer.from(b64.replace('=', ''))],
  ])('is read from a file, %s', (_how, content) => {
    expect(customerKeyFromFile(content)).toEqual({ key: bytes, md5 });
  });

  it.each([
    ['too short', bytes.subarray(1)],
    ['too long', Buffer.concat([bytes, bytes])],
    ['hex', Buffer.from(bytes.toString('hex'))],
    ['empty', Buffer.alloc(0)],
  ])('%s is refused, and not shown', (_how, content) => {
    let message = '';
    try {
      customerKeyFromFile(content);
    } catch (error) {
      message = String(error);
    }
    expect(message).toMatch(/32 bytes/);
    if (content.length > 0) expect(message).not.toContain(content.toString());
  });

  it('goes with its own MD5 alone', () => {
    expect(customerKeyFromBase64(b64, md5)).toEqual({ key: bytes, md5 });
    const other = createHash('md5').update('x').digest('base64');
    for (const wrong of [other, '', md5.slice(1)])
      expect(() => customerKey(bytes, wrong)).toThrow(expect.objectContaining({ code: 'Contradictory' }));
  });

  it('is told by its MD5 in a fingerprint, whatever name it was sealed under', () => {
    const upload = (keyRef: string, keyMd5: string): UploadObjectInput => ({
      id: 'u',
      source: { kind: 'object', bucket: 'b', key: 'k', sealedKey: { keyRef, keyMd5 } },
      destination: { bucket: 'b', key: 'k' },
      options: { encryption: { type: 'SSE_C', keyRef, keyMd5 } },
    });
    expect(fingerprint(upload('one', md5))).toBe(fingerprint(upload('two', md5)));
    expect(fingerprint(upload('one', md5))).not.toBe(fingerprint(upload('one', 'another')));
  });
});

describe('a connection', () => {
  it.each([
    [{ encrypted: true, remoteAddress: '203.0.113.9' }, true],
    [{ remoteAddress: '127.0.0.1' }, true],
    [{ remoteAddress: '127.8.9.1' }, true],
    [{ remoteAddress: '::1' }, true],
    [{ remoteAddress: '::ffff:127.0.0.1' }, true],
    [{ remoteAddress: '10.0.0.1' }, false],
    [{ remoteAddress: '::ffff:10.0.0.1' }, false],
    [{ remoteAddress: '127.0.0.1.example' }, false],
    [{}, false],
  ])('%j may carry a key: %s', (socket, trusted) => {
    expect(isTrustedSocket(socket)).toBe(trusted);
    const carry = () => mustBeTrusted(isTrustedSocket(socket), 'begin');
    if (trusted) carry();
    else expect(carry).toThrow(expect.objectContaining({ code: 'InsecureTransport' }));
  });
});

describe('a rotation', () => {
  const node: NodeRow = {
    ...{
      nodeId: 'n',
      connectorId: null,
      name: 'n',
      contentType: null,
      bucket: 'b',
      key: 'k',
      status: 'ACTIVE',
    },
    ...{ uploadId: 'u', etag: '"e"', size: 3, versionId: null, checksum: null, encryptionType: 'SSE_C' },
    ...{ kmsKeyId: null, customerKeyMd5: md5, createdAt: '', updatedAt: '' },
  };
  const plain = { ...node, encryptionType: null, customerKeyMd5: null };

  it.each([
    ['from its own key to another', node, { from: md5, to: 'new' }, undefined],
    ['from its own key to the server’s', node, { from: md5, to: undefined }, undefined],
    ['from none to a key', plain, { from: undefined, to: 'new' }, undefined],
    ['from another key than its own', node, { from: 'other', to: 'new' }, 'WrongCustomerKey'],
    ['without its key', node, { from: undefined, to: 'new' }, 'InvalidInput'],
    ['to the same key', node, { from: md5, to: md5 }, 'InvalidInput'],
    ['with a key that it has not', plain, { from: md5, to: 'new' }, 'InvalidInput'],
    ['of no object', { ...node, status: 'FAILED' }, { from: md5, to: 'new' }, 'Conflict'],
  ] as const)('%s', (_what, of, keys, code) => {
    const check = () => checkRotation(of, keys);
    if (code === undefined) check();
    else expect(check).toThrow(expect.objectContaining({ code }));
  });

  it('copies the object onto itself, with all that it carries', () => {
    const from = { keyRef: 'r', keyMd5: md5 };
    expect(rotationUpload({ id: 'u', node, from, to: { type: 'SSE_S3' } })).toEqual({
      id: 'u',
      nodeId: 'n',
      source: { kind: 'object', bucket: 'b', key: 'k', sealedKey: from },
      destination: { bucket: 'b', key: 'k' },
      options: { encryption: { type: 'SSE_S3' }, keepAttributes: true, expectedSize: 3 },
    });
  });
});
