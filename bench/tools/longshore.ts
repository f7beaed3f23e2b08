/** `longshore put` as people run it, beside a worker that runs already; what both cost is counted. */
import type { Client } from '@temporalio/client';
import { uploadWorkflowId } from '../../src/core/ids.js';
import { cpuOf, peakRss, runMeasured, type Measured } from '../measure.js';
import { phasesOf } from '../phases.js';
import type { Place, Run, Target, Tool } from './tool.js';

export interface LongshorePlace extends Place {
  cli: string;
  dataDir: string;
  workerPid: number;
  temporal: Client;
}

export function createLongshore(place: LongshorePlace): Tool {
  return {
    name: 'longshore',
    settings: 'CLI start to verified, defaults (8 MiB × 4); CPU and memory are CLI and worker together',
    put: (target) => put(place, target),
  };
}

async function put(place: LongshorePlace, { bucket, key }: Target): Promise<Run> {
  const { cli, dataDir, file, env, workerPid } = place;
  const args = [cli, 'put', '--json', '--data-dir', dataDir, file, `s3://${bucket}/${key}`];
  const cpuBefore = cpuOf(workerPid);
  const measured = await runMeasured(process.execPath, args, env);
  const workerCpu = cpuOf(workerPid) - cpuBefore;
  const result = resultOf(measured);
  const history = await place.temporal.workflow.getHandle(uploadWorkflowId(result.id)).fetchHistory();
  const events = history.events ?? [];
  return {
    wallMs: measured.wallMs,
    cpuSeconds: measured.cpuSeconds + workerCpu,
    peakRssBytes: measured.peakRssBytes + peakRss(workerPid),
    workerPeakRssBytes: peakRss(workerPid),
    historyEvents: events.length,
    ...phasesOf(measured, result, events),
  };
}

interface PutResult {
  id: string;
  /** From when the command knew what to do. */
  seconds: number;
  /** Unix time at which it was printed. */
  at: number;
}

function resultOf({ lines }: Measured): PutResult {
  const last = lines.at(-1);
  const parsed = JSON.parse(last?.text ?? '{}') as {
    id: string;
    state: string;
    seconds: number;
    verification: string;
  };
  if (last === undefined || parsed.state !== 'COMPLETED' || parsed.verification !== 'full') {
    throw new Error(`put ended with ${last?.text ?? 'nothing'}`);
  }
  return { id: parsed.id, seconds: parsed.seconds, at: last.at };
}
