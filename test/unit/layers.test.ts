import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { ESLint } from 'eslint';
import { beforeAll, describe, expect, it } from 'vitest';

const root = join(import.meta.dirname, '../..');
const eslint = new ESLint({ cwd: root });

/** Typed rules know only files of the project, so the text is judged in the place of one that is there. */
function fileIn(layer: string): string {
  const folder = join(root, 'src', layer);
  const names = existsSync(folder) ? readdirSync(folder).filter((name) => name.endsWith('.ts')) : [];
  const found = names.find((name) => !name.startsWith('config') && name !== 'main.ts');
  if (found === undefined) throw new Error(`src/${layer} has no file to stand in for`);
  return join(folder, found);
}

async function rulesBroken(layer: string, code: string): Promise<(string | null)[]> {
  const [result] = await eslint.lintText(code, { filePath: fileIn(layer) });
  return (result?.messages ?? []).map(({ ruleId }) => ruleId);
}

const LAYERS = 'longshore/layers';

// The first judgement reads the types of the whole project, which takes a busy machine half a minute.
beforeAll(() => rulesBroken('core', ''), 120_000);

describe('layer arrows', () => {
  it.each([
    ['workflows', "export { createLeanStore } from '../infra/s3/lean-store.js';"],
    ['workflows', "import { readFile } from 'node:fs/promises';\nexport const read = readFile;"],
    ['workflows', "import fs from 'fs';\nexport const read = fs.readFileSync;"],
    ['workflows', "export * from '../activities/uploads.js';"],
    ['workflows', "export type { Pool } from '../infra/catalog/pool.js';"],
    ['workflows', "export { Client } from '@temporalio/client';"],
    ['workflows', "export const later = (): Promise<unknown> => import('../infra/config.js');"],
    ['workflows', "export type Later = import('../infra/not-there-yet.js').Later;"],
    ['core', "export { loadConfig } from '../infra/config.js';"],
    ['core', "export { crc32 } from 'node:zlib';"],
    ['core', "export type { Readable } from 'node:stream';"],
    ['core', "export { request } from 'undici';"],
    ['infra/s3', "export * from '../../activities/uploads.js';"],
    ['infra/s3', "export * from '../../client/uploads.js';"],
    ['activities', "export * from '../workflows/index.js';"],
    ['client', "export * from '../infra/s3/lean-store.js';"],
    ['client', "export * from '../workers/worker.js';"],
    ['workers', "export * from '../../test/helpers/wait.js';"],
  ])('src/%s may not: %s', async (layer, code) => {
    expect(await rulesBroken(layer, code)).toContain(LAYERS);
  });

  it.each([
    [
      'workflows',
      "export type { UploadState } from '../core/states.js';\nexport { isTerminal } from '../core/states.js';",
    ],
    ['workflows', "export type * as activities from '../activities/uploads.js';"],
    ['workflows', "export { sleep } from '@temporalio/workflow';"],
    ['core', "export { isTerminal } from './states.js';"],
    ['activities', "export * from '../infra/s3/store.js';\nexport { crc32 } from 'node:zlib';"],
    ['client', "export * from '../infra/temporal/connection.js';"],
  ])('src/%s may: %s', async (layer, code) => {
    expect(await rulesBroken(layer, code)).not.toContain(LAYERS);
  });
});

describe('rules that keep code honest', () => {
  it.each([
    ['@typescript-eslint/no-floating-promises', 'export function f(): void {\n  Promise.resolve(1);\n}'],
    [
      '@typescript-eslint/no-misused-promises',
      'export const f = (): void => [1].forEach(async () => Promise.resolve());',
    ],
    ['@typescript-eslint/no-explicit-any', 'export const f = (x: any): unknown => x;'],
    [
      '@typescript-eslint/consistent-type-imports',
      "import { UploadState } from '../core/states.js';\nexport type S = UploadState;",
    ],
    [
      '@typescript-eslint/switch-exhaustiveness-check',
      "export function f(x: 'a' | 'b'): number | undefined {\n  switch (x) {\n    case 'a':\n      return 1;\n  }\n  return undefined;\n}",
    ],
    ['no-empty', 'export function f(): void {\n  try {\n    JSON.parse("");\n  } catch {}\n}'],
    ['no-restricted-syntax', "export const home = process.env['HOME'];"],
    [
      'max-lines-per-function',
      `export function f(): number {\n  let x = 0;\n${'  x++;\n'.repeat(61)}  return x;\n}`,
    ],
  ])('%s', async (rule, code) => {
    expect(await rulesBroken('activities', code)).toContain(rule);
  });

  it('keeps Node’s globals out of workflow code', async () => {
    expect(await rulesBroken('workflows', "export const b = Buffer.from('x');")).toContain(
      'no-restricted-globals',
    );
  });
});
