/** `longshore pause`: no byte moves until it is resumed. */
import type { Io } from '../io.js';
import type { Connections } from '../options.js';
import { endedAs, steer } from '../steering.js';

export async function run(io: Io, options: Connections, id: string): Promise<number> {
  return await steer(io, options, id, {
    op: 'pause',
    arrived: (state) => state === 'PAUSED',
    said: (name, state) =>
      state === 'PAUSED' ? `Paused ${name}. Next: \`longshore resume ${name}\`` : endedAs(name, state),
    resting: (name) =>
      `${name} rests, and is not looked at until it is resumed. Next: \`longshore resume ${name}\``,
  });
}
