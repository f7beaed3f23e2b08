/** Readiness over HTTP. */
import { request } from 'node:http';
import { request as requestTls } from 'node:https';

const TIMEOUT_MS = 2000;

/** Returns once `url` answers 200; throws otherwise. A certificate of our own making is accepted: it is loopback. */
export async function probeHttp(url: string): Promise<void> {
  const status = await new Promise<number | undefined>((resolve, reject) => {
    const options = { timeout: TIMEOUT_MS, agent: false, rejectUnauthorized: false };
    const call = (url.startsWith('https:') ? requestTls : request)(url, options, (answer) => {
      answer.resume();
      resolve(answer.statusCode);
    });
    call.once('timeout', () => call.destroy(new Error(`${url} did not answer within ${TIMEOUT_MS} ms`)));
    call.once('error', reject);
    call.end();
  });
  if (status !== 200) throw new Error(`${url} answered ${status}`);
}
