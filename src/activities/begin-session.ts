/** `beginSession`: plans a session, begins its multipart upload and lets chunks in. One step, for somebody waits. */
import { planFacts } from '../core/part-plan.js';
import type { BeginSessionInput, BegunSession, OpenSessionInput, SessionOpening } from '../core/sessions.js';
import type { CreatedUpload, CreateInput, Inspection, PartsPlan } from '../core/upload-steps.js';
import type { ClientSource, UploadObjectInput } from '../core/uploads.js';
import type { Pool } from '../infra/catalog/pool.js';
import { openSession, writtenUpload } from '../infra/catalog/sessions.js';
import { reportUpload } from '../infra/catalog/uploads.js';
import { attempting, type Attempt } from './attempt.js';

export interface BeginSessionDeps {
  db: Pool;
  installation: string;
  inspect(upload: UploadObjectInput): Promise<Inspection>;
  /** `earlier`: what an attempt before this one has begun. */
  create(input: CreateInput, earlier: string | undefined): Promise<CreatedUpload>;
}

export function createBeginSession(
  deps: BeginSessionDeps,
): (input: BeginSessionInput) => Promise<BegunSession> {
  // It lives for as long as it takes: PostgreSQL may hang for longer than a heartbeat.
  return (input) => attempting((attempt) => begin(deps, input, attempt));
}

async function begin(
  deps: BeginSessionDeps,
  input: BeginSessionInput,
  { stopSignal }: Attempt,
): Promise<BegunSession> {
  const { db, installation } = deps;
  const { inspection: known, report, lost, runGeneration, ...common } = input;
  const { runId, runStartedAt } = report;
  const inspection = known ?? (await deps.inspect(common.upload));
  const first = { ...report, ...planFacts((inspection.plan as PartsPlan).parts) };
  // The row names bucket and key before S3 knows of the upload, so that the sweep finds one whose id was lost.
  await reportUpload(db, installation, first);
  const second = { ...first, sequence: report.sequence + 1 };
  const earlier = await writtenUpload(db, { ...second, token: common.token });
  const lostBefore = lost === undefined ? {} : { lost };
  stopSignal.throwIfAborted();
  const created = await deps.create({ ...common, inspection, ...lostBefore }, earlier);
  const { s3UploadId } = created;
  const begun = { ...created, inspection };
  try {
    await reportUpload(db, installation, { ...second, s3UploadId });
    const opening = { ...common, inspection, s3UploadId, runId, runStartedAt, runGeneration };
    const opened = await openFor(db, opening);
    return { ...begun, generation: opened.generation, s3UploadId: opened.s3UploadId ?? s3UploadId };
  } catch {
    // Its id must not be lost with the error: the workflow opens the session by itself, and meets the same error.
    return begun;
  }
}

/** From here on chunks of this multipart upload are taken, and none of an earlier one. Idempotent. */
export async function openFor(
  db: Pool,
  { upload, inspection, token, s3UploadId, runId, runStartedAt, runGeneration }: OpenSessionInput,
): Promise<SessionOpening> {
  const { options } = inspection;
  const { parts } = inspection.plan as PartsPlan;
  return await openSession(db, {
    id: upload.id,
    source: upload.source as ClientSource,
    destination: upload.destination,
    contentType: options.contentType,
    metadata: options.metadata ?? {},
    chunkSize: parts.partSize,
    expectedSize: parts.size,
    encryption: options.encryption ?? null,
    checksums: options.checksum,
    apiKey: upload.apiKey ?? null,
    s3UploadId,
    token,
    runId,
    runStartedAt,
    runGeneration,
  });
}
