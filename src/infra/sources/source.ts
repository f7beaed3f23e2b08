/** Where bytes come from. Each kind of source has a file of its own here; all answer to one contract. */
import type { Readable } from 'node:stream';
import type { Source, UploadOptions } from '../../core/uploads.js';
import type { PinnedSource } from '../../core/upload-steps.js';
import type { CustomerKey } from '../keys/customer-key.js';

/** A pinned source that was opened; it reads no byte that differs from what was pinned without saying so. */
export interface OpenSource {
  /** Throws SourceChanged unless the source is still what was pinned. Cheap for files, one request for the rest. */
  check(signal: AbortSignal): Promise<void>;
  /** Fills `target` with the bytes from `offset`. Throws SourceChanged when they end early. Random sources only. */
  read(offset: number, target: Buffer, signal: AbortSignal): Promise<void>;
  /** `length` bytes from `offset`, or to the end. May be called again for the same range. */
  stream(offset: number, length: number | undefined, signal: AbortSignal): Promise<Readable>;
  close(): Promise<void>;
}

/** A look at a source: what pins it, and what can be said of its content. */
export interface SourceLook {
  pinned: PinnedSource;
  contentType: string | undefined;
  /** Whether ranges can be read; otherwise only from the start. */
  access: 'random' | 'sequential';
  /** Asks what else it carries; only of objects. */
  attributes?(signal: AbortSignal): Promise<CarriedAttributes>;
}

/** What an object carries besides its bytes, as its copy may carry it too. */
export type CarriedAttributes = Pick<UploadOptions, 'cacheControl' | 'metadata' | 'tags'>;

export interface SourceKind<S extends Source = Source> {
  /** Throws SourceNotFound, SourceDenied, SourceOutsideRoot, SourceNotAllowed, SourceTooLarge or RootUnavailable. */
  inspect(source: S, signal: AbortSignal, customerKey?: CustomerKey): Promise<SourceLook>;
  open(
    pinned: PinnedSource & { kind: S['kind'] },
    signal: AbortSignal,
    customerKey?: CustomerKey,
  ): Promise<OpenSource>;
}

/** All kinds behind one door. `customerKey`: what an object is encrypted with. */
export interface Sources {
  inspect(source: Source, signal: AbortSignal, customerKey?: CustomerKey): Promise<SourceLook>;
  open(pinned: PinnedSource, signal: AbortSignal, customerKey?: CustomerKey): Promise<OpenSource>;
}
