/** `longshore bucket`: the rules of a bucket that keep it clean and let pages send to it, looked at or set. */
import { EXIT, LongshoreError } from '../../../core/errors.js';
import type { Config } from '../../../infra/config.js';
import { createBucketRules, type BucketRules } from '../../../infra/s3/sdk-bucket.js';
import type { Io } from '../io.js';
import { badUsage, count, type Connections } from '../options.js';
import { configure } from '../session.js';
import { corsSeen } from '../bucket-probe.js';
import { plural } from '../text.js';

export interface BucketOptions extends Connections {
  corsOrigin?: string[];
  abortDays?: string;
}

const DEFAULT_DAYS = 7;
/** S3 takes no more. */
const MAX_DAYS = 2_147_483_647;
const LIMIT_MS = 30_000;

export type RuleStatus = 'ok' | 'missing' | 'unsupported' | 'skipped';

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
    const task = { bucket, rules, days, origins, config, apply: action === 'apply' };
    const reports = [await abortRule(task), await corsRule(task)];
    const ok = reports.every(({ status }) => status === 'ok' || status === 'skipped');
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

function originOf(text: string): string {
  if (text === '*') return text;
  if (URL.canParse(text) && new URL(text).origin === text) return text;
  throw badUsage(`--cors-origin takes an origin such as https://app.example, not ${JSON.stringify(text)}`);
}

/** Throws what nobody can repair by a rule: no bucket, no server, no rights. */
async function abortRule({ bucket, rules, days, apply }: Task): Promise<RuleReport> {
  const rule = 'abort-incomplete-uploads';
  const ends = (found: number): string => `unfinished uploads are aborted after ${plural(found, 'day')}`;
  const signal = AbortSignal.timeout(LIMIT_MS);
  try {
    const found = await rules.abortDays(bucket, signal);
    if (found !== undefined && found <= days) return { rule, status: 'ok', detail: ends(found), fix: null };
    if (!apply) {
      const detail = found === undefined ? 'unfinished uploads stay for ever' : ends(found);
      return {
        rule,
        status: 'missing',
        detail,
        fix: `\`longshore bucket apply s3://${bucket}\` sets the rule.`,
      };
    }
    await rules.setAbortDays(bucket, days, signal);
    // A server may accept what it does not keep.
    const kept = await rules.abortDays(bucket, signal);
    if (kept !== undefined && kept <= days)
      return { rule, status: 'ok', detail: `set: ${ends(kept)}`, fix: null };
    return unsupported(rule, 'the server accepted the rule and does not keep it', SWEEP);
  } catch (error) {
    if (!isRefusal(error)) throw error;
    return unsupported(rule, error.message, SWEEP);
  }
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
