/** What takes part in the comparison. */
import type { Cost } from '../measure.js';

export interface Target {
  bucket: string;
  key: string;
}

/** What every tool is given: one file, one S3 server. */
export interface Place {
  file: string;
  /** Bytes. */
  size: number;
  /** For what a tool needs for itself; removed at the end. */
  folder: string;
  /** Settings for other servers left out. */
  env: NodeJS.ProcessEnv;
  s3: { endpoint: string; region: string; accessKeyId: string; secretAccessKey: string };
}

export interface Run extends Cost {
  /** Milliseconds by name, where the tool can tell. */
  phases?: Record<string, number>;
  historyEvents?: number;
  /** Of the worker alone, over its whole life so far. */
  workerPeakRssBytes?: number;
  /** 0 to 1: what of the whole was not spent with S3. */
  overhead?: number;
}

export interface Tool {
  name: string;
  /** How it was run, for the reader of the table. */
  settings: string;
  put(target: Target): Promise<Run>;
}

/** How people hand credentials to anything that speaks S3. */
export function awsEnvironment({ env, s3 }: Place): NodeJS.ProcessEnv {
  return {
    ...env,
    AWS_ENDPOINT_URL: s3.endpoint,
    AWS_REGION: s3.region,
    AWS_ACCESS_KEY_ID: s3.accessKeyId,
    AWS_SECRET_ACCESS_KEY: s3.secretAccessKey,
    AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED: 'true',
  };
}
