/** `checkBucket`: what the catalog says is in the bucket, held against what is there. */
import { LongshoreError } from '../core/errors.js';
import type { BucketCheck, JobRef } from '../core/job-steps.js';
import { LIST_PAGE_SIZE } from '../core/limits.js';
import { readUploaded, resend, resentFiles, type UploadedFile } from '../infra/catalog/files.js';
import type { ListedObject, ObjectStore } from '../infra/s3/store.js';
import { attempting, type Attempt } from './attempt.js';
import { createFileJobs, type FileJob, type FileJobDeps } from './file-job.js';
import { inLanes } from './lanes.js';

const LOOKS_AT_ONCE = 16;

/** How far the check is; in heartbeats, so that a repetition goes on from there or somewhat before. */
interface Checked {
  after: string | null;
}

/** A file whose object is missing or different is PENDING again; it is told by its size and ETag. */
export function createCheckBucket(deps: FileJobDeps): (ref: JobRef) => Promise<BucketCheck> {
  const jobs = createFileJobs(deps);
  return async (ref) => {
    let checked: Checked = { after: null };
    return await attempting(
      async (attempt) => {
        checked = (attempt.lastDetails as Checked | undefined) ?? checked;
        const job = await jobs(ref, attempt.signal);
        const looker = lookerOf(deps.store, job, attempt);
        for (;;) {
          attempt.stopSignal.throwIfAborted();
          const rows = await readUploaded(deps.db, ref.job, { after: checked.after, limit: LIST_PAGE_SIZE });
          const last = rows.at(-1);
          // Counted by the catalog: rows that an attempt took back are not met by the next one.
          if (last === undefined) return { again: await resentFiles(deps.db, ref) };
          const wrong = await looker(rows);
          if (wrong.length > 0) await resend(deps.db, ref, wrong);
          checked = { after: last.path };
        }
      },
      () => checked,
    );
  };
}

/** Gives the paths of those rows whose object is not what was sent. */
type Looker = (rows: readonly UploadedFile[]) => Promise<string[]>;

function lookerOf(store: ObjectStore, job: FileJob, attempt: Attempt): Looker {
  const { keyTemplate } = job.definition.destination;
  // Only keys that are made of nothing but the path come in the order of the rows.
  return keyTemplate === undefined || keyTemplate === '{path}'
    ? new Listing(store, job, attempt).compare
    : (rows) => askOneByOne(store, job, rows, attempt);
}

async function askOneByOne(
  store: ObjectStore,
  job: FileJob,
  rows: readonly UploadedFile[],
  attempt: Attempt,
): Promise<string[]> {
  const { bucket } = job.definition.destination;
  const wrong: string[] = [];
  const signals = { stop: attempt.stopSignal, abort: attempt.signal };
  await inLanes(rows, LOOKS_AT_ONCE, signals, async (row, signal) => {
    const head = await store.headObject({ bucket, key: job.keyOf(row) }, signal);
    if (!isSame(row, head)) wrong.push(row.path);
  });
  attempt.stopSignal.throwIfAborted();
  return wrong;
}

/** Goes through bucket and rows side by side. */
class Listing {
  #page: ListedObject[] = [];
  #at = 0;
  #next: string | undefined;
  #begun = false;
  #last = '';

  constructor(
    private readonly store: ObjectStore,
    private readonly job: FileJob,
    private readonly attempt: Attempt,
  ) {}

  readonly compare: Looker = async (rows) => {
    const wrong: string[] = [];
    for (const row of rows) {
      if (!isSame(row, await this.#find(this.job.keyOf(row)))) wrong.push(row.path);
    }
    return wrong;
  };

  async #find(key: string): Promise<ListedObject | undefined> {
    for (;;) {
      for (let next = this.#page[this.#at]; next !== undefined; next = this.#page[this.#at]) {
        const order = inBytes(next.key, key);
        if (order > 0) return undefined;
        this.#at += 1;
        if (order === 0) return next;
      }
      if (this.#begun && this.#next === undefined) return undefined;
      await this.#turn();
    }
  }

  async #turn(): Promise<void> {
    this.attempt.stopSignal.throwIfAborted();
    const { bucket, prefix } = this.job.definition.destination;
    const next = this.#next === undefined ? {} : { next: this.#next };
    const page = await this.store.listObjects({ bucket, prefix, ...next }, this.attempt.signal);
    for (const { key } of page.objects) {
      if (inBytes(key, this.#last) <= 0) throw disorder(bucket, key);
      this.#last = key;
    }
    this.#page = page.objects;
    this.#at = 0;
    this.#next = page.next;
    this.#begun = true;
  }
}

function disorder(bucket: string, key: string): LongshoreError {
  const message = `s3://${bucket} is not listed in the order of its keys (at ${JSON.stringify(key)})`;
  return new LongshoreError('NotSupported', message, {
    op: 'ListObjectsV2',
    key: `s3://${bucket}`,
    hint: 'Start the job without `verify`; this server cannot be compared with the catalog.',
  });
}

function isSame(row: UploadedFile, object: { size: number; etag: string } | undefined): boolean {
  return object?.size === row.size && (row.etag === null || row.etag === object.etag);
}

/** The order of the UTF-8 forms. JavaScript's own order differs only where characters take two units. */
function inBytes(a: string, b: string): number {
  if (a === b) return 0;
  if (/[\ud800-\udfff]/.test(a) || /[\ud800-\udfff]/.test(b)) return Buffer.from(a).compare(Buffer.from(b));
  return a < b ? -1 : 1;
}
