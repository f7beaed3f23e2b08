/** The options of `upload` and `sync`, and the definition of a job that they make. */
import { createHash } from 'node:crypto';
import { basename } from 'node:path';
import { type Command, Option } from 'commander';
import { createGlob } from '../../core/globs.js';
import type {
  JobDefinition,
  JobFilter,
  JobLimits,
  JobMonitoring,
  JobObjectOptions,
} from '../../core/jobs.js';
import { parseTime } from '../../infra/config.js';
import { badUsage, count, encryption, pairs, size, type Connections } from './options.js';

export interface JobOptions extends Connections {
  id?: string;
  include?: string[];
  exclude?: string[];
  hidden: boolean;
  minSize?: string;
  maxSize?: string;
  minAge?: string;
  maxAge?: string;
  followLinks?: boolean;
  emptyFolders?: boolean;
  keyTemplate?: string;
  checksum?: boolean;
  verify?: boolean;
  delete?: boolean;
  maxDelete?: string;
  monitor?: boolean;
  interval?: string;
  stability?: string;
  bandwidth?: string;
  concurrency?: string;
  contentType?: string;
  cacheControl?: string;
  metadata?: string[];
  tag?: string[];
  storageClass?: string;
  sse?: boolean;
  sseKms?: string | boolean;
  dryRun?: boolean;
  detach?: boolean;
  quiet?: boolean;
}

export function jobOptions(command: Command, { monitored }: { monitored: boolean }): Command {
  const collect = (value: string, former: string[] | undefined): string[] => [...(former ?? []), value];
  const chosen = command
    .option('--id <id>', 'the job’s id; made from folder and destination otherwise')
    .option('--include <glob>', 'only files whose path below the folder matches, repeatable', collect)
    .option('--exclude <glob>', 'not those that match, repeatable', collect)
    .option('--no-hidden', 'leave out names that begin with a dot')
    .option('--min-size <size>', 'only files of at least this size, such as 1KiB')
    .option('--max-size <size>', 'only files of at most this size')
    .option('--min-age <time>', 'only files left alone for at least this long, such as 30s or 2d')
    .option('--max-age <time>', 'only files changed within this time')
    .option('--follow-links', 'go where links lead, as long as that is under the same root')
    .option('--empty-folders', 'write an empty object for an empty folder')
    .option('--key-template <template>', 'how keys are made after the prefix; {path} by default')
    .option('--checksum', 'compare contents, not only size and time of modification')
    .option('--verify', 'compare the bucket with what was sent, and send again what differs')
    .option('--delete', 'delete objects whose files are gone')
    .option('--max-delete <share>', 'wait for `approve` when more than this share is gone, such as 10%');
  return written(chosen, monitored);
}

function written(command: Command, monitored: boolean): Command {
  const collect = (value: string, former: string[] | undefined): string[] => [...(former ?? []), value];
  if (!monitored) command.option('--monitor', 'look for changes from now on');
  return command
    .option('--interval <time>', 'between two looks for changes, such as 60s')
    .option('--stability <time>', 'how long a file must have been left alone before a change counts')
    .option('--bandwidth <size>', 'bytes a second, all workers together, such as 10MiB')
    .option('--concurrency <count>', 'files in flight, all workers together')
    .option('--content-type <type>', 'of every object; guessed from the name otherwise')
    .option('--cache-control <value>', 'Cache-Control of every object')
    .option('--metadata <name=value>', 'user metadata, repeatable', collect)
    .option('--tag <name=value>', 'a tag of every object, repeatable', collect)
    .option('--storage-class <class>', 'such as STANDARD_IA')
    .option('--sse', 'encrypt with the server’s keys (SSE-S3)')
    .addOption(new Option('--sse-kms [key]', 'encrypt with a KMS key; give it after the destination'))
    .option('--dry-run', 'say what would go, and send nothing')
    .option('--detach', 'return once it is started')
    .option('-q, --quiet', 'print only the result');
}

/** What a job is asked for besides its folder and its destination; only what was given is in it. */
export interface JobAsked {
  filter: JobFilter;
  objects: JobObjectOptions;
  monitor: JobMonitoring;
  compare: JobDefinition['compare'];
  verify: boolean;
  deletions: JobDefinition['deletions'];
  keyTemplate: string | undefined;
}

/** Throws InvalidInput, naming the option. */
export function askedOf(given: JobOptions, monitored: boolean): JobAsked {
  const monitor = defined({
    enabled: monitored,
    interval: seconds('--interval', given.interval),
    stability: seconds('--stability', given.stability),
  });
  return {
    filter: filterOf(given),
    objects: objectsOf(given),
    monitor: { ...monitor, enabled: monitored },
    compare: given.checksum === true ? 'checksum' : 'mtime',
    verify: given.verify === true,
    deletions: deletionsOf(given),
    keyTemplate: given.keyTemplate,
  };
}

export function limitsOf({ bandwidth, concurrency }: JobOptions): Partial<JobLimits> {
  return defined({
    bandwidth: positive('--bandwidth', size('--bandwidth', bandwidth)),
    concurrency: concurrency === undefined ? undefined : count('--concurrency', concurrency),
  });
}

function filterOf(given: JobOptions): JobFilter {
  const { include, exclude, hidden, followLinks, emptyFolders } = given;
  const filter = defined({
    include,
    exclude,
    hidden: hidden ? undefined : false,
    minSize: size('--min-size', given.minSize),
    maxSize: size('--max-size', given.maxSize),
    minAge: seconds('--min-age', given.minAge),
    maxAge: seconds('--max-age', given.maxAge),
    symlinks: followLinks === true ? ('follow' as const) : undefined,
    emptyFolders: emptyFolders === true ? true : undefined,
  });
  for (const glob of [...(include ?? []), ...(exclude ?? [])]) createGlob(glob);
  const { minSize = 0, maxSize = Infinity, minAge = 0, maxAge = Infinity } = filter;
  if (minSize > maxSize) throw badUsage('--min-size is larger than --max-size');
  if (minAge > maxAge) throw badUsage('--min-age is longer than --max-age');
  return filter;
}

function objectsOf(given: JobOptions): JobObjectOptions {
  const { contentType, cacheControl, storageClass } = given;
  return defined({
    contentType,
    cacheControl,
    storageClass,
    metadata: pairs('--metadata', given.metadata),
    tags: pairs('--tag', given.tag),
    encryption: encryption(given),
  });
}

/** Half of what was there: less is everyday life, more is rather a folder that is not mounted. */
const DEFAULT_MAX_DELETE = 0.5;

function deletionsOf(given: JobOptions): JobDefinition['deletions'] {
  if (given.delete !== true) {
    if (given.maxDelete !== undefined) throw badUsage('--max-delete makes no sense without --delete');
    return undefined;
  }
  return { maxShare: given.maxDelete === undefined ? DEFAULT_MAX_DELETE : share(given.maxDelete) };
}

/** `0.25` and `25%` are the same. */
function share(text: string): number {
  const [, digits, percent] = /^(\d+(?:\.\d+)?)(%?)$/.exec(text) ?? [];
  const value = Number(digits) / (percent === '%' ? 100 : 1);
  if (digits !== undefined && value <= 1) return value;
  throw badUsage(`--max-delete takes a share such as 0.1 or 10%, not ${JSON.stringify(text)}`);
}

export function positive(option: string, value: number | undefined): number | undefined {
  if (value !== 0) return value;
  throw badUsage(`${option} takes more than nothing; \`none\` or leaving it out means no limit`);
}

/** Whole seconds of `90s`, `5m`, `2d`; unlike in the environment, a number alone is seconds. */
function seconds(option: string, text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  const value = parseTime(/^\d+(\.\d+)?$/.test(text) ? `${text}s` : text);
  if (value !== undefined && value % 1000 === 0) return value / 1000;
  throw badUsage(
    `${option} takes a time in whole seconds such as 30s, 5m or 2d, not ${JSON.stringify(text)}`,
  );
}

/** Without what was not given. */
function defined<T extends object>(options: T): { [K in keyof T]?: Exclude<T[K], undefined> } {
  return Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined)) as never;
}

/**
 * The id of a job that was given none: the folder's name to read, and eight hex digits that stand for folder and
 * destination, so that the same command again is the same job.
 */
export function madeJobId({ source, destination }: Pick<JobDefinition, 'source' | 'destination'>): string {
  const { bucket, prefix } = destination;
  const digits = createHash('sha256')
    .update([source.root, source.path, bucket, prefix].join('\0'))
    .digest('hex')
    .slice(0, 8);
  const name = basename(source.path === '' ? source.root : source.path)
    .replace(/[^A-Za-z0-9._-]+/g, '-')
    .replace(/^[^A-Za-z0-9]+|[^A-Za-z0-9]+$/g, '')
    .slice(0, 40);
  return `${name === '' ? 'folder' : name}-${digits}`;
}
