/** `longshore pause`: no byte moves until it is resumed. */
import type { Io } from '../io.js';
import type { Connections } from '../options.js';
import { endedAs, steer } from '../steering.js';

export async function run(io: Io, options: Connections, id: string): Promise<number> {
  return await steer(io, options, id, {
    op: 'pause',
    send: (client) => client.pause(id),
    arrived: (state) => state === 'PAUSED',
    said: (_, state) =>
      state === 'PAUSED' ? `Paused ${id}. Next: \`longshore resume ${id}\`` : endedAs(id, state),
  });
}
