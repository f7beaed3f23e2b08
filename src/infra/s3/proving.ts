/** Encryption proved before a whole object goes: its answer comes when the bytes are at the key already. */
import type { ObjectStore, PutRequest } from './store.js';

/** Buckets and ways of encryption that were proved; a server does not unlearn it within this many. */
const REMEMBERED = 1000;

/**
 * The store, whose PutObject throws EncryptionNotApplied before any byte goes where the server ignores the encryption asked
 * for. A multipart upload is begun and aborted to see it, once for each bucket and way of encryption.
 */
export function provingEncryption(store: ObjectStore): ObjectStore {
  const proved = new Set<string>();
  const prove = async (request: PutRequest, signal: AbortSignal): Promise<void> => {
    const { bucket, key, encryption, customerKey } = request;
    if (encryption === undefined) return;
    const way = JSON.stringify([
      bucket,
      encryption.type,
      'kmsKeyId' in encryption ? encryption.kmsKeyId : null,
    ]);
    if (proved.has(way)) return;
    const at = { bucket, key, ...(customerKey === undefined ? {} : { customerKey }) };
    const upload = await store.createMultipartUpload({ ...at, encryption, checksum: true }, signal);
    await store.abortMultipartUpload({ ...at, ...upload }, signal);
    if (proved.size >= REMEMBERED) proved.clear();
    proved.add(way);
  };
  return {
    ...store,
    putObject: async (request, signal) => {
      await prove(request, signal);
      return await store.putObject(request, signal);
    },
  };
}
