/** Where the links of a tree lead: to something under the root, or to a reason. */
import type { BigIntStats } from 'node:fs';
import type { ErrorCode } from '../../core/errors.js';
import { isInside } from './file-open.js';
import {
  closeFolder,
  isDenied,
  isGone,
  look,
  openAlong,
  targetOf,
  unreadable,
  type Folder,
} from './tree-folder.js';

export type Followed =
  /** `target` is below the root, in bytes, and no part of it was a link; `stats` are its own. */
  | { target: string; stats: BigIntStats }
  | {
      kind: 'skipped' | 'failed';
      code: ErrorCode;
      reason: string;
      /** It may lead to a folder that cannot be looked at. */
      hides?: true;
    };

const NOWHERE = { kind: 'skipped', code: 'SourceNotFound', reason: 'a link that leads nowhere' } as const;
const OUTSIDE = {
  kind: 'skipped',
  code: 'SourceOutsideRoot',
  reason: 'a link that leads out of its root',
  hides: true,
} as const;
const DENIED = {
  kind: 'failed',
  code: 'SourceDenied',
  reason: 'the worker may not go where the link leads',
  hides: true,
} as const;

/** `path` names the link in messages. Throws SourceUnavailable for what may pass. */
export function followLink(
  root: { path: string; folder: Folder },
  holder: Folder,
  name: string,
  path: string,
): Followed {
  try {
    const real = targetOf(holder, name);
    if (real === undefined) return NOWHERE;
    if (!isInside(root.path, real)) return OUTSIDE;
    const target = real.slice(root.path.length).replace(/^\//, '');
    const stats = lookAlong(root.folder, target);
    // Something took its place meanwhile; as good as gone.
    if (stats === undefined || stats.isSymbolicLink()) return NOWHERE;
    return { target, stats };
  } catch (error) {
    if (isGone(error)) return NOWHERE;
    if (isDenied(error)) return DENIED;
    throw unreadable(error, path);
  }
}

function lookAlong(root: Folder, target: string): BigIntStats | undefined {
  const cut = target.lastIndexOf('/');
  const holder = openAlong(root, target.slice(0, Math.max(cut, 0)));
  try {
    return look(holder, cut === target.length - 1 ? '.' : target.slice(cut + 1));
  } finally {
    closeFolder(holder);
  }
}
