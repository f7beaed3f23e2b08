/** What the catalog knows of a folder's files, read in the order in which the folder is walked and compared with it. */
import { readManifest, type ManifestRow } from '../infra/catalog/scans.js';
import type { Queryable } from '../infra/catalog/pool.js';
import { bytesOf } from '../infra/sources/tree-names.js';
import type { TreeEntry } from '../infra/sources/tree.js';

export type { ManifestRow } from '../infra/catalog/scans.js';

const PAGE = 5_000;

/** A cursor over the rows of a job. While `dry` is false, `first` is the next row, or undefined at the end. */
export class Manifest {
  private rows: ManifestRow[] = [];
  private at = 0;
  private next: Promise<ManifestRow[]> | undefined;
  first: ManifestRow | undefined;
  /** What the path of `first` sorts by, as `TreeEntry.order`. */
  order = '';
  dry = true;

  /** `after`: a path; null for the beginning. */
  constructor(
    private readonly db: Queryable,
    private readonly job: number,
    after: string | null,
  ) {
    this.read(after);
  }

  /** Reads on. Called when `dry`. */
  async fill(): Promise<void> {
    const rows = await this.next;
    this.rows = rows ?? [];
    this.at = 0;
    this.dry = false;
    // Asked for while this page is being compared.
    if (this.rows.length === PAGE) this.read(this.rows.at(-1)?.path ?? null);
    else this.next = undefined;
    this.show();
  }

  advance(): void {
    this.at++;
    this.show();
  }

  private show(): void {
    const row = this.rows[this.at];
    this.first = row;
    if (row !== undefined) this.order = bytesOf(row.path);
    if (row === undefined && this.next !== undefined) this.dry = true;
  }

  private read(after: string | null): void {
    const page = readManifest(this.db, this.job, { after, limit: PAGE });
    // Its failure is met where the page is waited for, which may be never.
    page.catch(() => undefined);
    this.next = page;
  }
}

// ── Comparing ────────────────────────────────────────────────────────────────────────────────────────────────────

const LAST_NS = 2n ** 63n - 1n;

/** As the catalog keeps it: times beyond the year 2262 count as its end. */
export function mtimeText(mtimeNs: bigint | null): string | null {
  if (mtimeNs === null) return null;
  return String(mtimeNs > LAST_NS ? LAST_NS : mtimeNs < -LAST_NS ? -LAST_NS : mtimeNs);
}

/** Whether the row tells of these very bytes, as far as size and time say. An empty folder has no bytes. */
export function sameFile(row: ManifestRow, entry: TreeEntry): boolean {
  if (entry.kind === 'empty') return true;
  return row.size === entry.size && row.mtimeNs === mtimeText(entry.mtimeNs);
}

/**
 * Left alone for `quiet` seconds, at `now` in milliseconds. Only the file system's own clock is believed when the time
 * of modification lies in the future: anyone can set that.
 */
export function isQuiet(entry: TreeEntry, quiet: number, now: number): boolean {
  if (quiet <= 0) return true;
  const nowNs = BigInt(now) * 1_000_000n;
  const { mtimeNs, ctimeNs } = entry;
  const times = [mtimeNs ?? 0n, ctimeNs ?? 0n].filter((time, index) => index === 1 || time <= nowNs);
  const latest = times.reduce((a, b) => (a > b ? a : b));
  return nowNs - latest >= BigInt(Math.round(quiet * 1e9));
}

/** Folders of which nothing is known just now: what the catalog says of them stays. */
export class ClosedFolders {
  private prefixes: string[] = [];

  add(order: string): void {
    this.prefixes.push(order.endsWith('/') ? order : `${order}/`);
  }

  /** Asked in rising order. `order` itself counts too, where it was not known to be a folder. */
  holds(order: string): boolean {
    if (this.prefixes.length === 0) return false;
    // A tree may hold many of them; those that were passed are not asked for again.
    this.prefixes = this.prefixes.filter((prefix) => prefix > order || order.startsWith(prefix));
    return this.prefixes.some((prefix) => order.startsWith(prefix));
  }
}
