/** What a person, or a program, sees of what is under way: drawn, in lines, or as events. */
import type { UploadProgress } from '../../core/uploads.js';
import type { UploadView } from '../longshore-client.js';
import type { Io } from './io.js';
import { jsonError } from './failure.js';
import { bar, progressLine, Speed } from './progress-line.js';
import { cleanLines } from './text.js';

/** `what` comes often; figures that belong together come in one call. */
export interface Screen<What extends unknown[]> {
  progress(...what: What): void;
  /** A line beside the progress. */
  say(line: string): void;
  end(): void;
}

/** How one kind of work is shown. Each call is one look: rates are measured from look to look. */
export interface Drawing<What extends unknown[]> {
  /** In at most `width` columns. */
  bar(width: number, ...what: What): string;
  line(...what: What): string;
  /** `facts` tell whether anything changed; `rates` alone are no news. */
  event(...what: What): { facts: object; rates: object };
}

interface ScreenOptions {
  quiet?: boolean | undefined;
}

export type UploadScreen = Screen<[UploadView, UploadProgress]>;

export function createScreen(io: Io, options: ScreenOptions): UploadScreen {
  return screenOf(io, options, new UploadDrawing());
}

export function screenOf<What extends unknown[]>(
  io: Io,
  { quiet = false }: ScreenOptions,
  drawing: Drawing<What>,
): Screen<What> {
  if (io.json) return new JsonScreen(io, quiet, drawing);
  if (quiet) return new QuietScreen(io);
  return io.interactive ? new BarScreen(io, drawing) : new PlainScreen(io, drawing);
}

class UploadDrawing implements Drawing<[UploadView, UploadProgress]> {
  private readonly speed = new Speed();

  bar(width: number, { state }: UploadView, progress: UploadProgress): string {
    return bar(state, progress, this.speed.next(progress.bytesDone), width);
  }

  line({ state }: UploadView, progress: UploadProgress): string {
    return progressLine(state, progress, this.speed.next(progress.bytesDone));
  }

  event({ id, state, failure, unclaimed }: UploadView, progress: UploadProgress) {
    const { bytesDone, bytesTotal, bytesSent, partsDone, partsTotal } = progress;
    const rate = this.speed.next(bytesDone);
    const bytesPerSecond = rate === undefined ? null : Math.round(rate);
    const figures = { id, state, bytesDone, bytesTotal, bytesSent, partsDone, partsTotal };
    const error = failure === undefined ? null : jsonError(failure);
    return { facts: { ...figures, unclaimed: unclaimed ?? null, error }, rates: { bytesPerSecond } };
  }
}

/** One line that is drawn again and again. */
class BarScreen<What extends unknown[]> implements Screen<What> {
  private drawn = '';

  constructor(
    private readonly io: Io,
    private readonly drawing: Drawing<What>,
  ) {}

  progress(...what: What): void {
    this.drawn = this.drawing.bar(this.io.columns - 1, ...what);
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
class PlainScreen<What extends unknown[]> implements Screen<What> {
  private last = performance.now();
  private shown = '';

  constructor(
    private readonly io: Io,
    private readonly drawing: Drawing<What>,
  ) {}

  progress(...what: What): void {
    // Each look counts for the rate, whether it is printed or not.
    const line = this.drawing.line(...what);
    if (performance.now() - this.last < LINE_EVERY_MS) return;
    this.last = performance.now();
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

class QuietScreen<What extends unknown[]> implements Screen<What> {
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
class JsonScreen<What extends unknown[]> implements Screen<What> {
  private shown = '';

  constructor(
    private readonly io: Io,
    private readonly quiet: boolean,
    private readonly drawing: Drawing<What>,
  ) {}

  progress(...what: What): void {
    if (this.quiet) return;
    const { facts, rates } = this.drawing.event(...what);
    const changed = JSON.stringify(facts);
    if (changed === this.shown) return;
    this.shown = changed;
    this.io.outJson({ type: 'progress', ...facts, ...rates });
  }

  say(line: string): void {
    for (const each of cleanLines(line)) this.io.err(each);
  }

  end(): void {
    this.shown = '';
  }
}
