/** Pause and resume: a signal, then a look at what came of it. */
import { setTimeout as sleep } from 'node:timers/promises';
import { EXIT } from '../../core/errors.js';
import { isTerminal, type UploadState } from '../../core/states.js';
import type { LongshoreClient, UploadView } from '../longshore-client.js';
import { checkId } from './find.js';
import type { Io } from './io.js';
import type { Connections } from './options.js';
import { configure, withClient } from './session.js';
import { clean } from './text.js';

export interface Step {
  op: 'pause' | 'resume';
  send: (client: LongshoreClient, id: string) => Promise<void>;
  /** Whether the signal shows. */
  arrived: (state: UploadState) => boolean;
  said: (id: string, state: UploadState) => string;
}

const PATIENCE_MS = 5_000;
const LOOK_EVERY_MS = 100;

/** Throws NotFound, NotRunning, TemporalUnavailable. */
export async function steer(io: Io, options: Connections, id: string, step: Step): Promise<number> {
  checkId(id);
  const view = await withClient(configure(io, options), async (client) => {
    await step.send(client, id);
    return await settled(client, id, step.arrived);
  });
  const { state } = view;
  const arrived = step.arrived(state) || isTerminal(state);
  if (io.json) io.outJson({ id, op: step.op, state, arrived, webUi: view.webUi ?? null });
  else if (arrived) io.out(step.said(id, state));
  else io.out(`${step.op} is recorded; ${id} is ${state} until a worker takes it up (\`longshore worker\`).`);
  return EXIT.ok;
}

/** A signal is delivered at once, and acted on when a worker has it; without one there is nothing to wait for. */
async function settled(
  client: LongshoreClient,
  id: string,
  arrived: (state: UploadState) => boolean,
): Promise<UploadView> {
  for (const began = performance.now(); ; await sleep(LOOK_EVERY_MS)) {
    const view = await client.view(id);
    if (arrived(view.state) || isTerminal(view.state)) return view;
    if (performance.now() - began > PATIENCE_MS) return view;
  }
}

export function endedAs(id: string, state: UploadState): string {
  return `${clean(id)} ended meanwhile: ${state}. \`longshore status ${clean(id)}\` shows how.`;
}
