/** The memory and the CPU time of processes, looked at again and again. */
import { readFileSync } from 'node:fs';
import { cpuOf } from './measure.js';

export interface Sample {
  /** Seconds since the sampling began. */
  at: number;
  rssBytes: number;
  pid: number;
}

export interface Trend {
  maxMiB: number;
  lastMiB: number;
  /** Of the longest life of one process, its first fifth left out: the least-squares line. */
  slopeMiBPerMinute: number;
  samples: number;
}

/** Follows processes by name; a process that is started again under its name goes on in the same series. */
export class Sampler {
  readonly series = new Map<string, Sample[]>();
  private readonly began = performance.now();
  private readonly timer: NodeJS.Timeout;

  /** @param pids asked at each look; undefined while there is no such process */
  constructor(
    private readonly pids: Record<string, () => number | undefined>,
    everyMs = 1000,
  ) {
    for (const name of Object.keys(pids)) this.series.set(name, []);
    this.timer = setInterval(() => this.look(), everyMs);
  }

  stop(): Record<string, Trend> {
    clearInterval(this.timer);
    return Object.fromEntries([...this.series].map(([name, samples]) => [name, trendOf(samples)]));
  }

  private look(): void {
    const at = (performance.now() - this.began) / 1000;
    for (const [name, find] of Object.entries(this.pids)) {
      const pid = find();
      const rssBytes = pid === undefined ? 0 : rssOf(pid);
      if (pid !== undefined && rssBytes > 0) this.series.get(name)?.push({ at, rssBytes, pid });
    }
  }
}

/** 0 once the process has ended. */
export function rssOf(pid: number): number {
  return Number(/^VmRSS:\s+(\d+) kB/m.exec(readProc(`/proc/${pid}/status`))?.[1] ?? 0) * 1024;
}

function readProc(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT' || code === 'ESRCH') return '';
    throw error;
  }
}

const WARM_UP = 0.2;
const MIB = 1024 * 1024;

export function trendOf(samples: readonly Sample[]): Trend {
  const lives = new Map<number, Sample[]>();
  for (const sample of samples) {
    const life = lives.get(sample.pid) ?? [];
    life.push(sample);
    lives.set(sample.pid, life);
  }
  const longest = [...lives.values()].sort((a, b) => b.length - a.length)[0] ?? [];
  const settled = longest.slice(Math.floor(longest.length * WARM_UP));
  return {
    maxMiB: Math.max(0, ...samples.map(({ rssBytes }) => rssBytes)) / MIB,
    lastMiB: (samples.at(-1)?.rssBytes ?? 0) / MIB,
    slopeMiBPerMinute: slopeOf(settled.map(({ at, rssBytes }) => [at / 60, rssBytes / MIB])),
    samples: samples.length,
  };
}

/** Of the line of least squares; 0 for fewer than two points. */
export function slopeOf(points: readonly (readonly [number, number])[]): number {
  const mean = (axis: 0 | 1): number => points.reduce((sum, point) => sum + point[axis], 0) / points.length;
  const [x, y] = [mean(0), mean(1)];
  const spread = points.reduce((sum, point) => sum + (point[0] - x) ** 2, 0);
  if (points.length < 2 || spread === 0) return 0;
  return points.reduce((sum, point) => sum + (point[0] - x) * (point[1] - y), 0) / spread;
}

export function trendLine(name: string, { maxMiB, lastMiB, slopeMiBPerMinute }: Trend): string {
  const slope = `${slopeMiBPerMinute >= 0 ? '+' : ''}${slopeMiBPerMinute.toFixed(2)}`;
  return `${name.padEnd(10)} RSS at most ${maxMiB.toFixed(0)} MiB, at the end ${lastMiB.toFixed(0)}, ${slope} MiB a minute`;
}

/** CPU seconds that processes used between two calls, by name. */
export function cpuMeter(pids: Record<string, number>): () => Record<string, number> {
  const before = Object.entries(pids).map(([name, pid]) => [name, pid, cpuOf(pid)] as const);
  return () => Object.fromEntries(before.map(([name, pid, used]) => [name, cpuOf(pid) - used]));
}
