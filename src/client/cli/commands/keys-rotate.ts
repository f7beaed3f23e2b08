/** `longshore keys rotate`: an object under another key, its bytes never leaving the server. */
import { LongshoreError } from '../../../core/errors.js';
import type { Encryption } from '../../../core/uploads.js';
import type { NodeRow } from '../../../infra/catalog/nodes.js';
import type { CustomerKey } from '../../../infra/keys/index.js';
import { checkRotation, rotationUpload } from '../../rotation.js';
import type { Io } from '../io.js';
import { readKeyFile } from '../key-file.js';
import { idleNode, watchCopy } from '../node-copy.js';
import { badUsage, encryption, type Connections } from '../options.js';
import { seal } from '../sealing.js';
import { configure } from '../session.js';

export interface RotateOptions extends Connections {
  keyFile?: string;
  newKeyFile?: string;
  newSse?: boolean;
  newSseKms?: string | boolean;
}

interface Asked {
  from: CustomerKey | undefined;
  /** A customer's key, or what the server does by itself. */
  to: { key: CustomerKey } | { encryption: Encryption };
}

/** Exit codes as `put` has them. */
export async function rotate(io: Io, options: RotateOptions, nodeId: string): Promise<number> {
  const began = performance.now();
  const config = configure(io, options);
  const asked = await read(io, options);
  const newKey = 'key' in asked.to ? asked.to.key : undefined;
  const node = await idleNode(config, nodeId, 'rotate');
  checkRotation(node, { from: asked.from?.md5, to: newKey?.md5 });
  const seconds = (): number => (performance.now() - began) / 1000;
  return await watchCopy({ io, config, node, seconds }, async (client) => {
    const { uuidv7 } = await import('uuidv7');
    const to = 'encryption' in asked.to ? asked.to.encryption : undefined;
    const sealed = await seal(config, rotationUpload({ id: uuidv7(), node, to }), {
      key: newKey,
      sourceKey: asked.from,
    });
    let keep = true;
    const started = await client
      .startUpload(sealed.upload)
      .catch((error: unknown) => {
        // Without an answer it may have started, and would need the keys.
        keep = error instanceof LongshoreError && error.code === 'TemporalUnavailable';
        throw error;
      })
      .finally(() => sealed.close({ keep }));
    announce(io, node, started.id, started.webUi);
    return started;
  });
}

async function read(io: Io, options: RotateOptions): Promise<Asked> {
  const { keyFile, newKeyFile, newSse, newSseKms } = options;
  const encrypted = encryption({ sse: newSse, sseKms: newSseKms });
  if ((newKeyFile === undefined) === (encrypted === undefined))
    throw badUsage('`keys rotate` takes one of --new-key-file, --new-sse and --new-sse-kms');
  const from = keyFile === undefined ? undefined : await readKeyFile(io, '--key-file', keyFile);
  if (encrypted !== undefined) return { from, to: { encryption: encrypted } };
  if (newKeyFile === undefined) throw badUsage('--new-key-file is missing');
  return { from, to: { key: await readKeyFile(io, '--new-key-file', newKeyFile) } };
}

function announce(io: Io, { bucket, key }: NodeRow, id: string, webUi: string | undefined): void {
  if (io.json) {
    io.outJson({ type: 'started', id, bucket, key, webUi: webUi ?? null });
    return;
  }
  io.err(`Encrypting s3://${bucket}/${key} anew`);
  io.err(`Upload ${id}`);
  if (webUi !== undefined) io.err(`Web UI ${webUi}`);
}
