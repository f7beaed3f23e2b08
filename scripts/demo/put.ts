/** `longshore put` as a process of its own. */
import { startCommand, type CommandOptions, type Running } from './command.js';

/** What the demo uses of the last line of `put --json`. */
export interface PutResult {
  type: 'result';
  state: string;
  bucket: string;
  key: string;
  size: number;
  checksum: string | null;
  verification: string;
  bytesSent: number;
  parts: number;
  generations: number;
  seconds: number;
  webUi: string | null;
}

export interface PutOptions extends CommandOptions {
  file: string;
  to: string;
  id: string;
}

export type Put = Running<PutResult>;

export function startPut({ file, to, id, ...options }: PutOptions): Put {
  return startCommand<PutResult>(['put', '--id', id, file, to], options);
}
