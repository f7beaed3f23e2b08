/** Whose certificates are believed. */
import { rootCertificates } from 'node:tls';
import type { StoreConfig } from './store.js';

/** For TLS sockets: what Node believes by itself, and what configuration adds. Empty where it adds nothing. */
export function trustOf({ ca }: Pick<StoreConfig, 'ca'>): { ca?: string[] } {
  return ca === undefined ? {} : { ca: [...rootCertificates, ca] };
}
