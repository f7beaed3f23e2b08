/** Objects whose files are gone: how many there are, and their deletion. */
import { setImmediate as breathe } from 'node:timers/promises';
import { ERRORS, LongshoreError } from '../core/errors.js';
import type { DeleteAnswer, DeleteInput, DeletionLook, JobRef } from '../core/job-steps.js';
import type { JobDefinition } from '../core/jobs.js';
import { LIST_PAGE_SIZE } from '../core/limits.js';
import {
  doubtObjects,
  forgetFiles,
  keepFiles,
  lookAtDeletions,
  nextGone,
  type GoneFile,
} from '../infra/catalog/files.js';
import type { ObjectStore } from '../infra/s3/store.js';
import type { Roots } from '../infra/sources/file-open.js';
import { openPresence, type Presence } from '../infra/sources/tree-presence.js';
import { attempting, type Attempt } from './attempt.js';
import { createFileJobs, type FileJob, type FileJobDeps } from './file-job.js';
import { inLanes } from './lanes.js';
import { headIfAllowed } from './objects.js';

export interface DeletionDeps extends FileJobDeps {
  roots: Roots;
}

const LOOKS_AT_ONCE = 16;

/**
 * Where too many seem to be gone, each is looked for once more: whoever brought files back is told the truth. Throws
 * RootUnavailable, and SourceNotFound for a folder that is gone: then all of its files seem to be.
 */
export function createLookAtDeletions(deps: DeletionDeps): (ref: JobRef) => Promise<DeletionLook> {
  const jobs = createFileJobs(deps);
  return async (ref) =>
    await attempting(async (attempt) => {
      const { definition } = await jobs(ref, attempt.signal);
      const presence = await presenceOf(deps, definition);
      try {
        const ask = async (): Promise<DeletionLook> => {
          const { gone, known } = await lookAtDeletions(deps.db, ref);
          const share = known === 0 ? 0 : gone / known;
          return { gone, share, tooMany: gone > 0 && share > (definition.deletions?.maxShare ?? 0) };
        };
        const look = await ask();
        if (!look.tooMany) return look;
        await takeBack(deps, ref, presence, attempt);
        return await ask();
      } finally {
        presence.close();
      }
    });
}

function presenceOf({ roots }: DeletionDeps, { source, filter }: JobDefinition): Promise<Presence> {
  return openPresence(roots, source, { follow: filter.symlinks === 'follow' });
}

/** Those that are there, or may be, are not gone. */
async function takeBack(
  { db }: DeletionDeps,
  ref: JobRef,
  presence: Presence,
  attempt: Attempt,
): Promise<void> {
  for (let after = ''; ;) {
    const files = await nextGone(db, ref, LIST_PAGE_SIZE, after);
    const last = files.at(-1);
    if (last === undefined) return;
    const { there } = await sort(files, presence);
    attempt.stopSignal.throwIfAborted();
    if (there.length > 0) await keepFiles(db, ref, there);
    after = last.path;
  }
}

/** Looking is synchronous: heartbeats and other activities get their turn this often. */
const BREATH_MS = 10;

async function sort(
  files: readonly GoneFile[],
  presence: Presence,
): Promise<{ there: string[]; gone: GoneFile[] }> {
  const there: string[] = [];
  const gone: GoneFile[] = [];
  let last = performance.now();
  for (const file of files) {
    if (presence.mayBeThere(file)) there.push(file.path);
    else gone.push(file);
    if (performance.now() - last < BREATH_MS) continue;
    await breathe();
    last = performance.now();
  }
  return { there, gone };
}

/** Throws the first refusal once all that could be deleted is. Told to stop, it returns what it has, `done: false`. */
export function createDeleteGone(deps: DeletionDeps): (input: DeleteInput) => Promise<DeleteAnswer> {
  const jobs = createFileJobs(deps);
  return async (input) =>
    await attempting(async (attempt) => {
      if (attempt.previous > 0) await attempt.confirm();
      const job = await jobs(input, attempt.signal);
      const presence = await presenceOf(deps, job.definition);
      try {
        return await deleteSlice(deps, { input, job, presence }, attempt);
      } finally {
        presence.close();
      }
    });
}

async function deleteSlice(
  deps: DeletionDeps,
  { input, job, presence }: { input: DeleteInput; job: FileJob; presence: Presence },
  attempt: Attempt,
): Promise<DeleteAnswer> {
  let deleted = 0;
  while (deleted < input.budget && !attempt.stopSignal.aborted) {
    const limit = Math.min(LIST_PAGE_SIZE, input.budget - deleted);
    const files = await nextGone(deps.db, input, limit);
    if (files.length === 0) return { deleted, done: true };
    // Hours may lie between the scan and this, and what it could not see it may have taken for gone.
    const { there, gone } = await sort(files, presence);
    if (attempt.stopSignal.aborted) break;
    if (there.length > 0) await keepFiles(deps.db, input, there);
    if (gone.length > 0) deleted += await deletePage(deps, { ref: input, job, files: gone }, attempt);
  }
  if (attempt.stopSignal.reason instanceof LongshoreError || attempt.pausedByOperator) {
    throw attempt.stopSignal.reason;
  }
  return { deleted, done: false };
}

interface Page {
  ref: JobRef;
  job: FileJob;
  files: readonly GoneFile[];
}

async function deletePage({ db, store }: DeletionDeps, page: Page, attempt: Attempt): Promise<number> {
  const { ref, job, files } = page;
  const { bucket, keyTemplate } = job.definition.destination;
  const byKey = new Map(files.map((file) => [job.keyOf(file), file]));
  const keys =
    keyTemplate === undefined ? [...byKey.keys()] : await stillOurs(store, { bucket, files: byKey }, attempt);
  await doubtObjects(
    db,
    ref,
    [...keys].flatMap((key) => byKey.get(key)?.path ?? []),
  );
  attempt.fence();
  const refused = keys.length === 0 ? [] : await store.deleteObjects({ bucket, keys }, attempt.signal);
  const left = new Set(refused.map(({ key }) => byKey.get(key)?.path));
  const forgotten = files.map(({ path }) => path).filter((path) => !left.has(path));
  await forgetFiles(db, ref, forgotten);
  // What passes is told before what does not: a repetition may then find less that is refused.
  const [first] = refused.sort((a, b) => rankOf(a.error) - rankOf(b.error));
  if (first !== undefined) throw first.error;
  return forgotten.length;
}

function rankOf(error: LongshoreError): number {
  return ERRORS[error.code].retry === 'retry' ? 0 : 1;
}

/** A template may give one key to several files: what another one wrote since is left alone. */
async function stillOurs(
  store: ObjectStore,
  { bucket, files }: { bucket: string; files: ReadonlyMap<string, GoneFile> },
  attempt: Attempt,
): Promise<string[]> {
  const ours: string[] = [];
  const signals = { stop: attempt.stopSignal, abort: attempt.signal };
  await inLanes(files, LOOKS_AT_ONCE, signals, async ([key, { etag }], signal) => {
    const head = await headIfAllowed(store, { bucket, key }, signal);
    // Where we may not look it could be anybody's: an object too many does less harm than one too few.
    if (typeof head === 'object' && head.etag === etag) ours.push(key);
  });
  attempt.stopSignal.throwIfAborted();
  return ours;
}
