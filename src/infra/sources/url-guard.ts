/**
 * Which addresses may be fetched. The check sits in the connector, between the answer of the name server and the
 * connection, so the address that was judged is the address that is used: a name that changes its answer gains nothing.
 */
import { lookup as dnsLookup } from 'node:dns';
import { isIP, type LookupFunction } from 'node:net';
import ipaddr from 'ipaddr.js';
import { buildConnector } from 'undici';
import { LongshoreError } from '../../core/errors.js';

type Address = ipaddr.IPv4 | ipaddr.IPv6;

/** One entry of `LONGSHORE_URL_ALLOW`. */
interface AllowRule {
  /** undefined: every port. */
  port: number | undefined;
  matches(host: string, address: Address): boolean;
}

export interface AddressPolicy {
  /** Throws SourceNotAllowed when neither the address is public nor a rule permits it. */
  check(host: string, address: string, port: number): void;
}

/** RFC 4291: what is routed publicly today. ipaddr.js calls everything that has no name `unicast`, `::127.0.0.1` too. */
const GLOBAL_V6: [ipaddr.IPv6, number] = [ipaddr.IPv6.parse('2000::'), 3];

/**
 * `allow` holds CIDR blocks, addresses and host names; a host name or address may carry `:port` (`[address]:port` for
 * IPv6). Throws InvalidConfig for anything else.
 */
export function addressPolicy(allow: readonly string[]): AddressPolicy {
  const rules = allow.map(parseRule);
  return {
    check(host, address, port) {
      const parsed = parseAddress(address);
      if (parsed !== undefined) {
        if (isPublic(parsed)) return;
        const plain = unmapped(parsed);
        const named = canonicalHost(host);
        if (rules.some((rule) => (rule.port ?? port) === port && rule.matches(named, plain))) return;
      }
      const where = host === address ? address : `${host} (${address})`;
      throw notAllowed(`${where} port ${port} is not a public address`);
    },
  };
}

export interface ConnectorSettings {
  connectTimeoutMs: number;
  /** Default: the system's resolver. */
  lookup?: LookupFunction | undefined;
  /** PEM of the only certificate authority to trust. Default: those that Node trusts. */
  ca?: string | undefined;
}

/** An undici connector that connects to nothing the policy refuses. */
export function guardedConnector(
  policy: AddressPolicy,
  settings: ConnectorSettings,
): buildConnector.connector {
  const { connectTimeoutMs, lookup = dnsLookup, ca } = settings;
  // One connector a port, because a lookup is not told the port that a rule may name; TLS sessions stay reusable.
  const byPort = new Map<number, buildConnector.connector>();
  return (options, callback) => {
    const port = Number(options.port) || (options.protocol === 'https:' ? 443 : 80);
    const { hostname } = options;
    if (isIP(hostname) !== 0) {
      // Literals never reach a lookup.
      const refusal = refusalOf(() => policy.check(hostname, hostname, port));
      if (refusal !== undefined) {
        callback(refusal, null);
        return;
      }
    }
    let connect = byPort.get(port);
    if (connect === undefined) {
      connect = buildConnector({
        timeout: connectTimeoutMs,
        autoSelectFamily: true,
        autoSelectFamilyAttemptTimeout: 300,
        lookup: guardedLookup(policy, port, lookup),
        ...(ca === undefined ? {} : { ca }),
      });
      byPort.set(port, connect);
    }
    connect(options, callback);
  };
}

/** Answers only with permitted addresses; the refusal itself when there is no other. */
function guardedLookup(policy: AddressPolicy, port: number, lookup: LookupFunction): LookupFunction {
  return (hostname, options, callback) => {
    lookup(hostname, { ...options, all: true }, (error, answer, family) => {
      if (error) {
        callback(error, '', 0);
        return;
      }
      const answers = Array.isArray(answer) ? answer : [{ address: answer, family: family ?? isIP(answer) }];
      let refusal: LongshoreError | undefined;
      const permitted = answers.filter(({ address }) => {
        const refused = refusalOf(() => policy.check(hostname, address, port));
        refusal ??= refused;
        return refused === undefined;
      });
      const first = permitted[0];
      if (first === undefined) callback(refusal ?? notAllowed(`${hostname} has no address`), '', 0);
      else if (options.all === true) callback(null, permitted);
      else callback(null, first.address, first.family);
    });
  };
}

function refusalOf(check: () => void): LongshoreError | undefined {
  try {
    check();
    return undefined;
  } catch (error) {
    if (error instanceof LongshoreError) return error;
    throw error;
  }
}

function isPublic(address: Address): boolean {
  if (address.range() !== 'unicast') return false;
  return address.kind() === 'ipv4' || (address as ipaddr.IPv6).match(GLOBAL_V6);
}

/** `::ffff:10.0.0.1` is the host 10.0.0.1, so a rule for one permits the other. */
function unmapped(address: Address): Address {
  if (address.kind() === 'ipv4') return address;
  const v6 = address as ipaddr.IPv6;
  return v6.isIPv4MappedAddress() ? v6.toIPv4Address() : v6;
}

function parseAddress(text: string): Address | undefined {
  return isIP(text) === 0 ? undefined : ipaddr.parse(text);
}

function canonicalHost(host: string): string {
  return host.toLowerCase().replace(/\.$/, '');
}

function parseRule(entry: string): AllowRule {
  const text = entry.trim();
  if (text.includes('/')) return cidrRule(text, entry);
  const { host, port } = splitPort(text, entry);
  const address = parseAddress(host);
  if (address !== undefined) {
    const wanted = unmapped(address).toNormalizedString();
    return { port, matches: (_host, candidate) => candidate.toNormalizedString() === wanted };
  }
  if (!/^[a-z0-9_]([a-z0-9_.-]*[a-z0-9_])?\.?$/i.test(host)) throw badRule(entry);
  const wanted = canonicalHost(host);
  return { port, matches: (candidate) => candidate === wanted };
}

function cidrRule(text: string, entry: string): AllowRule {
  if (!ipaddr.isValidCIDR(text)) throw badRule(entry);
  const [network, bits] = ipaddr.parseCIDR(text);
  return {
    port: undefined,
    matches: (_host, address) => address.kind() === network.kind() && address.match(network, bits),
  };
}

function splitPort(text: string, entry: string): { host: string; port: number | undefined } {
  if (isIP(text) !== 0) return { host: text, port: undefined };
  const match = /^(?:\[(?<v6>[^\]]+)\]|(?<name>[^:[\]]+))(?::(?<port>\d{1,5}))?$/.exec(text);
  const host = match?.groups?.['v6'] ?? match?.groups?.['name'];
  if (match === null || host === undefined) throw badRule(entry);
  const port = match.groups?.['port'];
  if (port === undefined) return { host, port: undefined };
  if (Number(port) < 1 || Number(port) > 65_535) throw badRule(entry);
  return { host, port: Number(port) };
}

function badRule(entry: string): LongshoreError {
  return new LongshoreError(
    'InvalidConfig',
    `LONGSHORE_URL_ALLOW: ${JSON.stringify(entry)} is no CIDR block, host name or host:port`,
    { op: 'loadConfig' },
  );
}

function notAllowed(message: string): LongshoreError {
  return new LongshoreError('SourceNotAllowed', message, { op: 'connect' });
}
