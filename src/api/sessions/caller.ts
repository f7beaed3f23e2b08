/** Who asks, and whether somebody may have listened. */
import type { FastifyRequest } from 'fastify';
import { isTrustedSocket } from '../../infra/keys/transport.js';
import type { Caller } from './service.js';

/** Proxies that are trusted say how they were reached; of any other it is not known. */
export function callerOf(request: FastifyRequest): Caller {
  return { apiKey: request.apiKey, trusted: isTrusted(request) };
}

function isTrusted({ protocol, ip, headers, raw }: FastifyRequest): boolean {
  if (protocol === 'https') return true;
  const forwarded = ['forwarded', 'x-forwarded-for', 'x-forwarded-proto', 'via'].some(
    (name) => headers[name] !== undefined,
  );
  if (!forwarded) return isTrustedSocket(raw.socket);
  return ip !== raw.socket.remoteAddress && isTrustedSocket({ remoteAddress: ip });
}
