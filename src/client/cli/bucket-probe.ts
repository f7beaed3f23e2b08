/** What a browser would see: some servers answer pages by a setting of their own, which no rule of a bucket shows. */
import { randomUUID } from 'node:crypto';
import { createAddressing } from '../../infra/s3/addressing.js';
import type { StoreConfig } from '../../infra/s3/store.js';

/** Whether pages of every origin may put to the bucket and read the ETag of the answer. Throws the signal's reason. */
export async function corsSeen(
  config: StoreConfig,
  bucket: string,
  origins: readonly string[],
  signal: AbortSignal,
): Promise<boolean> {
  const endpoint = config.publicEndpoint ?? config.endpoint;
  const { origin: server, path } = createAddressing({ ...config, endpoint }).of({
    bucket,
    key: `longshore-probe-${randomUUID()}`,
  });
  for (const origin of origins) {
    if (!(await lets(`${server}${path}`, origin, signal))) return false;
  }
  return true;
}

async function lets(url: string, origin: string, signal: AbortSignal): Promise<boolean> {
  const asking = {
    origin,
    'access-control-request-method': 'PUT',
    'access-control-request-headers': 'content-type',
  };
  try {
    const preflight = await fetch(url, { method: 'OPTIONS', headers: asking, signal });
    if (!preflight.ok || !allows(preflight, origin)) return false;
    // Which headers may be read is said only by the answer itself, whatever its status.
    const answer = await fetch(url, { method: 'GET', headers: { origin }, signal });
    await answer.body?.cancel();
    const exposed = listOf(answer, 'access-control-expose-headers');
    return allows(answer, origin) && (exposed.includes('etag') || exposed.includes('*'));
  } catch (error) {
    signal.throwIfAborted();
    // No answer to a page is a refusal; that the server lives is known from the calls before.
    if (error instanceof TypeError) return false;
    throw error;
  }
}

function allows(answer: Response, origin: string): boolean {
  const allowed = answer.headers.get('access-control-allow-origin');
  return allowed === '*' || allowed === origin;
}

function listOf(answer: Response, name: string): string[] {
  return (answer.headers.get(name) ?? '').split(',').map((each) => each.trim().toLowerCase());
}
