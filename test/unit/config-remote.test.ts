/** Which API commands send bytes to, and with which key. */
import { mkdirSync, mkdtempSync, realpathSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { describeConfig, loadConfig, type Config } from '../../src/infra/config.js';

let cwd: string;
beforeEach(() => {
  cwd = realpathSync(mkdtempSync(join(tmpdir(), 'longshore-remote-')));
});
afterEach(() => rmSync(cwd, { recursive: true, force: true }));

const load = (env: Record<string, string> = {}, apiUrl?: string): Config =>
  loadConfig({ env: { HOME: cwd, ...env }, flags: { apiUrl }, cwd });

function writeDev(change: object = {}): void {
  mkdirSync(join(cwd, '.longshore'), { recursive: true });
  const state = {
    ...{ status: 'running', temporal: { address: '127.0.0.1:17233', ui: 'http://127.0.0.1:1' } },
    ...{ api: { url: 'http://127.0.0.1:18000' }, ...change },
  };
  writeFileSync(join(cwd, '.longshore', 'dev.json'), JSON.stringify(state));
}

test('none is known by default', () => {
  expect(load().remote).toBeUndefined();
});

test('a flag outweighs the environment, and a slash at the end means nothing', () => {
  const env = { LONGSHORE_API_URL: 'https://api.example/longshore/', LONGSHORE_API_KEY: 'lsk_secret' };
  const known = { key: 'lsk_secret', patienceMs: 300_000, asked: true };
  expect(load(env).remote).toEqual({ url: 'https://api.example/longshore', ...known });
  expect(load(env, 'http://127.0.0.1:8000').remote).toEqual({ url: 'http://127.0.0.1:8000', ...known });
  expect(load({ ...env, LONGSHORE_API_PATIENCE: '10s' }).remote?.patienceMs).toBe(10_000);
  expect(JSON.stringify(describeConfig(load(env)))).not.toContain('lsk_secret');
});

test('that of the stack in this folder is known, not asked for, and gets no key of another', () => {
  writeDev();
  const remote = { url: 'http://127.0.0.1:18000', key: undefined, patienceMs: 300_000, asked: false };
  expect(load({ LONGSHORE_API_KEY: 'lsk_secret' }).remote).toEqual(remote);
  expect(load({ LONGSHORE_API_URL: 'http://127.0.0.1:1' }).remote).toMatchObject({ asked: true });
  // With another Temporal the stack is not in use.
  expect(load({ TEMPORAL_ADDRESS: '127.0.0.1:1' }).remote).toBeUndefined();
  writeDev({ status: 'stopped' });
  expect(load().remote).toBeUndefined();
  writeDev({ api: undefined });
  expect(load().remote).toBeUndefined();
});

test.each(['api.example', 'ftp://api.example', 'https://me:pw@api.example', 'https://api.example/?x=1'])(
  '%j is no address of an API',
  (url) => {
    expect(() => load({ LONGSHORE_API_URL: url })).toThrow('LONGSHORE_API_URL');
    expect(() => load({}, url)).toThrow('--api');
    expect(() => load({}, url)).not.toThrow('pw@');
  },
);
