/** `longshore cancel`: stops an upload and waits until nothing of it is left. */
import { EXIT, LongshoreError } from '../../../core/errors.js';
import type { UploadResult } from '../../../core/uploads.js';
import type { LongshoreClient } from '../../longshore-client.js';
import { asLongshoreError, exitCodeOf, jsonError, printFailure } from '../failure.js';
import { checkId } from '../find.js';
import { follow, type Watcher } from '../follow.js';
import { Detached, Interrupts } from '../interrupts.js';
import type { Io } from '../io.js';
import type { Connections } from '../options.js';
import { configure, withClient } from '../session.js';

export interface CancelOptions extends Connections {
  wait: boolean;
  quiet?: boolean;
}

export async function run(io: Io, options: CancelOptions, id: string): Promise<number> {
  checkId(id);
  return await withClient(configure(io, options), async (client) => {
    await client.cancel(id);
    if (options.wait) return await untilClosed(io, client, id, options.quiet === true);
    const { state } = await client.view(id);
    if (io.json) io.outJson({ id, op: 'cancel', state, arrived: false });
    else io.out(`Cancel of ${id} is asked for. Next: \`longshore status ${id}\``);
    return EXIT.ok;
  });
}

async function untilClosed(io: Io, client: LongshoreClient, id: string, quiet: boolean): Promise<number> {
  const interrupts = new Interrupts();
  interrupts.arm({});
  try {
    if (!io.json && !quiet) io.err(`Cancelling ${id} …`);
    const result = await follow(client, { id }, watcherOf(io), interrupts.signal);
    return tooLate(io, id, result);
  } catch (error) {
    if (error instanceof Detached) return left(io, id);
    return ended(io, id, asLongshoreError(error));
  } finally {
    interrupts.release();
  }
}

function watcherOf(io: Io): Watcher {
  let warned = false;
  return {
    update({ unclaimed }) {
      if (unclaimed === undefined || warned) return;
      warned = true;
      io.err(
        `warning: no worker takes tasks from the queue ${unclaimed}: start one with \`longshore worker\``,
      );
    },
    silent: (why) => io.err(`warning: Temporal does not answer (${why}); still trying`),
    answered: () => io.err('Temporal answers again.'),
  };
}

function ended(io: Io, id: string, error: LongshoreError): number {
  const cancelled = error.code === 'Cancelled';
  if (io.json) {
    const state = cancelled ? 'CANCELLED' : 'FAILED';
    io.outJson({
      id,
      op: 'cancel',
      state,
      arrived: cancelled,
      ...(cancelled ? {} : { error: jsonError(error) }),
    });
  } else if (cancelled) io.out(`Cancelled ${id}; nothing of it is left.`);
  else printFailure(io, error);
  return cancelled ? EXIT.ok : exitCodeOf(error);
}

/** The object was there already; a cancel does not take it away. */
function tooLate(io: Io, id: string, result: UploadResult): number {
  const message = `too late: s3://${result.bucket}/${result.key} is complete`;
  const error = new LongshoreError('NotRunning', message, { op: 'cancel', key: id });
  if (io.json) io.outJson({ id, op: 'cancel', state: 'COMPLETED', arrived: false, error: jsonError(error) });
  else printFailure(io, error);
  return exitCodeOf(error);
}

function left(io: Io, id: string): number {
  if (io.json) io.outJson({ type: 'detached', id });
  io.err(`The cancel stays asked for; \`longshore status ${id}\` shows what becomes of it.`);
  return EXIT.detached;
}
