/** The commands and their options. What a command does is in commands/, loaded when it is used. */
import { Command, CommanderError } from 'commander';
import { EXIT, LongshoreError } from '../../core/errors.js';
import { report } from './failure.js';
import type { Io } from './io.js';
import { jobOptions } from './job-options.js';
import * as add from './options.js';
import type { Common } from './options.js';

type Run = (io: Io, options: never, ...args: string[]) => Promise<number>;

/** Runs one command line and answers the exit code. Never throws. */
export async function runProgram(io: Io, argv: readonly string[], version: string): Promise<number> {
  let code: number = EXIT.ok;
  const done = (result: number): void => {
    code = result;
  };
  try {
    await build(io, version, done).parseAsync([...argv], { from: 'user' });
    return code;
  } catch (error) {
    if (error instanceof CommanderError) return usage(io, error);
    return report(io, error);
  }
}

/** Help and version are no failures; the rest is bad usage. */
function usage(io: Io, error: CommanderError): number {
  if (error.exitCode === 0) return EXIT.ok;
  if (error.code === 'commander.help') return EXIT.usage;
  const message = error.message.replace(/^error: /, '');
  return report(
    io,
    new LongshoreError('InvalidInput', message, {
      op: 'usage',
      hint: '`longshore --help` lists commands, `longshore <command> --help` options.',
    }),
  );
}

function build(io: Io, version: string, done: (code: number) => void): Command {
  const program = new Command('longshore')
    .description(
      'Moves bytes into S3 and does not lose its place: every upload and every job is a Temporal workflow.',
    )
    .version(version)
    .exitOverride()
    .configureOutput({
      outputError: () => undefined,
      writeOut: (text) => write(text),
      writeErr: (text) => io.raw(text),
    })
    .showSuggestionAfterError()
    .helpCommand(false);
  const write = (text: string): void =>
    text
      .replace(/\n$/, '')
      .split('\n')
      .forEach((line) => io.out(line));

  const command = (usageLine: string, description: string, load: () => Promise<{ run: Run }>): Command =>
    add.common(
      program
        .command(usageLine)
        .description(description)
        .action(async (...args: unknown[]) => {
          // commander passes the arguments, then the options, then the command.
          const [options, given] = [args.at(-2) as Common, args.slice(0, -2) as string[]];
          const { run } = await load();
          done(await run(io, options as never, ...given));
        }),
    );
  defineStack(command);
  defineApi(command, version);
  defineUploads(command);
  defineSessions(command);
  defineJobs(command);
  defineSteering(command);
  defineEvents(command);
  defineMaintenance(command);
  return program;
}

type Define = (usageLine: string, description: string, load: () => Promise<{ run: Run }>) => Command;

function defineStack(command: Define): void {
  command(
    'dev',
    'Start Temporal, S3, PostgreSQL, a worker and the API on this machine',
    () => import('./commands/dev.js'),
  )
    .option('--no-worker', 'leave the worker out')
    .option('--no-api', 'leave the REST API out');
  add.worker(
    add.connections(
      command('worker', 'Run a worker until it is told to stop', () => import('./commands/worker.js')),
    ),
  );
  add.connections(
    command(
      'migrate',
      'Bring the tables and the search attributes up to date',
      () => import('./commands/migrate.js'),
    ),
  );
  add
    .connections(
      command(
        'doctor',
        'Check every part, and say how to repair what is broken',
        () => import('./commands/doctor.js'),
      ),
    )
    .option('--bucket <name>', 'a bucket that must be there');
  add.bucket(
    add.connections(
      command(
        'bucket <action> <address>',
        'Rules of s3://bucket that keep it clean and let pages send: check, apply',
        () => import('./commands/bucket.js'),
      ),
    ),
  );
}

function defineApi(command: Define, version: string): void {
  add.api(
    add.connections(
      command('api', 'Answer the REST API until it is told to stop', async () => {
        const { run } = await import('./commands/api.js');
        return { run: (io, options) => run(io, options, version) };
      }),
    ),
  );
  add.keys(
    add.connections(
      command(
        'keys <action> [name]',
        'API keys: add NAME, list, revoke ID; encryption keys: rotate NODE',
        () => import('./commands/keys.js'),
      ),
    ),
  );
}

function defineUploads(command: Define): void {
  add.remote(
    add.upload(
      add.connections(
        command(
          'put <source> <destination>',
          'Upload a file, a URL, an object, or standard input (-) to s3://bucket/key',
          () => import('./commands/put.js'),
        ),
      ),
    ),
  );
  add
    .connections(command('list', 'List uploads, newest first', () => import('./commands/list.js')))
    .option('--state <state>', 'only those in this state')
    .option('--bucket <name>', 'only those into this bucket')
    .option('--limit <count>', 'rows of a page', '50')
    .option('--cursor <cursor>', 'the page after; a list names it');
}

function defineSessions(command: Define): void {
  add
    .remote(
      command(
        'sessions [id-or-action] [id]',
        'Uploads whose bytes a client sends: list them, look at one, cancel ID',
        () => import('./commands/sessions.js'),
      ),
    )
    .option('--state <state>', 'only those in this state')
    .option('--connector <id>', 'only those of this connector')
    .option('--bucket <name>', 'only those into this bucket')
    .option('--limit <count>', 'rows of a page', '50')
    .option('--cursor <cursor>', 'the page after; a list names it');
}

function defineJobs(command: Define): void {
  jobOptions(
    add.connections(
      command(
        'upload <folder> <destination>',
        'Send a folder to s3://bucket/prefix; again, and only what changed goes',
        () => import('./commands/upload.js'),
      ),
    ),
    { monitored: false },
  );
  jobOptions(
    add.connections(
      command(
        'sync <folder> <destination>',
        'As upload, and look for changes from then on',
        () => import('./commands/sync.js'),
      ),
    ),
    { monitored: true },
  );
  add.connections(
    command('unmonitor <id>', 'Look for changes no more', () => import('./commands/unmonitor.js')),
  );
  add
    .connections(command('jobs', 'List upload jobs, newest first', () => import('./commands/jobs.js')))
    .option('--state <state>', 'only those in this state')
    .option('--bucket <name>', 'only those into this bucket')
    .option('--monitored', 'only those that are monitored')
    .option('--limit <count>', 'rows of a page', '50')
    .option('--cursor <cursor>', 'the page after; a list names it');
  add
    .connections(command('files <id>', 'List the files of a job', () => import('./commands/files.js')))
    .option('--state <state>', 'only those in this state, such as failed')
    .option('--prefix <path>', 'only those whose path begins so')
    .option('--limit <count>', 'rows of a page', '100')
    .option('--cursor <path>', 'the page after; a list names it');
  add
    .connections(command('retry <id>', 'Send again what failed', () => import('./commands/retry.js')))
    .option('--detach', 'return once it is started')
    .option('-q, --quiet', 'print only the result');
  add
    .connections(
      command('limit <id>', 'Limit a job, also while it runs', () => import('./commands/limit.js')),
    )
    .option('--bandwidth <size>', 'bytes a second such as 10MiB, or none')
    .option('--concurrency <count>', 'files in flight, or none');
  add.connections(
    command('approve <id>', 'Let the deletions of a job go', () => import('./commands/approve.js')),
  );
}

function defineSteering(command: Define): void {
  add.connections(command('status <id>', 'Show an upload or a job', () => import('./commands/status.js')));
  add
    .connections(
      command('watch <id>', 'Follow an upload or a job to its end', () => import('./commands/watch.js')),
    )
    .option('-q, --quiet', 'print only the result');
  add.connections(
    command('pause <id>', 'Stop sending; nothing is lost', () => import('./commands/pause.js')),
  );
  add.connections(
    command('resume <id>', 'Go on after a pause, or after a repair', () => import('./commands/resume.js')),
  );
  add
    .connections(
      command('cancel <id>', 'Stop, and leave nothing half-sent', () => import('./commands/cancel.js')),
    )
    .option('--no-wait', 'return once it is asked for')
    .option('-q, --quiet', 'print only the result');
}

function defineEvents(command: Define): void {
  add
    .connections(
      command(
        'events <action>',
        'What is told of ended uploads and jobs: tail (reads Kafka), sinks',
        () => import('./commands/events.js'),
      ),
    )
    .option('--from-beginning', 'tail: also what is on the topic already')
    .option('--type <type>', 'tail: only these, repeatable, such as upload.completed', add.collect)
    .option('--max <count>', 'tail: end after so many');
}

function defineMaintenance(command: Define): void {
  add
    .connections(
      command(
        'sweep',
        'End multipart uploads that nobody finishes, and close the rows of what died',
        () => import('./commands/sweep.js'),
      ),
    )
    .option('--dry-run', 'only say what it would do')
    .option('--older-than <time>', 'such as 1h; default: LONGSHORE_SWEEP_AGE (48h)')
    .option('--bucket <name>', 'only in this bucket');
  add.connections(
    command(
      'rollback <node> <version>',
      'Make an earlier version of a node its newest',
      () => import('./commands/rollback.js'),
    ),
  );
}
