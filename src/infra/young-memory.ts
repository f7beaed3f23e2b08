/**
 * Gives back the memory of bodies that have passed. Each piece of one is a Buffer, whose bytes V8 counts but does not hold:
 * its own small collections come far too seldom for them, and for every 64 MiB it marks the whole heap instead, which costs
 * more than all that is done with the bytes. A small collection in time takes a millisecond.
 */
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { MiB } from '../core/limits.js';

/** Well below the 64 MiB. */
const EVERY = 16 * MiB;

let passed = 0;
let collect: (() => void) | undefined;

/** Bytes that came in Buffers of their own and will soon be garbage. */
export function bytesPassed(bytes: number): void {
  passed += bytes;
  if (passed < EVERY) return;
  passed = 0;
  collect ??= smallCollection();
  collect();
}

function smallCollection(): () => void {
  setFlagsFromString('--expose-gc');
  const gc = runInNewContext('globalThis.gc') as ((options: { type: 'minor' }) => void) | undefined;
  setFlagsFromString('--no-expose-gc');
  // Without it everything goes on, and only costs more.
  return () => gc?.({ type: 'minor' });
}
