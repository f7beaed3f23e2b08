/** Where a command's words go: results to stdout, all else to stderr, and nothing that a terminal would obey. */
import type { Readable, Writable } from 'node:stream';
import { EXIT, LongshoreError } from '../../core/errors.js';
import { clean, jsonLine } from './text.js';

export interface Terminal extends Writable {
  isTTY?: boolean;
  columns?: number;
}

export interface IoOptions {
  stdout: Terminal;
  stderr: Terminal;
  /** Opened when it is read. */
  stdin?: (() => Readable) | undefined;
  env: Readonly<Record<string, string | undefined>>;
  cwd: string;
  /** The file that this program was started from. */
  entry: string;
  json: boolean;
  exit: (code: number) => never;
}

export class Io {
  readonly env: IoOptions['env'];
  readonly cwd: string;
  readonly entry: string;
  readonly json: boolean;
  /** Exit code for when the reader of stdout goes away; an upload that is being watched goes on without us. */
  brokenPipeCode: number = EXIT.ok;
  /** Called instead, where something is to be put in order before the command ends. */
  onBrokenPipe: (() => void) | undefined;
  private readonly input: IoOptions['stdin'];
  private readonly stdout: Terminal;
  private readonly stderr: Terminal;

  constructor(options: IoOptions) {
    this.stdout = options.stdout;
    this.stderr = options.stderr;
    this.env = options.env;
    this.cwd = options.cwd;
    this.entry = options.entry;
    this.json = options.json;
    this.input = options.stdin;
    const onError = (error: NodeJS.ErrnoException): void => {
      if (error.code !== 'EPIPE') throw error;
      if (this.onBrokenPipe === undefined) options.exit(this.brokenPipeCode);
      else this.onBrokenPipe();
    };
    this.stdout.on('error', onError);
    this.stderr.on('error', onError);
  }

  /** `LONGSHORE_LOG_LEVEL=debug` (or `trace`) shows stack traces. */
  get debug(): boolean {
    return /^(debug|trace)$/i.test(this.env['LONGSHORE_LOG_LEVEL'] ?? '');
  }

  /** Whether stderr can redraw a line. */
  get interactive(): boolean {
    return this.stderr.isTTY === true && this.env['TERM'] !== 'dumb' && !this.json;
  }

  get columns(): number {
    return this.stderr.columns ?? 80;
  }

  /** Throws InvalidInput where there is none. */
  get stdin(): Readable {
    if (this.input !== undefined) return this.input();
    throw new LongshoreError('InvalidInput', 'there is no standard input', { op: 'read' });
  }

  /** A line of the result. */
  out(line: string): void {
    this.stdout.write(`${clean(line)}\n`);
  }

  /** A JSON line of the result; the shapes are in docs/cli.md. */
  outJson(value: object): void {
    this.stdout.write(`${jsonLine(value)}\n`);
  }

  /** A line for people beside the result. */
  err(line: string): void {
    this.stderr.write(`${clean(line)}\n`);
  }

  /** Text with control sequences of our own. */
  raw(text: string): void {
    this.stderr.write(text);
  }

  async flush(): Promise<void> {
    await Promise.all(
      [this.stdout, this.stderr].map((stream) => new Promise((done) => stream.write('', done))),
    );
  }
}
