/** All kinds of sources behind one door. */
import { LongshoreError } from '../../core/errors.js';
import type { ClientSource, Source } from '../../core/uploads.js';
import type { PinnedSource } from '../../core/upload-steps.js';
import type { UrlConfig } from '../config.js';
import { createFileSource } from './file-source.js';
import { createObjectSource, type ObjectStores } from './object-source.js';
import type { Sources } from './source.js';
import { createUrlClient, type UrlSettings } from './url-http.js';
import { createUrlSource } from './url-source.js';

export interface SourcesDeps extends ObjectStores, UrlSettings {
  /** Folders by name. */
  roots: Readonly<Record<string, string>>;
  url: UrlConfig;
  /** The full address behind `UrlSource.sealed`; throws SecretUnavailable. */
  unseal(ref: string): Promise<string>;
}

export interface ClosableSources extends Sources {
  /** Ends every connection to URL sources, requests under way included. */
  close(): Promise<void>;
}

/** Throws InvalidConfig when an entry of `url.allow` is none. */
export function createSources(deps: SourcesDeps): ClosableSources {
  const client = createUrlClient(deps.url, deps);
  const file = createFileSource(deps.roots);
  const url = createUrlSource(client, (ref) => deps.unseal(ref));
  const object = createObjectSource(deps);
  return {
    inspect(source: Source, signal, customerKey) {
      switch (source.kind) {
        case 'file':
          return file.inspect(source, signal);
        case 'url':
          return url.inspect(source, signal);
        case 'object':
          return object.inspect(source, signal, customerKey);
        case 'client':
          return Promise.reject(brought(source));
        default:
          return Promise.reject(unknownKind(source));
      }
    },
    open(pinned: PinnedSource, signal, customerKey) {
      switch (pinned.kind) {
        case 'file':
          return file.open(pinned, signal);
        case 'url':
          return url.open(pinned, signal);
        case 'object':
          return object.open(pinned, signal, customerKey);
        case 'client':
          return Promise.reject(brought(pinned));
        default:
          return Promise.reject(unknownKind(pinned));
      }
    },
    close: () => client.close(),
  };
}

/** Its bytes come to us; nothing can be looked at or opened. */
function brought({ name }: ClientSource): LongshoreError {
  const message = `${name} is brought by a client, and cannot be read from here`;
  return new LongshoreError('SourceInvalid', message, { op: 'inspect' });
}

function unknownKind(source: never): LongshoreError {
  const kind = String((source as { kind?: unknown }).kind);
  return new LongshoreError('SourceInvalid', `no source of the kind ${kind} is known`, { op: 'inspect' });
}
