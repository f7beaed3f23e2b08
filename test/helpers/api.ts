/** The API of a rig, listening, and calls to it. */
import { onTestFinished } from 'vitest';
import { startApi } from '../../src/api/main.js';
import { createLogger, type Logger } from '../../src/infra/telemetry/log.js';
import { loadConfig } from '../../src/infra/config.js';
import { environmentOf } from './processes.js';
import type { Surroundings } from './processes.js';

export interface Answer {
  status: number;
  headers: Headers;
  /** Empty when it is no JSON. */
  body: Json;
  text: string;
}

export type Json = Record<string, unknown>;

export interface TestApi {
  url: string;
  get(path: string, headers?: Record<string, string>): Promise<Answer>;
  send(method: string, path: string, body?: unknown, headers?: Record<string, string>): Promise<Answer>;
  /** Harmless when it is closed. */
  close(): Promise<void>;
}

export interface TestApiOptions {
  env?: Record<string, string>;
  log?: Logger;
  checkStorage?: () => Promise<void>;
}

/** Closed with the test that runs, or by whoever started it outside of one. */
export async function startTestApi(
  surroundings: Surroundings,
  options: TestApiOptions = {},
): Promise<TestApi> {
  const env = { ...environmentOf(surroundings), LONGSHORE_API_PORT: '0', ...options.env };
  const config = loadConfig({ env, cwd: surroundings.dataDir });
  const api = await startApi(
    config,
    { version: '0.0.0-test', checkStorage: options.checkStorage ?? (() => Promise.resolve()) },
    options.log ?? createLogger({ level: 'fatal', name: 'api' }),
  );
  let closing: Promise<void> | undefined;
  const send: TestApi['send'] = async (method, path, body, headers = {}) => {
    const answer = await fetch(api.url + path, {
      method,
      redirect: 'manual',
      headers: { ...(body === undefined ? {} : { 'content-type': 'application/json' }), ...headers },
      ...(body === undefined ? {} : { body: typeof body === 'string' ? body : JSON.stringify(body) }),
    });
    const text = await answer.text();
    const json = answer.headers.get('content-type')?.includes('json') === true;
    return {
      status: answer.status,
      headers: answer.headers,
      body: json ? (JSON.parse(text) as Json) : {},
      text,
    };
  };
  return {
    url: api.url,
    send,
    get: (path, headers) => send('GET', path, undefined, headers),
    close: () => (closing ??= api.close()),
  };
}

/** The same, ended with the test. */
export async function apiOfTest(surroundings: Surroundings, options?: TestApiOptions): Promise<TestApi> {
  const api = await startTestApi(surroundings, options);
  onTestFinished(() => api.close());
  return api;
}
