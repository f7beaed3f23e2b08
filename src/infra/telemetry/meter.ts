/**
 * What the layers tell about themselves: one hook each, and no hook knows what becomes of it. Nothing with a name that
 * people choose (buckets, keys, ids) is ever told, so that the number of series stays small whatever is uploaded.
 */

/** The type of the text that metrics are read as. */
export const METRICS_CONTENT_TYPE = 'text/plain; version=0.0.4; charset=utf-8';

/** `ok`, or the code of the error. */
export type Outcome = string;

export interface StoreMeter {
  /** One request to S3, each try for itself. `bytes`: of its body. */
  request(op: string, outcome: Outcome, seconds: number, bytes: number): void;
}

export interface ActivityMeter {
  /** `waited`: seconds from when the task could be taken until it was. `queue`: its name. */
  began(activity: string, queue: string, attempt: number, waited: number): void;
  ended(activity: string, outcome: Outcome, seconds: number): void;
  /** Objects that are in the bucket now, or failed for good, by the way they went. */
  moved(way: 'put' | 'multipart' | 'batch', uploaded: number, failed: number): void;
}

export interface HttpMeter {
  /** `route`: the pattern of the path, never the path itself. */
  request(method: string, route: string, status: number, seconds: number): void;
}

export interface EventMeter {
  sent(sink: string, count: number): void;
  /** An event was laid aside. */
  dead(sink: string): void;
  /** One try to send some events; `code`: of the error. */
  failed(sink: string, code: string): void;
}

/** Asked for when the metrics are read. */
export interface Gauges {
  /** Requests with bodies to S3: how many may be in flight at once, are, and wait. */
  store?: { readonly limit: number; readonly active: number; readonly waiting: number };
  /** Work that is not at its end, by state, as the catalog has it. Rejections leave the figures out. */
  active?: () => Promise<{ kind: 'job' | 'upload'; state: string; count: number }[]>;
  /** Events that wait for each sink, and since when, in seconds. */
  outbox?: () => Promise<{ sink: string; waiting: number; age: number }[]>;
}
