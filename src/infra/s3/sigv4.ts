/** AWS Signature Version 4: requests of the lean path in their headers, those handed to others in the query or a form. */
import { createHash, createHmac } from 'node:crypto';
import { encodeComponent } from './addressing.js';
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
    const { stamp, day } = timeOf(now);
    const headers: Record<string, string> = {
      ...request.headers,
      'x-amz-content-sha256': request.payloadHash,
      'x-amz-date': stamp,
    };
    if (credentials.sessionToken !== undefined) headers['x-amz-security-token'] = credentials.sessionToken;
    const names = Object.keys(headers).sort();
    const signed = names.join(';');
    const scope = `${day}/${region}/${service}/aws4_request`;
    const toSign = textToSign(canonicalRequest(request, headers, names, signed), stamp, scope);
    const signature = createHmac('sha256', keyFor(credentials, day)).update(toSign).digest('hex');
    headers['authorization'] =
      `AWS4-HMAC-SHA256 Credential=${credentials.accessKeyId}/${scope}, SignedHeaders=${signed}, Signature=${signature}`;
    return headers;
  };
}

/** What a presigned request is made of; whoever sends it has to send these headers as they are. */
export interface PresignableRequest extends Pick<SignableRequest, 'method' | 'path' | 'headers'> {
  /** Names and values, not encoded. */
  query: Readonly<Record<string, string>>;
}

export interface PresignOptions {
  now: Date;
  /** Seconds. */
  lifetime: number;
}

/** Gives the whole query to send, encoded, without `?`. */
export type QuerySigner = (
  request: PresignableRequest,
  credentials: Credentials,
  options: PresignOptions,
) => string;

export function createQuerySigner(region: string, service = 's3'): QuerySigner {
  const keyFor = createKeyCache(region, service);
  return (request, credentials, { now, lifetime }) => {
    const { stamp, day } = timeOf(now);
    const scope = `${day}/${region}/${service}/aws4_request`;
    const names = Object.keys(request.headers).sort();
    const signed = names.join(';');
    const query = canonicalQuery({
      ...request.query,
      'X-Amz-Algorithm': 'AWS4-HMAC-SHA256',
      'X-Amz-Credential': `${credentials.accessKeyId}/${scope}`,
      'X-Amz-Date': stamp,
      'X-Amz-Expires': String(lifetime),
      'X-Amz-SignedHeaders': signed,
      ...(credentials.sessionToken === undefined ? {} : { 'X-Amz-Security-Token': credentials.sessionToken }),
    });
    const signable = { ...request, query, payloadHash: UNSIGNED_PAYLOAD };
    const toSign = textToSign(canonicalRequest(signable, request.headers, names, signed), stamp, scope);
    const signature = createHmac('sha256', keyFor(credentials, day)).update(toSign).digest('hex');
    return `${query}&X-Amz-Signature=${signature}`;
  };
}

/** Sorted by name, as the signature wants it. */
function canonicalQuery(query: Readonly<Record<string, string>>): string {
  return Object.entries(query)
    .map(([name, value]): [string, string] => [encodeComponent(name), encodeComponent(value)])
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([name, value]) => `${name}=${value}`)
    .join('&');
}

/** A condition of a POST policy: a field’s exact value, or the bounds of the file’s length. */
export type PolicyCondition = Readonly<Record<string, string>> | ['content-length-range', number, number];

export interface PolicyOptions {
  now: Date;
  expiresAt: Date;
}

/** Gives all fields of the form but the file: `fields`, each held to its value, and what signing adds. */
export type PolicySigner = (
  fields: Readonly<Record<string, string>>,
  conditions: readonly PolicyCondition[],
  credentials: Credentials,
  options: PolicyOptions,
) => Record<string, string>;

export function createPolicySigner(region: string, service = 's3'): PolicySigner {
  const keyFor = createKeyCache(region, service);
  return (fields, conditions, credentials, { now, expiresAt }) => {
    const { stamp, day } = timeOf(now);
    const all: Record<string, string> = {
      ...fields,
      'x-amz-algorithm': 'AWS4-HMAC-SHA256',
      'x-amz-credential': `${credentials.accessKeyId}/${day}/${region}/${service}/aws4_request`,
      'x-amz-date': stamp,
    };
    if (credentials.sessionToken !== undefined) all['x-amz-security-token'] = credentials.sessionToken;
    const exact = Object.entries(all).map(([name, value]) => ({ [name]: value }));
    const document = { expiration: expiresAt.toISOString(), conditions: [...conditions, ...exact] };
    const policy = Buffer.from(JSON.stringify(document)).toString('base64');
    const signature = createHmac('sha256', keyFor(credentials, day)).update(policy).digest('hex');
    return { ...all, policy, 'x-amz-signature': signature };
  };
}

function timeOf(now: Date): { stamp: string; day: string } {
  const stamp = now.toISOString().replace(/[-:]|\.\d{3}/g, '');
  return { stamp, day: stamp.slice(0, 8) };
}

function textToSign(canonical: string, stamp: string, scope: string): string {
  const digest = createHash('sha256').update(canonical).digest('hex');
  return `AWS4-HMAC-SHA256\n${stamp}\n${scope}\n${digest}`;
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
