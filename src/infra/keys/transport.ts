/** Keys of customers travel over TLS, or not beyond this machine. */
import { LongshoreError } from '../../core/errors.js';

/** Throws InsecureTransport. */
export function mustBeTrusted(trusted: boolean, op: string): void {
  if (trusted) return;
  throw new LongshoreError(
    'InsecureTransport',
    'a customer’s key came, or was to go, over a connection that is neither TLS nor loopback',
    { op },
  );
}

/** Whether nobody else on the network can read along. `remoteAddress` as Node's sockets spell it. */
export function isTrustedSocket(socket: {
  encrypted?: boolean | undefined;
  remoteAddress?: string | undefined;
}): boolean {
  if (socket.encrypted === true) return true;
  const address = socket.remoteAddress ?? '';
  return address === '::1' || /^(?:::ffff:)?127(?:\.\d{1,3}){3}$/.test(address);
}
