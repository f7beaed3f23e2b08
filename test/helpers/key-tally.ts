/**
 * How often each key was written, for millions of keys in a few dozen megabytes: keys are told apart by 64 bits of two
 * hashes, kept in typed arrays. Two sets of keys are the same when their number and their digest are.
 */
export class KeyTally {
  /** Writes in all, and keys that were written at least once, at least twice. */
  total = 0;
  distinct = 0;
  twice = 0;
  private readonly mask: number;
  private readonly low: Uint32Array;
  private readonly high: Uint32Array;
  private readonly counts: Uint8Array;
  private readonly sizes: Uint32Array;
  private sumLow = 0;
  private sumHigh = 0;

  /** @param keys how many there may be at most */
  constructor(private readonly keys: number) {
    const slots = 2 ** Math.ceil(Math.log2(Math.max(16, keys * 2)));
    this.mask = slots - 1;
    this.low = new Uint32Array(slots);
    this.high = new Uint32Array(slots);
    this.counts = new Uint8Array(slots);
    this.sizes = new Uint32Array(slots);
  }

  /** Throws when there are more keys than it was made for. */
  add(key: string, size = 0): void {
    const slot = this.slotOf(key);
    const before = this.counts[slot] ?? 0;
    if (before === 0) this.claim(slot, key);
    if (before === 1) this.twice += 1;
    this.counts[slot] = Math.min(255, before + 1);
    this.sizes[slot] = size;
    this.total += 1;
  }

  count(key: string): number {
    return this.counts[this.slotOf(key)] ?? 0;
  }

  /** Of the last write. */
  size(key: string): number {
    return this.sizes[this.slotOf(key)] ?? 0;
  }

  /** The same for the same set of keys, in whatever order and however often they came. */
  get digest(): string {
    return [this.sumLow, this.sumHigh].map((sum) => sum.toString(16).padStart(8, '0')).join('');
  }

  private claim(slot: number, key: string): void {
    if (this.distinct === this.keys) throw new RangeError(`more than ${this.keys} keys`);
    const [low, high] = hashes(key);
    this.low[slot] = low;
    this.high[slot] = high;
    this.distinct += 1;
    this.sumLow = (this.sumLow + low) >>> 0;
    this.sumHigh = (this.sumHigh + high) >>> 0;
  }

  /** Where the key is, or would be put. */
  private slotOf(key: string): number {
    const [low, high] = hashes(key);
    for (let slot = low & this.mask; ; slot = (slot + 1) & this.mask) {
      if (this.counts[slot] === 0 || (this.low[slot] === low && this.high[slot] === high)) return slot;
    }
  }
}

/** FNV-1a and, beside it, a multiplicative hash: independent enough for 64 bits together. Both are mixed at the end. */
function hashes(key: string): [number, number] {
  let low = 0x811c9dc5;
  let high = 0x9e3779b9;
  for (let at = 0; at < key.length; at++) {
    const code = key.charCodeAt(at);
    low = Math.imul(low ^ code, 0x01000193);
    high = Math.imul(high + code, 0x85ebca6b) ^ (high >>> 13);
  }
  return [mixed(low), mixed(high)];
}

function mixed(hash: number): number {
  const once = Math.imul(hash ^ (hash >>> 16), 0x7feb352d);
  const twice = Math.imul(once ^ (once >>> 15), 0x846ca68b);
  return (twice ^ (twice >>> 16)) >>> 0;
}
