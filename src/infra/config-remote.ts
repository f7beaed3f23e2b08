/** The API that commands speak to where they send bytes themselves. */
import type { DevState } from './config-dev.js';
import type { Settings } from './config-settings.js';
import * as v from './config-values.js';

export interface RemoteConfig {
  /** Base address of the API, without a slash at its end. */
  readonly url: string;
  /** An API key. */
  readonly key: string | undefined;
  /** How long nothing may answer until a transfer that is under way fails, ms. */
  readonly patienceMs: number;
  /** Somebody named the address; false: it is that of the stack in the data folder. */
  readonly asked: boolean;
}

const DAY_MS = 24 * 3600 * 1000;
const DEFAULT_PATIENCE_MS = 5 * 60_000;

/** undefined when no API is known. */
export function readRemote(settings: Settings, dev: DevState | undefined): RemoteConfig | undefined {
  const asked = settings.read({ flag: 'apiUrl', env: ['LONGSHORE_API_URL'], schema: v.httpBase() });
  const key = settings.read({
    env: ['LONGSHORE_API_KEY'],
    schema: v.matching(/^[\x21-\x7e]+$/, 'an API key, as `longshore keys add` prints it'),
    secret: true,
  });
  const patienceMs =
    settings.read({ env: ['LONGSHORE_API_PATIENCE'], schema: v.time(0, DAY_MS) }) ?? DEFAULT_PATIENCE_MS;
  if (asked !== undefined) return { url: asked, key, patienceMs, asked: true };
  const url = dev?.status === 'running' ? dev.api?.url : undefined;
  // A key of another API must not reach this one.
  return url === undefined ? undefined : { url, key: undefined, patienceMs, asked: false };
}
