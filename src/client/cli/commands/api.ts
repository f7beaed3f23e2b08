/** `longshore api`: answers HTTP until it is told to stop. */
import { runApi } from '../../../api/main.js';
import { LongshoreError } from '../../../core/errors.js';
import type { Config } from '../../../infra/config.js';
import type { Io } from '../io.js';
import type { Connections } from '../options.js';
import { configure } from '../session.js';

export interface ApiOptions extends Connections {
  host?: string;
  port?: string;
  roots?: string;
  logLevel?: string;
}

const STORAGE_MS = 3_000;

export async function run(io: Io, options: ApiOptions, version: string): Promise<number> {
  const { host: apiHost, port: apiPort, roots, logLevel } = options;
  const config = configure(io, options, { apiHost, apiPort, roots, logLevel });
  return await runApi(config, {
    version,
    checkStorage: () => checkStorage(config),
    ready: (url) => {
      if (io.json) io.outJson({ event: 'ready', url, docs: `${url}/docs` });
      else io.out(`The API answers on ${url}, and ${url}/docs describes it`);
    },
  });
}

/** Any answer will do: what the credentials may is the workers' business. */
async function checkStorage({ s3 }: Config): Promise<void> {
  const address = s3.endpoint ?? `https://s3.${s3.region}.amazonaws.com`;
  try {
    const signal = AbortSignal.timeout(STORAGE_MS);
    const answer = await fetch(address, { method: 'HEAD', redirect: 'manual', signal });
    await answer.body?.cancel();
  } catch (cause) {
    throw new LongshoreError('S3Unavailable', 'the S3 server does not answer', { op: 'ready', cause });
  }
}
