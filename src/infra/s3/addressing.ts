/**
 * Where a bucket and a key are on the wire. Paths are built by hand, never by a URL parser: that would take `.` and `..`
 * for steps, merge slashes and leave characters as they are that the signature needs encoded.
 */
import { LongshoreError } from '../../core/errors.js';
import type { ObjectRef, StoreConfig } from './store.js';

export interface Address {
  /** `https://host:port`, what a connection pool is for. */
  origin: string;
  /** The Host header, port included unless it is the scheme's own. */
  host: string;
  /** Encoded, as it is sent and signed. */
  path: string;
}

export interface Addressing {
  of(ref: Pick<ObjectRef, 'bucket' | 'key'>): Address;
  /** The body needs no hash of its own: TLS guards it, or it never leaves this machine. */
  readonly trusted: boolean;
}

/** Strict RFC 3986: every byte of the UTF-8 form but unreserved ones, as SigV4 wants it. Throws InvalidInput for what has no UTF-8 form. */
export function encodeComponent(text: string): string {
  if (/\p{Surrogate}/u.test(text)) {
    throw new LongshoreError('InvalidInput', `${JSON.stringify(text)} is not well-formed Unicode`, {
      op: 'encode',
    });
  }
  const encoded = encodeURIComponent(text);
  return encoded.replace(/[!'()*]/g, (char) => `%${char.charCodeAt(0).toString(16).toUpperCase()}`);
}

/** Nothing of it needs encoding; true of most keys, and far cheaper to see than to do. */
const PLAIN = /^[A-Za-z0-9._~/-]*$/;

/** A key as a path: slashes stay, also leading and doubled ones. */
export function encodeKey(key: string): string {
  if (PLAIN.test(key)) return key;
  return key.split('/').map(encodeComponent).join('/');
}

const VIRTUAL_HOST_LABEL = /^[a-z0-9][a-z0-9-]{1,61}[a-z0-9]$/;

type Place = Pick<StoreConfig, 'endpoint' | 'region' | 'forcePathStyle' | 'accelerate' | 'dualStack'>;

export function createAddressing(config: Place): Addressing {
  const base = new URL(config.endpoint ?? awsEndpoint(config));
  const prefix = base.pathname.replace(/\/+$/, '');
  const accelerated = config.endpoint === undefined && config.accelerate === true;
  const pathStyle = !accelerated && (config.forcePathStyle ?? config.endpoint !== undefined);
  return {
    trusted: base.protocol === 'https:' || isLoopback(base.hostname),
    of({ bucket, key }) {
      // A certificate's wildcard covers one label, so a bucket with dots cannot be part of the host.
      if (!pathStyle && VIRTUAL_HOST_LABEL.test(bucket)) {
        const host = `${bucket}.${base.host}`;
        return { origin: `${base.protocol}//${host}`, host, path: `${prefix}/${encodeKey(key)}` };
      }
      if (accelerated) throw notAccelerated(bucket);
      return {
        origin: base.origin,
        host: base.host,
        path: `${prefix}/${encodeComponent(bucket)}/${encodeKey(key)}`,
      };
    },
  };
}

/** Transfer Acceleration has one name for all regions; dual-stack names answer over IPv6 too. */
function awsEndpoint({ region, accelerate, dualStack }: Place): string {
  const stack = dualStack === true ? '.dualstack' : '';
  const name = accelerate === true ? `s3-accelerate${stack}` : `s3${stack}.${region}`;
  return `https://${name}.amazonaws.com${region.startsWith('cn-') ? '.cn' : ''}`;
}

/** It knows buckets by host name alone. */
function notAccelerated(bucket: string): LongshoreError {
  return new LongshoreError('InvalidInput', `s3://${bucket} has no address in Transfer Acceleration`, {
    op: 'address',
    key: `s3://${bucket}`,
    hint: 'Turn LONGSHORE_S3_ACCELERATE off, or use a bucket whose name has no dots.',
  });
}

function isLoopback(hostname: string): boolean {
  return hostname === 'localhost' || hostname === '[::1]' || /^127(?:\.\d{1,3}){3}$/.test(hostname);
}
