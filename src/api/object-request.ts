/** From the body of a request to an upload of one object, addresses that are secrets sealed. */
import type { FastifyRequest } from 'fastify';
import { parseSource } from '../client/source-spec.js';
import { AlreadyCompleted, type StartUpload } from '../client/longshore-client.js';
import { LongshoreError } from '../core/errors.js';
import { isUnlimited } from '../core/grants.js';
import { MAX_PARKED_MS } from '../core/limits.js';
import type { Source } from '../core/uploads.js';
import { validateUpload } from '../core/validate.js';
import { given, objectOptions } from './definition.js';
import type { ApiDeps } from './deps.js';
import { mustGrant } from './plugins/auth.js';
import { sensible } from './refusals.js';
import type { CreateObjectBody } from './schemas/objects.js';
import { broughtBefore } from './sessions/reuse.js';

/** Longer than an upload may be parked, for it has to be read after that. */
const SEAL_MS = 2 * MAX_PARKED_MS;

/** Starts it, or finds it; answers its id. Throws what `startUpload` throws, but takes a completed one as an answer. */
export async function startObject(
  { config, db, temporal, vault }: ApiDeps,
  request: FastifyRequest,
  body: CreateObjectBody,
  id: string | undefined,
): Promise<string> {
  const { source, secretUrl } = await sensible(() => sourceOf(body.source, config.api.roots));
  const upload: StartUpload = {
    ...given({ id, apiKey: request.apiKey?.id }),
    source,
    destination: body.destination,
    options: {
      ...objectOptions(body),
      ...given({
        partSize: body.part_size,
        concurrency: body.concurrency,
        ifNoneMatch: body.if_none_match,
        demand: body.demand,
        expectedSize: body.expected_size,
      }),
    },
  };
  mustGrant(request, upload.destination);
  const brought = id !== undefined && (await broughtBefore({ db, temporal }, request, id, upload));
  mustRead(request, source);
  await sensible(() => validateUpload({ ...upload, id: id ?? 'to-be-made' }));
  if (brought) return id;
  const sealed = secretUrl === undefined ? undefined : await seal(vault, upload, secretUrl);
  let keep = false;
  try {
    const started = await temporal.use((client) => client.startUpload(sealed?.upload ?? upload));
    keep = started.fresh;
    return started.id;
  } catch (error) {
    // Without an answer it may have started, and would need its address.
    keep = error instanceof LongshoreError && error.code === 'TemporalUnavailable';
    if (error instanceof AlreadyCompleted) return error.upload.id;
    throw error;
  } finally {
    if (sealed !== undefined && !keep) await vault.discard(sealed.reference);
  }
}

function sourceOf(
  source: CreateObjectBody['source'],
  roots: Readonly<Record<string, string>>,
): { source: Source; secretUrl?: string } {
  switch (source.kind) {
    case 'file':
      // Workers may have roots that are none of the callers' business.
      if (Object.hasOwn(roots, source.root)) return { source };
      throw new LongshoreError('SourceOutsideRoot', `the API has no root ${source.root}`, { op: 'request' });
    case 'url':
      return parseSource(source.url, { roots: {}, cwd: '/' });
    case 'object': {
      const { kind, bucket, key, store, version_id: versionId } = source;
      return { source: { kind, bucket, key, ...given({ store, versionId }) } };
    }
  }
}

/** What a key may write to it may read from; in other stores only a key without limits may. */
function mustRead(request: FastifyRequest, source: Source): void {
  if (source.kind !== 'object' || request.apiKey === null) return;
  if (source.store === undefined) return mustGrant(request, { bucket: source.bucket, key: source.key });
  if (isUnlimited(request.apiKey.grants)) return;
  throw new LongshoreError('NotGranted', `the API key may not read the store ${source.store}`, {
    op: 'request',
    key: source.store,
    hint: 'Other stores are read by keys whose grant is *.',
  });
}

async function seal(
  vault: ApiDeps['vault'],
  upload: StartUpload,
  address: string,
): Promise<{ reference: string; upload: StartUpload }> {
  const reference = await vault.seal(address, { purpose: 'source-url', ttlMs: SEAL_MS });
  const source = { ...upload.source, sealed: reference } as Source;
  return { reference, upload: { ...upload, source, secretFingerprint: vault.fingerprintSecret(address) } };
}
