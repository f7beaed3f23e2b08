/** The end of a multipart upload that nobody will complete. */
import { randomInt } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { LongshoreError } from '../core/errors.js';
import { LIST_PAGE_SIZE } from '../core/limits.js';
import type { ObjectStore, UploadRef } from '../infra/s3/store.js';

/** A server that goes on with a part whose request was broken off has it well within this time. */
const LATE_PARTS_MS = 500;

/** Of an upload whose parts were broken off just now: one of them may still land, and the upload is there again. */
export async function abortForGood(store: ObjectStore, ref: UploadRef, signal: AbortSignal): Promise<void> {
  do {
    await abortUntilGone(store, ref, signal);
    await sleep(LATE_PARTS_MS);
  } while (!(await isGone(store, ref, signal)));
}

/** Parts that were in flight may arrive after an abort, so it is repeated until nothing of the upload is listed. */
export async function abortUntilGone(store: ObjectStore, ref: UploadRef, signal: AbortSignal): Promise<void> {
  for (;;) {
    await store.abortMultipartUpload(ref, signal);
    if (await isGone(store, ref, signal)) return;
    await sleep(randomInt(100, 400));
  }
}

async function isGone(store: ObjectStore, ref: UploadRef, signal: AbortSignal): Promise<boolean> {
  try {
    await store.listParts({ ...ref, max: LIST_PAGE_SIZE }, signal);
    return false;
  } catch (error) {
    if (error instanceof LongshoreError && error.code === 'NoSuchUpload') return true;
    throw error;
  }
}
