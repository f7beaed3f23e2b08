/** `longshore cancel`: stops an upload or a job, and waits until nothing of it is under way. */
import { EXIT, LongshoreError } from '../../../core/errors.js';
import { asLongshoreError, exitCodeOf, jsonError, printFailure } from '../failure.js';
import { followLooks, type WatcherOf } from '../follow.js';
import { Detached, Interrupts } from '../interrupts.js';
import type { Io } from '../io.js';
import { readId } from '../job-find.js';
import type { Connections } from '../options.js';
import { configure, withClient } from '../session.js';
import { targetOf, type AnyView, type Target } from '../target.js';

export interface CancelOptions extends Connections {
  wait: boolean;
  quiet?: boolean;
}

/** `text` is an id, or says `job/ID` or `upload/ID`. */
export async function run(io: Io, options: CancelOptions, text: string): Promise<number> {
  readId(text);
  return await withClient(configure(io, options), async (client) => {
    const target = await targetOf(client, text);
    await target.send('cancel');
    if (options.wait) return await untilClosed(io, target, text, options.quiet === true);
    const [{ state }] = await target.looks.look();
    if (io.json) io.outJson({ id: target.id, op: 'cancel', state, arrived: false });
    else io.out(`Cancel of ${text} is asked for. Next: \`longshore status ${text}\``);
    return EXIT.ok;
  });
}

async function untilClosed(io: Io, target: Target, text: string, quiet: boolean): Promise<number> {
  const interrupts = new Interrupts();
  interrupts.arm({});
  try {
    if (!io.json && !quiet) io.err(`Cancelling ${text} …`);
    const result = await followLooks(target.looks, watcherOf(io), interrupts.signal);
    return tooLate(io, target.id, result);
  } catch (error) {
    if (error instanceof Detached) return left(io, target.id, text);
    return ended(io, target, asLongshoreError(error));
  } finally {
    interrupts.release();
  }
}

function watcherOf(io: Io): WatcherOf<[AnyView]> {
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

const LEFT = {
  upload: 'nothing of it is left',
  job: 'what it had sent stays in the bucket, and nothing half-sent is left',
} as const;

function ended(io: Io, { id, noun }: Target, error: LongshoreError): number {
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
  } else if (cancelled) io.out(`Cancelled ${id}; ${LEFT[noun]}.`);
  else printFailure(io, error);
  return cancelled ? EXIT.ok : exitCodeOf(error);
}

/** It was there already; a cancel does not take it away. */
function tooLate(io: Io, id: string, what: string): number {
  const error = new LongshoreError('NotRunning', `too late: ${what}`, { op: 'cancel', key: id });
  if (io.json) io.outJson({ id, op: 'cancel', state: 'COMPLETED', arrived: false, error: jsonError(error) });
  else printFailure(io, error);
  return exitCodeOf(error);
}

function left(io: Io, id: string, text: string): number {
  if (io.json) io.outJson({ type: 'detached', id });
  io.err(`The cancel stays asked for; \`longshore status ${text}\` shows what becomes of it.`);
  return EXIT.detached;
}
