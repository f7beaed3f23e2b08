/** The folder that a job names, found under its root and opened for a walk. */
import { realpath } from 'node:fs/promises';
import type { JobSource } from '../../core/jobs.js';
import { fileError, isInside, rootFolder, systemFailure, type Roots } from './file-open.js';
import { Tree, type TreeOptions } from './tree.js';

const OP = 'scan';

/** Throws RootUnavailable, SourceNotFound, SourceDenied, SourceOutsideRoot, SourceInvalid, SourceUnavailable. */
export async function openTree(
  roots: Roots,
  source: JobSource,
  options: Omit<TreeOptions, 'root' | 'path'>,
): Promise<Tree> {
  const file = { kind: 'file', ...source } as const;
  const root = await rootFolder(roots, file, OP);
  try {
    const real = await realpath(source.path === '' ? root : `${root}/${source.path}`);
    if (!isInside(root, real))
      throw fileError('SourceOutsideRoot', 'the path leads out of its root', file, OP);
    const path = real.slice(root.length).replace(/^\//, '');
    return new Tree({ ...options, root, path });
  } catch (error) {
    throw systemFailure(error, file, OP);
  }
}
