/** What a child process cost: wall time, CPU time and peak memory, read from the kernel's own counters. */
import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';

export interface Cost {
  /** Spawn to exit, milliseconds. */
  wallMs: number;
  cpuSeconds: number;
  peakRssBytes: number;
}

export interface Measured extends Cost {
  /** Unix time of the spawn, milliseconds. */
  startedAt: number;
  /** Lines of standard output, each with the Unix time at which it came. */
  lines: { at: number; text: string }[];
}

/** Linux counts in hundredths of a second for user space, whatever the kernel's own clock. */
const TICKS_PER_SECOND = 100;
const POLL_MS = 40;

/** Runs to the end. Throws an Error with what it wrote to stderr when it fails. */
export async function runMeasured(
  command: string,
  args: readonly string[],
  env: NodeJS.ProcessEnv,
): Promise<Measured> {
  const cpuBefore = childrenCpu();
  const startedAt = now();
  const child = spawn(command, args, { env, stdio: ['ignore', 'pipe', 'pipe'] });
  let stderr = '';
  const lines: Measured['lines'] = [];
  let rest = '';
  child.stderr.setEncoding('utf8').on('data', (text: string) => (stderr += text));
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    const [last = '', ...whole] = (rest + text).split('\n').reverse();
    rest = last;
    for (const line of whole.reverse()) lines.push({ at: now(), text: line });
  });
  let peakRssBytes = 0;
  const look = setInterval(() => {
    peakRssBytes = Math.max(peakRssBytes, child.pid === undefined ? 0 : peakRss(child.pid));
  }, POLL_MS);
  let endedAt = startedAt;
  try {
    const code = await new Promise<number | null>((resolve, reject) => {
      child.once('exit', () => (endedAt = now()));
      child.once('error', reject);
      child.once('close', resolve);
    });
    if (code !== 0) throw new Error(`${command} ended with ${code}: ${stderr.slice(-2000)}`);
  } finally {
    clearInterval(look);
  }
  return {
    startedAt,
    lines,
    wallMs: endedAt - startedAt,
    cpuSeconds: childrenCpu() - cpuBefore,
    peakRssBytes,
  };
}

/** Unix time in milliseconds with its fraction. */
export function now(): number {
  return performance.timeOrigin + performance.now();
}

/** CPU seconds that a running process has used so far. */
export function cpuOf(pid: number): number {
  return cpuFields(`/proc/${pid}/stat`, 'own');
}

/** CPU seconds of all children that have ended, and of theirs. Only one may run at a time for a difference to be its own. */
function childrenCpu(): number {
  return cpuFields('/proc/self/stat', 'children');
}

function cpuFields(path: string, whose: 'own' | 'children'): number {
  const text = readFileSync(path, 'utf8');
  // The program's name, in brackets, may hold blanks; utime is the 14th field, the 12th after it.
  const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
  const first = whose === 'own' ? 11 : 13;
  return (Number(fields[first]) + Number(fields[first + 1])) / TICKS_PER_SECOND;
}

/** The kernel's high-water mark; 0 once the process has ended. */
export function peakRss(pid: number): number {
  let text: string;
  try {
    text = readFileSync(`/proc/${pid}/status`, 'utf8');
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT' || code === 'ESRCH') return 0;
    throw error;
  }
  return Number(/^VmHWM:\s+(\d+) kB/m.exec(text)?.[1] ?? 0) * 1024;
}
