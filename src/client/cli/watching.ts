/** From an upload that runs to what is printed of its end; `put` and `watch` share it. */
import { EXIT, type LongshoreError } from '../../core/errors.js';
import type { UploadState } from '../../core/states.js';
import type { UploadProgress, UploadResult } from '../../core/uploads.js';
import type { LongshoreClient, UploadView } from '../longshore-client.js';
import { asLongshoreError } from './failure.js';
import { follow, type Watcher } from './follow.js';
import { Detached, type Interrupts } from './interrupts.js';
import type { Io } from './io.js';
import { printFailed, printResult, type Ended } from './outcome.js';
import type { UploadScreen } from './screen.js';

export interface WatchOptions {
  io: Io;
  client: LongshoreClient;
  upload: Ended & { runId: string | undefined };
  screen: UploadScreen;
  interrupts: Interrupts;
  /** Ctrl-C pressed twice cancels; otherwise it only leaves. */
  mayCancel: boolean;
  seconds: () => number;
}

/** Prints the end of the upload and answers the exit code. */
export async function watchToEnd(options: WatchOptions): Promise<number> {
  const { io, client, upload, screen, interrupts, seconds } = options;
  io.brokenPipeCode = EXIT.detached;
  const cancelling = armInterrupts(options);
  let ended: { result: UploadResult } | { error: LongshoreError };
  try {
    ended = { result: await follow(client, upload, announcer(options), interrupts.signal) };
  } catch (error) {
    if (error instanceof Detached) return left(options);
    // A cancel that could not be delivered is why nobody waits any longer.
    ended = { error: asLongshoreError(cancelling.failure ?? error) };
  } finally {
    screen.end();
  }
  return 'result' in ended
    ? printResult(io, upload, ended.result, seconds())
    : printFailed(io, upload, ended.error, seconds());
}

function armInterrupts({ client, upload, screen, interrupts, mayCancel }: WatchOptions): Cancelling {
  const cancel = mayCancel ? () => client.cancel(upload.id) : undefined;
  return armCancel('upload', interrupts, (line) => screen.say(line), cancel);
}

/** Why a cancel that was asked for was not delivered. */
export interface Cancelling {
  failure?: unknown;
}

/** Pressed twice, Ctrl-C calls `cancel`; without one it only leaves. `noun` is what goes on without this command. */
export function armCancel(
  noun: string,
  interrupts: Interrupts,
  say: (line: string) => void,
  cancel: (() => Promise<void>) | undefined,
): Cancelling {
  const outcome: Cancelling = {};
  if (cancel === undefined) {
    interrupts.arm({});
    return outcome;
  }
  interrupts.arm({
    warn: (ms) =>
      say(`The ${noun} goes on without this command. Press Ctrl-C again within ${ms / 1000} s to cancel it.`),
    cancel: () => {
      say('Cancelling … (Ctrl-C once more leaves that to the worker)');
      cancel().catch((error: unknown) => {
        outcome.failure = error;
        say(`warning: the cancel was not delivered: ${asLongshoreError(error).message}`);
      });
    },
  });
  return outcome;
}

function left({ io, upload }: WatchOptions): number {
  const { id, webUi } = upload;
  if (io.json) io.outJson({ type: 'detached', id, webUi: webUi ?? null });
  io.err(`Detached; the upload ${id} goes on.`);
  io.err(`  longshore watch ${id}    follow it again`);
  io.err(`  longshore cancel ${id}   stop it`);
  return EXIT.detached;
}

/** Says what changes, once. */
function announcer({ screen, upload }: WatchOptions): Watcher {
  let state: UploadState | undefined;
  const warned = new Set<string>();
  return {
    update(view: UploadView, progress: UploadProgress): void {
      if (view.unclaimed !== undefined && !warned.has(view.unclaimed)) {
        warned.add(view.unclaimed);
        screen.say(
          `warning: no worker takes tasks from the queue ${view.unclaimed}: start one with \`longshore worker\``,
        );
      }
      if (view.state !== state) announce(view, state);
      state = view.state;
      screen.progress(view, progress);
    },
    silent: (why) =>
      screen.say(`warning: Temporal does not answer (${why}); still trying. The upload is safe.`),
    answered: () => screen.say('Temporal answers again.'),
  };

  function announce(view: UploadView, before: UploadState | undefined): void {
    if (view.state === 'PAUSED') {
      screen.say(`Paused. Next: \`longshore resume ${upload.id}\``);
    } else if (view.state === 'BLOCKED') {
      const { code, message, hint } = view.failure ?? {
        code: 'Internal',
        message: 'no reason given',
        hint: '',
      };
      screen.say(`Blocked: ${message} (${code})\nhint: ${hint}\nNext: \`longshore resume ${upload.id}\``);
    } else if (before === 'PAUSED' || before === 'BLOCKED') {
      screen.say('It goes on.');
    }
  }
}
