/** `longshore resume`: goes on after a pause, or after what blocked it was repaired. */
import type { Io } from '../io.js';
import type { Connections } from '../options.js';
import { endedAs, steer } from '../steering.js';
import { isTerminal } from '../../../core/states.js';

export async function run(io: Io, options: Connections, id: string): Promise<number> {
  return await steer(io, options, id, {
    op: 'resume',
    arrived: (state) => state !== 'PAUSED' && state !== 'BLOCKED',
    said: (name, state) =>
      isTerminal(state) ? endedAs(name, state) : `${name} goes on. Next: \`longshore watch ${name}\``,
    resting: (name) => `${name} rests, and is looked at for changes again.`,
  });
}
