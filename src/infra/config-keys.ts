/** What wraps customers' keys while they are kept. */
import type { Settings } from './config-settings.js';
import * as v from './config-values.js';
import type { KmsConfig } from './keys/kms-wrapping.js';

export interface KeysConfig {
  /** 32 bytes, base64. */
  readonly sealingKey: string | undefined;
  /** When set, AWS KMS wraps instead. */
  readonly kms: KmsConfig | undefined;
}

type Credentials = Pick<KmsConfig, 'accessKeyId' | 'secretAccessKey' | 'sessionToken' | 'profile'>;

const DEFAULT_REGION = 'us-east-1';

/** `credentials` are those of AWS, which may be others than the S3 server's. */
export function readKms(settings: Settings, credentials: Credentials): KmsConfig | undefined {
  const keyId = settings.read({ env: ['LONGSHORE_KMS_KEY_ID'], schema: v.text() });
  if (keyId === undefined) return undefined;
  const region = settings.read({
    env: ['LONGSHORE_KMS_REGION', 'AWS_REGION', 'AWS_DEFAULT_REGION'],
    schema: v.text(),
  });
  const endpoint = settings.read({
    env: ['LONGSHORE_KMS_ENDPOINT', 'AWS_ENDPOINT_URL_KMS'],
    schema: v.webAddress(),
  });
  return { keyId, region: region ?? regionOf(keyId) ?? DEFAULT_REGION, endpoint, ...credentials };
}

function regionOf(keyId: string): string | undefined {
  return /^arn:[^:]+:kms:([^:]+):/.exec(keyId)?.[1];
}
