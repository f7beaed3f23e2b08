/** `longshore put FILE` by way of the API: resumable, for the file can be read again. */
import { basename } from 'node:path';
import { LongshoreError } from '../../core/errors.js';
import { MAX_GENERATIONS } from '../../core/limits.js';
import { chunkCount, chunkLength } from '../../core/sessions.js';
import { isTerminal } from '../../core/states.js';
import { changed, FileChunks, MAX_HELD_CHUNK, type Extent } from '../http/file-chunks.js';
import { inLanes, Sender } from '../http/sender.js';
import { resultOf, type BeginAsk, type HttpSession } from '../http/sessions.js';
import { badUsage, size } from './options.js';
import { SentBefore, type LocalSource, type Sending } from './put-api.js';
import { Tally } from './session-screen.js';

/** Metadata of the session, and of the object: the file's time of modification, nanoseconds since 1970. */
const MODIFIED = 'source-modified';

/** `path` is absolute. */
export function fileOf(path: string): LocalSource {
  return {
    ...{ name: basename(path), label: path, resumable: true },
    send: async (sending) => {
      const file = await FileChunks.open(path);
      try {
        return await new FileSending(sending, file, path).run();
      } finally {
        await file.close();
      }
    },
  };
}

class FileSending {
  private readonly ask: BeginAsk;

  constructor(
    private readonly sending: Sending,
    private readonly file: FileChunks,
    private readonly path: string,
  ) {
    const { ask, options } = sending;
    const { metadata = {} } = ask;
    if (Object.hasOwn(metadata, MODIFIED))
      throw badUsage(`--metadata cannot name ${MODIFIED} by way of the API`);
    const expected = size('--expected-size', options.expectedSize);
    if (expected !== undefined && expected !== file.size) {
      const message = `${path} has ${file.size} bytes, and ${expected} were expected`;
      throw new LongshoreError('SizeMismatch', message, { op: 'open', key: path });
    }
    this.ask = { ...ask, size: file.size, metadata: { ...metadata, [MODIFIED]: file.modified } };
  }

  async run(): Promise<{ session: HttpSession; bytesSent: number }> {
    const { announce, screen } = this.sending;
    const { session, fresh } = await this.begin();
    announce(session, fresh);
    const received = extentsOf(session, this.file.size).filter(({ chunk }) => isReceived(session, chunk));
    const tally = new Tally(screen, session.id, {
      ...{ bytesDone: received.reduce((sum, { length }) => sum + length, 0), bytesTotal: this.file.size },
      ...{ partsDone: received.length, partsTotal: chunkCount(this.file.size, session.chunkSize) },
    });
    try {
      const done = await this.sendAll(session, tally);
      return { session: done, bytesSent: tally.progress.bytesSent };
    } finally {
      tally.end();
    }
  }

  /** The session of this id that is there, or a new one. */
  private async begin(): Promise<{ session: HttpSession; fresh: boolean }> {
    const { api, options, signal } = this.sending;
    const there = options.id === undefined ? undefined : await this.find();
    if (there === undefined || (isTerminal(there.state) && there.state !== 'COMPLETED'))
      return { session: await api.begin(this.ask, signal), fresh: true };
    this.compare(there);
    if (there.state === 'COMPLETED') throw new SentBefore(there.id, resultOf(there, 0));
    return { session: there, fresh: false };
  }

  private async find(): Promise<HttpSession | undefined> {
    const { api, signal } = this.sending;
    try {
      return await api.get(this.ask.id, signal);
    } catch (error) {
      if (error instanceof LongshoreError && error.code === 'NotFound') return undefined;
      throw error;
    }
  }

  /** Throws Conflict, SourceChanged. */
  private compare(there: HttpSession): void {
    const { id, bucket, key } = this.ask;
    const modified = there.metadata[MODIFIED];
    if (there.bucket !== bucket || there.key !== key || modified === undefined) {
      const message = `the upload ${id} is another: ${there.name} to s3://${there.bucket}/${there.key}`;
      throw new LongshoreError('Conflict', message, { op: 'put', key: id });
    }
    if (there.expectedSize === this.file.size && modified === this.file.modified) return;
    const hint =
      there.state === 'COMPLETED'
        ? 'Choose another id to send the file as it is now.'
        : `\`longshore sessions cancel ${id}\` ends it; then the same command sends the file as it is now.`;
    throw new FileDiffers(this.path, hint);
  }

  /** A multipart upload that was lost on the way asks for all chunks again, so it is sent in rounds. */
  private async sendAll(begun: HttpSession, tally: Tally): Promise<HttpSession> {
    const { api, signal } = this.sending;
    const { id } = begun;
    const sender = new Sender({ api, id, signal, onSent: (figures) => tally.sent(figures) });
    for (let round = 1, session = begun; ; round++) {
      await this.sendMissing(session, sender);
      await this.file.checkUnchanged();
      const chunks = chunkCount(this.file.size, session.chunkSize);
      try {
        return await api.complete(id, { chunks, size: this.file.size, crc32: sender.crc32(chunks) }, signal);
      } catch (error) {
        const missing = error instanceof LongshoreError && error.code === 'PartsMissing';
        if (!missing || round === MAX_GENERATIONS) throw error;
      }
      session = await api.get(id, signal);
    }
  }

  /** What was received already is only read, so that the checksum at the end is that of the file. */
  private async sendMissing(session: HttpSession, sender: Sender): Promise<void> {
    const { lanes } = this.sending;
    const held = Array.from({ length: lanes }, () =>
      session.chunkSize <= MAX_HELD_CHUNK
        ? Buffer.allocUnsafeSlow(Math.min(session.chunkSize, this.file.size))
        : undefined,
    );
    await inLanes(lanes, extentsOf(session, this.file.size), async ({ chunk, ...extent }, lane) => {
      this.sending.signal.throwIfAborted();
      if (!isReceived(session, chunk)) await sender.send(chunk, () => this.file.body(extent, held[lane]));
      else if (!sender.knows(chunk))
        sender.know(chunk, { crc32: await this.file.crc32(extent), length: extent.length });
    });
  }
}

/** A file that is not the one of the session: that one is left as it is. */
class FileDiffers extends LongshoreError {
  constructor(path: string, hint: string) {
    const { code, message, op } = changed(path);
    super(code, message, { op, key: path, hint });
  }
}

function extentsOf({ chunkSize }: HttpSession, length: number): (Extent & { chunk: number })[] {
  return Array.from({ length: chunkCount(length, chunkSize) }, (_, chunk) => ({
    ...{ chunk, offset: chunk * chunkSize },
    length: chunkLength(chunk, { chunkSize, size: length }).most,
  }));
}

function isReceived({ received }: HttpSession, chunk: number): boolean {
  return received.ranges.some(([first, last]) => first <= chunk && chunk <= last);
}
