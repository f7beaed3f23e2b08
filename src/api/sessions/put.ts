/** A whole object in one PutObject, for sessions that take no chunks. */
import { LongshoreError } from '../../core/errors.js';
import { uploadWorkflowId } from '../../core/ids.js';
import type { SessionRow } from '../../infra/catalog/sessions.js';
import { tokenMetadata } from '../../infra/s3/store.js';
import { given } from '../definition.js';
import { carried, type ReceiveDeps } from './receive.js';
import type { WholeRequest } from './service.js';

/** Throws WrongChunkSize when it is not as long as was announced. */
export async function putWhole(
  { store, lanes, signs, idleMs, customerKey }: ReceiveDeps,
  row: SessionRow,
  whole: WholeRequest,
  signal: AbortSignal,
): Promise<{ size: number; crc32: string }> {
  const { bucket, key, id, nonce, contentType, metadata, encryption, expectedSize } = row;
  const { length: size, tags, ifNoneMatch } = whole;
  if (expectedSize !== null && size !== expectedSize) {
    const message = `the object has ${expectedSize} bytes, not ${size}`;
    throw new LongshoreError('WrongChunkSize', message, { op: 'receive', key: id });
  }
  const token = { uploadId: uploadWorkflowId(id), nonce };
  return await lanes.run({ session: id, part: 1 }, signal, async (stop) => {
    signs.begun(row);
    await signs.touch(row);
    const attributes = {
      ...{ contentType, metadata: { ...metadata, ...tokenMetadata(token) } },
      ...given({ encryption: encryption ?? undefined, tags, ifNoneMatch }),
      ...(await customerKey(row, 'PutObject')),
    };
    const { crc32 } = await carried(whole, idleMs, stop, (body, crc, end) =>
      store.putObject({ bucket, key, body, ...given({ crc32: crc }), ...attributes }, end),
    );
    return { size, crc32 };
  });
}
