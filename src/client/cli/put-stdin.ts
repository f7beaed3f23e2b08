/** `longshore put -`: what comes through a pipe, of unknown length. It cannot be read again, so what stops it cancels it. */
import type { Readable } from 'node:stream';
import { crc32 } from '@node-rs/crc32';
import { LongshoreError } from '../../core/errors.js';
import { DEFAULT_PART_SIZE, MAX_BUFFERED_PART, MAX_PARTS } from '../../core/limits.js';
import { adviseChunks } from '../../core/sessions.js';
import { inLanes, Sender } from '../http/sender.js';
import type { HttpSession } from '../http/sessions.js';
import { size } from './options.js';
import type { LocalSource, Sending } from './put-api.js';
import { Tally } from './session-screen.js';
import { StreamPieces } from './stream-pieces.js';

/** `name`: what the object's metadata says that it was called. */
export function stdinOf(input: Readable, name: string): LocalSource {
  return {
    ...{ name, label: 'standard input', resumable: false },
    send: (sending) => new StdinSending(sending, input).run(),
  };
}

interface Piece {
  chunk: number;
  bytes: Buffer;
  /** To be given back once it is sent. */
  buffer: Buffer;
}

class StdinSending {
  private readonly pieces: StreamPieces;
  /** As many as lanes, used again and again. */
  private readonly free: Buffer[] = [];

  constructor(
    private readonly sending: Sending,
    input: Readable,
  ) {
    this.pieces = new StreamPieces(input, sending.signal);
  }

  async run(): Promise<{ session: HttpSession; bytesSent: number }> {
    const { api, ask, announce, screen, signal } = this.sending;
    const chunkSize = this.chunkSize();
    // Read first: what ends within one chunk has a known length, and an input that is broken begins nothing.
    const first = await this.pieces.fill(Buffer.allocUnsafeSlow(chunkSize ?? DEFAULT_PART_SIZE));
    const whole = (await this.pieces.isAtEnd()) ? first.length : undefined;
    this.pieces.unread(first);
    const session = await api.begin({ ...ask, chunkSize, size: whole }, signal);
    announce(session, true);
    const total = whole === undefined ? null : 1;
    const start = { bytesDone: 0, bytesTotal: whole ?? null, partsDone: 0, partsTotal: total };
    const tally = new Tally(screen, session.id, start);
    const sender = new Sender({ api, id: session.id, signal, onSent: (figures) => tally.sent(figures) });
    try {
      const sent = await this.sendAll(session, sender);
      const call = { ...sent, crc32: sender.crc32(sent.chunks) };
      return { session: await api.complete(session.id, call, signal), bytesSent: tally.progress.bytesSent };
    } finally {
      tally.end();
    }
  }

  /** undefined: as the API recommends. */
  private chunkSize(): number | undefined {
    const { ask, options } = this.sending;
    const expected = size('--expected-size', options.expectedSize);
    if (expected === undefined) return ask.chunkSize;
    return adviseChunks(null, ask.chunkSize ?? DEFAULT_PART_SIZE, expected).recommendedChunkSize;
  }

  private async sendAll(
    { chunkSize }: HttpSession,
    sender: Sender,
  ): Promise<{ chunks: number; size: number }> {
    const sent = { chunks: 0, size: 0 };
    const lanes = Math.max(1, Math.min(this.sending.lanes, Math.floor(MAX_BUFFERED_PART / chunkSize)));
    await inLanes(lanes, this.cut(chunkSize, sent), async ({ chunk, bytes, buffer }) => {
      const body = { make: () => bytes, length: bytes.length, crc32: crc32(bytes) };
      await sender.send(chunk, () => Promise.resolve(body));
      this.free.push(buffer);
    });
    return sent;
  }

  private async *cut(chunkSize: number, sent: { chunks: number; size: number }): AsyncGenerator<Piece> {
    for (let full = true; full;) {
      const buffer = this.free.pop() ?? Buffer.allocUnsafeSlow(chunkSize);
      const bytes = await this.pieces.fill(buffer);
      full = bytes.length === chunkSize;
      // An input that ends where a chunk does has no empty one after it; an empty input has one.
      if (bytes.length === 0 && sent.chunks > 0) return;
      if (sent.chunks === MAX_PARTS) throw tooLarge(chunkSize);
      sent.size += bytes.length;
      yield { chunk: sent.chunks++, bytes, buffer };
    }
  }
}

function tooLarge(chunkSize: number): LongshoreError {
  const message = `standard input has more than ${MAX_PARTS} chunks of ${chunkSize} bytes`;
  return new LongshoreError('SourceTooLarge', message, {
    op: 'read',
    hint: 'Say by --expected-size how much will come at most, and send it again.',
  });
}
