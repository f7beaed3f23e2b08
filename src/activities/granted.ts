/** What an API key may touch is looked at again where the bytes go: it may have been revoked since it asked. */
import type { UploadObjectInput } from '../core/uploads.js';
import { assertGranted } from '../infra/catalog/api-keys.js';
import type { Queryable } from '../infra/catalog/pool.js';

/** Throws NotGranted. */
export type MustGrant = (
  upload: Pick<UploadObjectInput, 'apiKey' | 'source' | 'destination'>,
) => Promise<void>;

export function createMustGrant(db: Queryable): MustGrant {
  return async ({ apiKey, source, destination }) => {
    if (apiKey === undefined) return;
    await assertGranted(db, apiKey, destination);
    // Objects of other stores are for keys without limits, which the API saw to.
    if (source.kind !== 'object' || source.store !== undefined) return;
    await assertGranted(db, apiKey, { bucket: source.bucket, key: source.key });
  };
}
