/** A certificate that signs itself, for 127.0.0.1 and localhost: X.509 v3 with an ECDSA key, in DER by hand. */
import { generateKeyPairSync, randomBytes, sign } from 'node:crypto';

export interface Certificate {
  /** PEM */
  cert: string;
  /** PEM */
  key: string;
}

const TAG = {
  integer: 0x02,
  bits: 0x03,
  octets: 0x04,
  oid: 0x06,
  utf8: 0x0c,
  sequence: 0x30,
  set: 0x31,
  time: 0x17,
};
const DAY_MS = 24 * 3600 * 1000;

export function selfSigned(): Certificate {
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const algorithm = seq(oid('1.2.840.10045.4.3.2'));
  const name = seq(der(TAG.set, seq(oid('2.5.4.3'), der(TAG.utf8, Buffer.from('longshore-test')))));
  const body = seq(
    der(0xa0, der(TAG.integer, Buffer.from([2]))),
    der(TAG.integer, Buffer.concat([Buffer.from([1]), randomBytes(8)])),
    algorithm,
    name,
    seq(time(Date.now() - DAY_MS), time(Date.now() + 30 * DAY_MS)),
    name,
    publicKey.export({ format: 'der', type: 'spki' }),
    der(0xa3, seq(authority(), alternativeNames())),
  );
  const signature = sign('sha256', body, privateKey);
  const cert = seq(body, algorithm, der(TAG.bits, Buffer.concat([Buffer.from([0]), signature])));
  return {
    cert: pem('CERTIFICATE', cert),
    key: privateKey.export({ format: 'pem', type: 'pkcs8' }) as string,
  };
}

/** Its own authority, so that it can be trusted by itself. */
function authority(): Buffer {
  const isCa = der(0x01, Buffer.from([0xff]));
  return seq(oid('2.5.29.19'), isCa, der(TAG.octets, seq(isCa)));
}

function alternativeNames(): Buffer {
  const names = seq(der(0x82, Buffer.from('localhost')), der(0x87, Buffer.from([127, 0, 0, 1])));
  return seq(oid('2.5.29.17'), der(TAG.octets, names));
}

function seq(...parts: Buffer[]): Buffer {
  return der(TAG.sequence, Buffer.concat(parts));
}

function der(tag: number, content: Buffer): Buffer {
  const { length } = content;
  const head =
    length < 0x80 ? [length] : length < 0x100 ? [0x81, length] : [0x82, length >> 8, length & 0xff];
  return Buffer.concat([Buffer.from([tag, ...head]), content]);
}

function oid(dotted: string): Buffer {
  const [first = 0, second = 0, ...rest] = dotted.split('.').map(Number);
  const bytes = [first * 40 + second];
  for (const arc of rest) {
    const digits = [arc & 0x7f];
    for (let left = arc >> 7; left > 0; left >>= 7) digits.unshift((left & 0x7f) | 0x80);
    bytes.push(...digits);
  }
  return der(TAG.oid, Buffer.from(bytes));
}

/** YYMMDDhhmmssZ */
function time(at: number): Buffer {
  const text = new Date(at)
    .toISOString()
    .replace(/[-:T]|\.\d+/g, '')
    .slice(2);
  return der(TAG.time, Buffer.from(text));
}

function pem(label: string, content: Buffer): string {
  const lines = content.toString('base64').match(/.{1,64}/g) ?? [];
  return `-----BEGIN ${label}-----\n${lines.join('\n')}\n-----END ${label}-----\n`;
}
