/** `longshore bucket`: the rules of a bucket that keep it clean and let pages send to it, looked at or set. */
import { EXIT, LongshoreError } from '../../../core/errors.js';
import { MAX_PARKED_MS } from '../../../core/limits.js';
import type { Config } from '../../../infra/config.js';
import { createBucketRules, type BucketRules } from '../../../infra/s3/sdk-bucket.js';
import type { Io } from '../io.js';
import { badUsage, count, type Connections } from '../options.js';
import { configure } from '../session.js';
import { corsSeen } from '../bucket-probe.js';
import { duration, plural } from '../text.js';

export interface BucketOptions extends Connections {
  corsOrigin?: string[];
  abortDays?: string;
}

const DEFAULT_DAYS = 7;
/** S3 takes no more. */
const MAX_DAYS = 2_147_483_647;
const LIMIT_MS = 30_000;
const DAY_MS = 24 * 3_600_000;

/** `warning`: all is well until something takes unusually long. `early`: it harms what is at work. */
export type RuleStatus = 'ok' | 'warning' | 'early' | 'missing' | 'unsupported' | 'skipped';
const FINE: ReadonlySet<RuleStatus> = new Set(['ok', 'warning', 'skipped']);

/** What `--json` prints of each rule. */
export interface RuleReport {
  rule: 'abort-incomplete-uploads' | 'cors';
  status: RuleStatus;
  detail: string;
  /** What a person can do; null when there is nothing to do. */
  fix: string | null;
}

interface Task {
  bucket: string;
  rules: BucketRules;
  days: number;
  /** Somebody asked for just so many days. */
  named: boolean;
  origins: readonly string[];
  config: Config;
  apply: boolean;
}

export async function run(io: Io, options: BucketOptions, action: string, address: string): Promise<number> {
  if (action !== 'check' && action !== 'apply') {
    throw badUsage(`bucket takes check or apply, not ${JSON.stringify(action)}`);
  }
  const bucket = bucketOf(address);
  const days = options.abortDays === undefined ? DEFAULT_DAYS : daysOf(options.abortDays);
  const config = configure(io, options);
  const origins = (options.corsOrigin ?? config.api.origins).map(originOf);
  const rules = createBucketRules(config.s3);
  try {
    const named = options.abortDays !== undefined;
    const task = { bucket, rules, days, named, origins, config, apply: action === 'apply' };
    if (task.apply) mustNotBeEarly(task);
    const reports = [await abortRule(task), await corsRule(task)];
    const ok = reports.every(({ status }) => FINE.has(status));
    if (io.json) io.outJson({ bucket, ok, rules: reports });
    else print(io, reports);
    return ok ? EXIT.ok : EXIT.failed;
  } finally {
    rules.close();
  }
}

function bucketOf(address: string): string {
  const name = /^s3:\/\/([a-z0-9][a-z0-9.-]{1,61}[a-z0-9])\/?$/.exec(address)?.[1];
  if (name !== undefined) return name;
  throw badUsage(`bucket takes s3://BUCKET, not ${JSON.stringify(address)}`);
}

function daysOf(text: string): number {
  const days = count('--abort-days', text);
  if (days <= MAX_DAYS) return days;
  throw badUsage(`--abort-days takes at most ${MAX_DAYS}`);
}

function mustNotBeEarly(task: Task): void {
  if (!isEarly(task, task.days)) return;
  const { config, days } = task;
  const age = duration(config.maintenance.sweepAgeMs / 1000);
  const message = `a rule of ${plural(days, 'day')} would abort what sessions still fill: it has to be later than a sweep, which waits ${age} (LONGSHORE_SWEEP_AGE)`;
  const hint = `--abort-days ${roomyDays(config)} leaves room for everything that Longshore may still finish.`;
  throw new LongshoreError('InvalidInput', message, { op: 'usage', hint });
}

function originOf(text: string): string {
  if (text === '*') return text;
  if (URL.canParse(text) && new URL(text).origin === text) return text;
  throw badUsage(`--cors-origin takes an origin such as https://app.example, not ${JSON.stringify(text)}`);
}

/** Throws what nobody can repair by a rule: no bucket, no server, no rights. */
async function abortRule(task: Task): Promise<RuleReport> {
  const { bucket, rules, days, named, apply } = task;
  const rule = 'abort-incomplete-uploads';
  const signal = AbortSignal.timeout(LIMIT_MS);
  const most = named ? days : Math.max(days, roomyDays(task.config));
  try {
    const found = await rules.abortDays(bucket, signal);
    const short = found !== undefined && found < days && (named || isEarly(task, found));
    if (found !== undefined && found <= most && !(apply && short)) return judged(task, found);
    if (!apply) {
      const detail = found === undefined ? 'unfinished uploads stay for ever' : ends(found);
      const fix = `\`longshore bucket apply s3://${bucket}\` sets the rule.`;
      return { rule, status: 'missing', detail, fix };
    }
    await rules.setAbortDays(bucket, days, signal);
    // A server may accept what it does not keep.
    const kept = await rules.abortDays(bucket, signal);
    if (kept !== undefined && kept <= most) return judged(task, kept, 'set: ');
    return unsupported(rule, 'the server accepted the rule and does not keep it', SWEEP);
  } catch (error) {
    if (!isRefusal(error)) throw error;
    return unsupported(rule, error.message, SWEEP);
  }
}

const ends = (days: number): string => `unfinished uploads are aborted after ${plural(days, 'day')}`;

/** The server aborts what a session may still be at work with, for sweeps are later than any session lives. */
function isEarly({ config }: Pick<Task, 'config'>, days: number): boolean {
  return days * DAY_MS <= config.maintenance.sweepAgeMs;
}

/** How long a session may stand still and go on afterwards, ms: its client is away, and then it waits to be completed. */
function standstillMs({ sessions }: Config): number {
  return sessions.maxTtlMs + MAX_PARKED_MS;
}

/** Days that are enough for both. */
function roomyDays(config: Config): number {
  return Math.floor(Math.max(config.maintenance.sweepAgeMs, standstillMs(config)) / DAY_MS) + 1;
}

/** A rule that is there; `days` may be fewer than were set, by another rule of the bucket. */
function judged(task: Task, days: number, done = ''): RuleReport {
  const { bucket, config, apply } = task;
  const rule = 'abort-incomplete-uploads';
  const detail = done + ends(days);
  const roomy = roomyDays(config);
  const give = `\`longshore bucket apply s3://${bucket} --abort-days ${roomy}\` gives them time`;
  if (isEarly(task, days)) {
    const age = duration(config.maintenance.sweepAgeMs / 1000);
    const fix = apply
      ? `Another rule of the bucket says so; give it ${roomy} days.`
      : `${give}, unless another rule of the bucket says so.`;
    return {
      ...{ rule, status: 'early', fix },
      detail: `${detail}, also those that sessions still fill (a sweep waits ${age})`,
    };
  }
  const standstill = standstillMs(config);
  if (days * DAY_MS > standstill) return { rule, status: 'ok', detail, fix: null };
  const gap = `a session may stand still, paused or without its client, for ${duration(standstill / 1000)}, and would begin again`;
  return { rule, status: 'warning', detail: `${detail}; ${gap}`, fix: `${give}.` };
}

const SWEEP = 'Longshore’s own sweep ends what its sessions left; this server has no such rule for the rest.';

async function corsRule(task: Task): Promise<RuleReport> {
  const { bucket, rules, origins, config, apply } = task;
  const rule = 'cors';
  if (origins.length === 0) {
    const fix = 'Name the pages that send: --cors-origin https://app.example, or LONGSHORE_API_ORIGINS.';
    return { rule, status: 'skipped', detail: 'no origin was named', fix };
  }
  const signal = AbortSignal.timeout(LIMIT_MS);
  const open = `pages of ${origins.join(', ')} may send`;
  try {
    const refused = await rules.refusedOrigins(bucket, origins, signal);
    if (refused.length === 0) return { rule, status: 'ok', detail: open, fix: null };
    if (await corsSeen(config.s3, bucket, refused, signal)) return byItself(open);
    if (!apply) {
      const fix = `\`longshore bucket apply s3://${bucket}\` with the same origins sets the rule.`;
      return { rule, status: 'missing', detail: `pages of ${refused.join(', ')} may not send`, fix };
    }
    await rules.setOrigins(bucket, origins, signal);
    const left = await rules.refusedOrigins(bucket, origins, signal);
    if (left.length === 0) return { rule, status: 'ok', detail: `set: ${open}`, fix: null };
    return unsupported(rule, 'the server accepted the rule and does not keep it', OWN_SETTING);
  } catch (error) {
    if (!isRefusal(error)) throw error;
    if (await corsSeen(config.s3, bucket, origins, signal)) return byItself(open);
    return unsupported(rule, error.message, OWN_SETTING);
  }
}

const OWN_SETTING =
  'Set it in the server itself (MinIO: MINIO_API_CORS_ALLOW_ORIGIN; versitygw: --cors-allow-origin), or send through the API.';

function byItself(open: string): RuleReport {
  const detail = `the server has no rule for it on buckets, and answers so by itself: ${open}`;
  return { rule: 'cors', status: 'ok', detail, fix: null };
}

function unsupported(rule: RuleReport['rule'], detail: string, fix: string): RuleReport {
  return { rule, status: 'unsupported', detail, fix };
}

/** The server answers, and does not have it. */
function isRefusal(error: unknown): error is LongshoreError {
  return (
    error instanceof LongshoreError && (error.code === 'NotSupported' || error.code === 'InvalidRequest')
  );
}

const MARKS: Readonly<Record<RuleStatus, string>> = {
  ok: 'ok',
  warning: 'WARNING',
  early: 'TOO EARLY',
  missing: 'MISSING',
  unsupported: 'NOT SUPPORTED',
  skipped: 'skipped',
};

function print(io: Io, reports: readonly RuleReport[]): void {
  for (const { rule, status, detail, fix } of reports) {
    io.out(`${rule}: ${MARKS[status]}: ${detail}`);
    if (fix !== null) io.out(`  → ${fix}`);
  }
}
