/** What a person, or a program, sees of an upload under way. */
import type { UploadProgress } from '../../core/uploads.js';
import type { UploadView } from '../longshore-client.js';
import type { Io } from './io.js';
import { jsonError } from './failure.js';
import { bar, progressLine, Speed } from './progress-line.js';
import { cleanLines } from './text.js';

export interface Screen {
  progress(view: UploadView, progress: UploadProgress): void;
  /** A line beside the progress. */
  say(line: string): void;
  end(): void;
}

export function createScreen(io: Io, { quiet = false }: { quiet?: boolean | undefined }): Screen {
  if (io.json) return new JsonScreen(io, quiet);
  if (quiet) return new QuietScreen(io);
  return io.interactive ? new BarScreen(io) : new PlainScreen(io);
}

/** One line that is drawn again and again. */
class BarScreen implements Screen {
  private readonly speed = new Speed();
  private drawn = '';

  constructor(private readonly io: Io) {}

  progress(view: UploadView, progress: UploadProgress): void {
    this.drawn = bar(view.state, progress, this.speed.next(progress.bytesDone), this.io.columns - 1);
    this.draw();
  }

  say(line: string): void {
    this.erase();
    for (const each of cleanLines(line)) this.io.err(each);
    this.draw();
  }

  end(): void {
    this.erase();
    this.drawn = '';
  }

  private draw(): void {
    if (this.drawn !== '') this.io.raw(`\r${this.drawn}\u001b[K`);
  }

  private erase(): void {
    if (this.drawn !== '') this.io.raw('\r\u001b[K');
  }
}

const LINE_EVERY_MS = 3_000;

/** A line every few seconds, for logs. */
class PlainScreen implements Screen {
  private readonly speed = new Speed();
  private last = performance.now();
  private shown = '';

  constructor(private readonly io: Io) {}

  progress(view: UploadView, progress: UploadProgress): void {
    const rate = this.speed.next(progress.bytesDone);
    if (performance.now() - this.last < LINE_EVERY_MS) return;
    this.last = performance.now();
    const line = progressLine(view.state, progress, rate);
    if (line === this.shown) return;
    this.shown = line;
    this.io.err(line);
  }

  say(line: string): void {
    for (const each of cleanLines(line)) this.io.err(each);
  }

  end(): void {
    this.shown = '';
  }
}

class QuietScreen implements Screen {
  constructor(private readonly io: Io) {}

  progress(): void {
    // Quiet means the result alone.
  }

  say(line: string): void {
    for (const each of cleanLines(line)) this.io.err(each);
  }

  end(): void {
    // Nothing is drawn.
  }
}

/** An event on stdout for each change. */
class JsonScreen implements Screen {
  private readonly speed = new Speed();
  private shown = '';

  constructor(
    private readonly io: Io,
    private readonly quiet: boolean,
  ) {}

  progress(view: UploadView, progress: UploadProgress): void {
    if (this.quiet) return;
    const { bytesDone, bytesTotal, bytesSent, partsDone, partsTotal } = progress;
    const { id, state, failure, unclaimed } = view;
    const rate = this.speed.next(bytesDone);
    const facts = { id, state, bytesDone, bytesTotal, bytesSent, partsDone, partsTotal };
    const error = failure === undefined ? null : jsonError(failure);
    const changed = JSON.stringify([facts, error, unclaimed]);
    if (changed === this.shown) return;
    this.shown = changed;
    const bytesPerSecond = rate === undefined ? null : Math.round(rate);
    this.io.outJson({ type: 'progress', ...facts, bytesPerSecond, unclaimed: unclaimed ?? null, error });
  }

  say(line: string): void {
    for (const each of cleanLines(line)) this.io.err(each);
  }

  end(): void {
    this.shown = '';
  }
}
