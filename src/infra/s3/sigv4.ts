/** AWS Signature Version 4 for the requests of the lean path, signed in headers. */
import { createHash, createHmac } from 'node:crypto';
import type { Credentials } from './credentials.js';

export const UNSIGNED_PAYLOAD = 'UNSIGNED-PAYLOAD';

export interface SignableRequest {
  method: string;
  /** Encoded path, as sent. */
  path: string;
  /** Encoded query, sorted by name, without `?`; empty when there is none. */
  query: string;
  /** Lower-case names; all of them are signed. Must hold `host`. */
  headers: Readonly<Record<string, string>>;
  /** Hex SHA-256 of the body, or UNSIGNED_PAYLOAD. */
  payloadHash: string;
}

/** Gives the headers to send: those of the request, and what signing adds. */
export type Signer = (
  request: SignableRequest,
  credentials: Credentials,
  now: Date,
) => Record<string, string>;

export function createSigner(region: string, service = 's3'): Signer {
  const keyFor = createKeyCache(region, service);
  return (request, credentials, now) => {
    const stamp = now.toISOString().replace(/[-:]|\.\d{3}/g, '');
    const day = stamp.slice(0, 8);
    const headers: Record<string, string> = {
      ...request.headers,
      'x-amz-content-sha256': request.payloadHash,
      'x-amz-date': stamp,
    };
    if (credentials.sessionToken !== undefined) headers['x-amz-security-token'] = credentials.sessionToken;
    const names = Object.keys(headers).sort();
    const signed = names.join(';');
    const scope = `${day}/${region}/${service}/aws4_request`;
    const canonical = canonicalRequest(request, headers, names, signed);
    const toSign = `AWS4-HMAC-SHA256\n${stamp}\n${scope}\n${createHash('sha256').update(canonical).digest('hex')}`;
    const signature = createHmac('sha256', keyFor(credentials, day)).update(toSign).digest('hex');
    headers['authorization'] =
      `AWS4-HMAC-SHA256 Credential=${credentials.accessKeyId}/${scope}, SignedHeaders=${signed}, Signature=${signature}`;
    return headers;
  };
}

function canonicalRequest(
  request: SignableRequest,
  headers: Readonly<Record<string, string>>,
  names: readonly string[],
  signed: string,
): string {
  let lines = '';
  for (const name of names) lines += `${name}:${(headers[name] ?? '').trim().replace(/ {2,}/g, ' ')}\n`;
  return `${request.method}\n${request.path}\n${request.query}\n${lines}\n${signed}\n${request.payloadHash}`;
}

/** Four HMACs a request otherwise: the key changes only with the day and the secret. */
function createKeyCache(region: string, service: string): (credentials: Credentials, day: string) => Buffer {
  let cached: { secret: string; day: string; key: Buffer } | undefined;
  return ({ secretAccessKey: secret }, day) => {
    if (cached?.secret !== secret || cached.day !== day) {
      const step = (key: string | Buffer, data: string) => createHmac('sha256', key).update(data).digest();
      const key = step(step(step(step(`AWS4${secret}`, day), region), service), 'aws4_request');
      cached = { secret, day, key };
    }
    return cached.key;
  };
}
