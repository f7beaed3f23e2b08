/** Pause, resume and approve: a signal, then a look at what came of it. */
import { setTimeout as sleep } from 'node:timers/promises';
import { EXIT } from '../../core/errors.js';
import { isTerminal } from '../../core/states.js';
import { readId } from './job-find.js';
import type { Io } from './io.js';
import type { Connections } from './options.js';
import { configure, withClient } from './session.js';
import { targetOf, type AnyState, type AnyView, type Target } from './target.js';
import { clean } from './text.js';

export interface Step {
  op: 'pause' | 'resume';
  /** Whether the signal shows. */
  arrived: (state: AnyState) => boolean;
  said: (id: string, state: AnyState) => string;
  /** A job that rests has nothing to stop, but its monitor has heard it. */
  resting: (id: string) => string;
}

const PATIENCE_MS = 5_000;
const LOOK_EVERY_MS = 100;

/** `text` is an id, or says `job/ID` or `upload/ID`. Throws NotFound, NotRunning, TemporalUnavailable. */
export async function steer(io: Io, options: Connections, text: string, step: Step): Promise<number> {
  const { id } = readId(text);
  const { view, rested } = await withClient(configure(io, options), async (client) => {
    const target = await targetOf(client, text);
    const [before] = target.noun === 'job' ? await target.looks.look() : [undefined];
    await target.send(step.op);
    return {
      view: await settled(target.looks, step.arrived),
      rested: before !== undefined && isTerminal(before.state),
    };
  });
  const { op, arrived, said, resting } = step;
  return answer(io, { op, id, name: text, view, arrived, said: rested ? resting : said });
}

export interface Answer extends Pick<Step, 'arrived' | 'said'> {
  op: string;
  id: string;
  /** As it was given on the command line. */
  name: string;
  view: AnyView;
}

export function answer(io: Io, { op, id, name, view, arrived: shows, said }: Answer): number {
  const { state } = view;
  const arrived = shows(state) || isTerminal(state);
  if (io.json) io.outJson({ id, op, state, arrived, webUi: view.webUi ?? null });
  else if (arrived) io.out(said(name, state));
  else io.out(`${op} is recorded; ${name} is ${state} until a worker takes it up (\`longshore worker\`).`);
  return EXIT.ok;
}

/** A signal is delivered at once, and acted on when a worker has it; without one there is nothing to wait for. */
export async function settled(
  { look }: Pick<Target['looks'], 'look'>,
  arrived: (state: AnyState) => boolean,
): Promise<AnyView> {
  for (const began = performance.now(); ; await sleep(LOOK_EVERY_MS)) {
    const [view] = await look();
    if (arrived(view.state) || isTerminal(view.state)) return view;
    if (performance.now() - began > PATIENCE_MS) return view;
  }
}

export function endedAs(id: string, state: AnyState): string {
  return `${clean(id)} ended meanwhile: ${state}. \`longshore status ${clean(id)}\` shows how.`;
}
