import { setTimeout as delay } from 'node:timers/promises';
import { describe, expect, test } from 'vitest';
import { follow, type Followed, type Watcher } from '../../src/client/cli/follow.js';
import { Detached, Interrupts, type InterruptSource } from '../../src/client/cli/interrupts.js';
import type { UploadView } from '../../src/client/longshore-client.js';
import { LongshoreError } from '../../src/core/errors.js';
import type { UploadResult } from '../../src/core/uploads.js';

const RESULT = { bucket: 'b', key: 'k', size: 1 } as UploadResult;
const VIEW = {
  ...{ id: 'x', state: 'UPLOADING' },
  progress: { bytesDone: 1, bytesTotal: 2, bytesSent: 1, partsDone: 0, partsTotal: 1 },
} as UploadView;
const away = () => new LongshoreError('TemporalUnavailable', 'away', { op: 'result' });
const never = <T>(): Promise<T> => new Promise<T>(() => undefined);

function watcher(seen: string[] = []): Watcher {
  return {
    update: ({ state }) => seen.push(state),
    silent: (why) => seen.push(`silent: ${why}`),
    answered: () => seen.push('answered'),
  };
}

describe('following', () => {
  test('ends with the result although a look is under way', async () => {
    const client: Followed = { view: () => never(), result: () => delay(20, RESULT) };
    await expect(follow(client, { id: 'x' }, watcher(), new AbortController().signal)).resolves.toBe(RESULT);
  });

  test('outlives the time in which Temporal is away', async () => {
    let tries = 0;
    const client: Followed = {
      view: async () => VIEW,
      result: async () => {
        tries += 1;
        if (tries < 3) throw away();
        return RESULT;
      },
    };
    await expect(follow(client, { id: 'x' }, watcher(), new AbortController().signal)).resolves.toBe(RESULT);
    expect(tries).toBe(3);
  });

  test('says once that Temporal is silent, and once that it is back', async () => {
    const seen: string[] = [];
    let up = false;
    let end: (result: UploadResult) => void = () => undefined;
    const client: Followed = {
      view: async () => {
        if (!up) throw away();
        return VIEW;
      },
      result: () => new Promise((resolve) => (end = resolve)),
    };
    const done = follow(client, { id: 'x' }, watcher(seen), new AbortController().signal);
    await delay(4_200);
    up = true;
    await delay(1_100);
    end(RESULT);
    await done;
    expect(seen.slice(0, 3)).toEqual(['silent: away', 'answered', 'UPLOADING']);
    expect(seen.filter((line) => line.startsWith('silent'))).toHaveLength(1);
  });

  test('throws what the upload failed with', async () => {
    const failure = new LongshoreError('SourceChanged', 'changed', { op: 'upload' });
    const client: Followed = { view: async () => VIEW, result: () => Promise.reject(failure) };
    await expect(follow(client, { id: 'x' }, watcher(), new AbortController().signal)).rejects.toBe(failure);
  });

  test('is left at once', async () => {
    const leaving = new AbortController();
    const client: Followed = { view: () => never(), result: () => never() };
    const done = follow(client, { id: 'x' }, watcher(), leaving.signal);
    const reason = new Detached();
    leaving.abort(reason);
    await expect(done).rejects.toBe(reason);
  });
});

class Keys implements InterruptSource {
  private readonly listeners = new Map<string, () => void>();

  on(signal: NodeJS.Signals, listener: () => void): void {
    this.listeners.set(signal, listener);
  }

  off(signal: NodeJS.Signals): void {
    this.listeners.delete(signal);
  }

  send(signal: NodeJS.Signals): void {
    this.listeners.get(signal)?.();
  }

  get size(): number {
    return this.listeners.size;
  }
}

describe('Ctrl-C', () => {
  function armed() {
    const keys = new Keys();
    const said: string[] = [];
    const interrupts = new Interrupts(keys);
    interrupts.arm({ warn: () => said.push('warned'), cancel: () => said.push('cancelled') });
    return { keys, said, interrupts };
  }

  test('once warns, and leaves only later', () => {
    const { keys, said, interrupts } = armed();
    keys.send('SIGINT');
    expect(said).toEqual(['warned']);
    expect(interrupts.signal.aborted).toBe(false);
    interrupts.release();
    expect(keys.size).toBe(0);
  });

  test('twice cancels and stays; a third time leaves', () => {
    const { keys, said, interrupts } = armed();
    keys.send('SIGINT');
    keys.send('SIGINT');
    expect(said).toEqual(['warned', 'cancelled']);
    expect(interrupts.signal.aborted).toBe(false);
    keys.send('SIGINT');
    expect(interrupts.signal.reason).toBeInstanceOf(Detached);
    interrupts.release();
  });

  test('SIGTERM leaves at once, and cancels nothing', () => {
    const { keys, said, interrupts } = armed();
    keys.send('SIGTERM');
    expect(interrupts.signal.aborted).toBe(true);
    expect(said).toEqual([]);
    interrupts.release();
  });

  test('before there is an upload is kept for it', () => {
    const keys = new Keys();
    const said: string[] = [];
    const interrupts = new Interrupts(keys);
    keys.send('SIGINT');
    interrupts.arm({ warn: () => said.push('warned') });
    expect(said).toEqual(['warned']);
    interrupts.release();
  });

  test('leaves at once where nothing can be cancelled', () => {
    const keys = new Keys();
    const interrupts = new Interrupts(keys);
    interrupts.arm({});
    keys.send('SIGINT');
    expect(interrupts.signal.aborted).toBe(true);
    interrupts.release();
  });
});
