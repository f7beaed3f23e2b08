#!/usr/bin/env node
/** Starts the program beside it with the code that V8 compiled for it at the build, where this is the same V8. */
import { existsSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';
import { Script } from 'node:vm';

const filename = fileURLToPath(new URL('PROGRAM.cjs', import.meta.url));
const cache = fileURLToPath(new URL('PROGRAM.cache', import.meta.url));
const script = new Script(readFileSync(filename, 'latin1'), {
  filename,
  ...(existsSync(cache) ? { cachedData: readFileSync(cache) } : {}),
});
script.runInThisContext()(createRequire(import.meta.url), import.meta.url);
