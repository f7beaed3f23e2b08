/** The rules of a bucket that Longshore asks for: unfinished uploads end, and pages may send. Other rules stay as they are. */
import {
  GetBucketCorsCommand,
  GetBucketLifecycleConfigurationCommand,
  PutBucketCorsCommand,
  PutBucketLifecycleConfigurationCommand,
} from '@aws-sdk/client-s3';
import type {
  CORSRule,
  GetBucketLifecycleConfigurationOutput,
  LifecycleRule,
  PutBucketLifecycleConfigurationRequest,
} from '@aws-sdk/client-s3';
import { createCredentialSource } from './credentials.js';
import { calling, createSdkClient, hasCode } from './sdk-client.js';
import type { SdkContext } from './sdk-client.js';
import type { StoreConfig } from './store.js';

/** Names of our rules among those of others. */
export const ABORT_RULE = 'longshore-abort-incomplete';
export const CORS_RULE = 'longshore-browser-uploads';

export interface BucketRules {
  /**
   * Days after which a multipart upload anywhere in the bucket is aborted; undefined when none says so. Throws
   * NotSupported, NoSuchBucket, AccessDenied.
   */
  abortDays(bucket: string, signal: AbortSignal): Promise<number | undefined>;
  /** Throws NotSupported, or InvalidRequest, where the server does not take such a rule. */
  setAbortDays(bucket: string, days: number, signal: AbortSignal): Promise<void>;
  /** Those of `origins` whose pages may not send to the bucket and read the ETag. Throws as `abortDays`. */
  refusedOrigins(bucket: string, origins: readonly string[], signal: AbortSignal): Promise<string[]>;
  setOrigins(bucket: string, origins: readonly string[], signal: AbortSignal): Promise<void>;
  close(): void;
}

export function createBucketRules(config: StoreConfig): BucketRules {
  const credentials = createCredentialSource(config);
  // What is asked of a bucket itself goes to its own region.
  const client = createSdkClient({ ...config, accelerate: false }, credentials);
  const context: SdkContext = {
    client,
    run: (site, signal, call) => calling(site, signal, credentials, call),
  };
  return { ...lifecycleCalls(context), ...corsCalls(context), close: () => client.destroy() };
}

type Lifecycle = Pick<GetBucketLifecycleConfigurationOutput, 'Rules' | 'TransitionDefaultMinimumObjectSize'>;
type LifecycleCalls = Pick<BucketRules, 'abortDays' | 'setAbortDays'>;

function lifecycleCalls({ client, run }: SdkContext): LifecycleCalls {
  const read = async (bucket: string, signal: AbortSignal): Promise<Lifecycle> => {
    const command = new GetBucketLifecycleConfigurationCommand({ Bucket: bucket });
    const site = { op: 'GetBucketLifecycleConfiguration', bucket };
    return (await orNone(run(site, signal, () => client.send(command, { abortSignal: signal })))) ?? {};
  };
  return {
    async abortDays(bucket, signal) {
      const { Rules = [] } = await read(bucket, signal);
      const days = Rules.filter(isForAll).map(daysOf);
      const least = Math.min(...days.filter((each) => each !== undefined));
      return Number.isFinite(least) ? least : undefined;
    },
    async setAbortDays(bucket, days, signal) {
      const { Rules = [], TransitionDefaultMinimumObjectSize: least } = await read(bucket, signal);
      const others = Rules.filter(({ ID }) => ID !== ABORT_RULE);
      const ours: LifecycleRule = {
        ID: ABORT_RULE,
        Status: 'Enabled',
        Filter: { Prefix: '' },
        AbortIncompleteMultipartUpload: { DaysAfterInitiation: days },
      };
      const request: PutBucketLifecycleConfigurationRequest = {
        Bucket: bucket,
        LifecycleConfiguration: { Rules: [...others, ours] },
      };
      // A request without it sets it back, for the rules of others too.
      if (least !== undefined) request.TransitionDefaultMinimumObjectSize = least;
      const command = new PutBucketLifecycleConfigurationCommand(request);
      const site = { op: 'PutBucketLifecycleConfiguration', bucket };
      await run(site, signal, () => client.send(command, { abortSignal: signal }));
    },
  };
}

/** In force, and for every key. */
function isForAll({ Status, Filter, Prefix }: LifecycleRule & { Prefix?: string | undefined }): boolean {
  if (Status !== 'Enabled') return false;
  const { Prefix: prefix, ...narrower } = Filter ?? {};
  const names = Object.values(narrower).filter((value) => value !== undefined);
  return names.length === 0 && (prefix ?? '') === '' && (Prefix ?? '') === '';
}

function daysOf({ AbortIncompleteMultipartUpload }: LifecycleRule): number | undefined {
  return AbortIncompleteMultipartUpload?.DaysAfterInitiation;
}

type CorsCalls = Pick<BucketRules, 'refusedOrigins' | 'setOrigins'>;

/** Parts and whole objects are put, small files of forms are posted. */
const METHODS = ['PUT', 'POST'];
const EXPOSED = ['ETag', 'Location', 'x-amz-checksum-crc32', 'x-amz-version-id'];
const PREFLIGHT_S = 3000;

function corsCalls({ client, run }: SdkContext): CorsCalls {
  const read = async (bucket: string, signal: AbortSignal): Promise<CORSRule[]> => {
    const command = new GetBucketCorsCommand({ Bucket: bucket });
    const site = { op: 'GetBucketCors', bucket };
    const answer = await orNone(run(site, signal, () => client.send(command, { abortSignal: signal })));
    return answer?.CORSRules ?? [];
  };
  return {
    async refusedOrigins(bucket, origins, signal) {
      const rules = await read(bucket, signal);
      return origins.filter(
        (origin) => !METHODS.every((method) => rules.some((rule) => lets(rule, origin, method))),
      );
    },
    async setOrigins(bucket, origins, signal) {
      const others = (await read(bucket, signal)).filter(({ ID }) => ID !== CORS_RULE);
      const ours: CORSRule = {
        ID: CORS_RULE,
        AllowedOrigins: [...origins],
        AllowedMethods: [...METHODS, 'GET', 'HEAD'],
        AllowedHeaders: ['*'],
        ExposeHeaders: EXPOSED,
        MaxAgeSeconds: PREFLIGHT_S,
      };
      // The first rule that fits a request decides, so ours goes before those of others.
      const command = new PutBucketCorsCommand({
        Bucket: bucket,
        CORSConfiguration: { CORSRules: [ours, ...others] },
      });
      await run({ op: 'PutBucketCors', bucket }, signal, () => client.send(command, { abortSignal: signal }));
    },
  };
}

function lets(rule: CORSRule, origin: string, method: string): boolean {
  const { AllowedOrigins = [], AllowedMethods = [], AllowedHeaders = [], ExposeHeaders = [] } = rule;
  const exposed = ExposeHeaders.map((name) => name.toLowerCase());
  return (
    AllowedOrigins.some((pattern) => fits(pattern, origin)) &&
    AllowedMethods.includes(method) &&
    AllowedHeaders.includes('*') &&
    (exposed.includes('etag') || exposed.includes('*'))
  );
}

/** A pattern has at most one `*`. */
function fits(pattern: string, origin: string): boolean {
  const [head = '', tail] = pattern.split('*', 2);
  if (tail === undefined) return pattern === origin;
  return origin.length >= head.length + tail.length && origin.startsWith(head) && origin.endsWith(tail);
}

/** No configuration is a 404 with a code of its own; a bucket that is not there has another. */
async function orNone<T>(answer: Promise<T>): Promise<T | undefined> {
  try {
    return await answer;
  } catch (error) {
    if (hasCode(error, 'SourceNotFound')) return undefined;
    throw error;
  }
}
