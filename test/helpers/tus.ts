/** Requests of the tus protocol, one by one: what clients do not do by themselves. */
import { randomBytes } from 'node:crypto';
import { Agent, request, type IncomingMessage } from 'node:http';

export interface TusAnswer {
  status: number;
  headers: IncomingMessage['headers'];
  text: string;
}

export interface TusCall {
  headers?: Record<string, string>;
  body?: Buffer;
}

export type TusCaller = (method: string, path: string, call?: TusCall) => Promise<TusAnswer>;

/** Each request has a connection of its own, unless there is an agent. `Tus-Resumable` is added; say '' to leave it out. */
export function tusCaller(url: string, agent?: Agent): TusCaller {
  return (method, path, { headers = {}, body } = {}) =>
    new Promise((resolve, reject) => {
      const sent = request(
        new URL(path, url),
        { method, agent: agent ?? new Agent(), headers: headersOf(headers, body) },
        (response) => {
          const chunks: Buffer[] = [];
          response.on('data', (chunk: Buffer) => chunks.push(chunk));
          response.on('error', reject);
          response.on('end', () => {
            const { statusCode: status = 0, headers: answered } = response;
            resolve({ status, headers: answered, text: Buffer.concat(chunks).toString() });
          });
        },
      );
      sent.on('error', reject);
      sent.end(body);
    });
}

function headersOf(headers: Record<string, string>, body: Buffer | undefined): Record<string, string> {
  const all: Record<string, string> = { 'tus-resumable': '1.0.0', ...headers };
  if (body !== undefined && all['transfer-encoding'] === undefined)
    all['content-length'] = String(body.byteLength);
  return Object.fromEntries(Object.entries(all).filter(([, value]) => value !== ''));
}

export const OFFSET_STREAM = { 'content-type': 'application/offset+octet-stream' };

/** `Upload-Metadata` of these fields. */
export function metadataOf(fields: Record<string, string>): string {
  return Object.entries(fields)
    .map(([name, value]) => `${name} ${Buffer.from(value).toString('base64')}`)
    .join(',');
}

export interface OpenPatch {
  /** Sends these bytes, and waits until they are handed over. */
  write(bytes: Buffer): Promise<void>;
  /** Ends the body, and gives the answer's status. */
  end(): Promise<number>;
  /** Resets the connection. */
  reset(): void;
  /** undefined when the connection went without one. */
  answered: Promise<number | undefined>;
}

/** A PATCH whose body comes as the test likes. */
export function openPatch(
  url: string,
  path: string,
  offset: number,
  headers: Record<string, string> = {},
): OpenPatch {
  const sent = request(new URL(path, url), {
    method: 'PATCH',
    agent: new Agent(),
    headers: { 'tus-resumable': '1.0.0', ...OFFSET_STREAM, 'upload-offset': String(offset), ...headers },
  });
  const answered = new Promise<number | undefined>((resolve) => {
    sent.on('response', (response) => {
      response.resume();
      resolve(response.statusCode);
    });
    // A reset is what some tests are for; who waits for an answer sees that there is none.
    sent.on('error', () => resolve(undefined));
  });
  return {
    answered,
    write: (bytes) =>
      new Promise((resolve, reject) => sent.write(bytes, (error) => (error ? reject(error) : resolve()))),
    end: async () => {
      sent.end();
      const status = await answered;
      if (status === undefined) throw new Error('the connection went without an answer');
      return status;
    },
    reset: () => void sent.socket?.resetAndDestroy(),
  };
}

/** No two MiB of it are alike. */
export function someBytes(size: number): Buffer {
  return randomBytes(size);
}
