/** Keys wrapped by AWS KMS: the wrapping key never leaves it, and CloudTrail sees every use. */
import { DecryptCommand, EncryptCommand, KMSClient } from '@aws-sdk/client-kms';
import { LongshoreError } from '../../core/errors.js';
import { createCredentialSource } from '../s3/credentials.js';
import { withoutRequest } from '../s3/s3-errors.js';
import { NotOpened, type KeyWrapping, type WrapContext } from './wrapping.js';

export interface KmsConfig {
  /** Id, ARN or alias of a symmetric key. */
  readonly keyId: string;
  readonly region: string;
  /** undefined: AWS itself. */
  readonly endpoint?: string | undefined;
  /** Static keys; otherwise the standard AWS chain. */
  readonly accessKeyId?: string | undefined;
  readonly secretAccessKey?: string | undefined;
  readonly sessionToken?: string | undefined;
  readonly profile?: string | undefined;
}

const CONNECT_TIMEOUT_MS = 5_000;
const REQUEST_TIMEOUT_MS = 10_000;

export interface KmsWrapping extends KeyWrapping {
  close(): void;
}

export function createKmsWrapping(config: KmsConfig): KmsWrapping {
  const client = new KMSClient({
    region: config.region,
    ...(config.endpoint === undefined ? {} : { endpoint: config.endpoint }),
    credentials: createCredentialSource(config),
    maxAttempts: 3,
    requestHandler: {
      connectionTimeout: CONNECT_TIMEOUT_MS,
      requestTimeout: REQUEST_TIMEOUT_MS,
      throwOnRequestTimeout: true,
    },
  });
  const { keyId: KeyId } = config;
  return {
    async wrap(key, context) {
      const command = new EncryptCommand({ KeyId, Plaintext: key, EncryptionContext: bound(context) });
      const answer = await client.send(command).catch((error: unknown) => {
        throw kmsError('wrap', error);
      });
      if (answer.CiphertextBlob === undefined) throw silent('wrap');
      // The key behind an alias may change; what opens is the key that wrapped.
      return { bytes: Buffer.from(answer.CiphertextBlob), under: `kms:${answer.KeyId ?? KeyId}` };
    },
    async unwrap({ bytes, under }, context) {
      if (!under.startsWith('kms:')) throw new NotOpened('it was not sealed by KMS');
      const command = new DecryptCommand({
        KeyId: under.slice('kms:'.length),
        CiphertextBlob: bytes,
        EncryptionContext: bound(context),
      });
      const answer = await client.send(command).catch((error: unknown) => {
        throw isFinal(error)
          ? new NotOpened(`KMS refused (${nameOf(error)})`, { cause: withoutRequest(error) })
          : kmsError('unwrap', error);
      });
      if (answer.Plaintext === undefined) throw silent('unwrap');
      return Buffer.from(answer.Plaintext);
    },
    close: () => client.destroy(),
  };
}

function bound({ ref, upload }: WrapContext): Record<string, string> {
  return { 'longshore:ref': ref, 'longshore:upload': upload };
}

/** No repetition of Decrypt mends these. */
const FINAL = new Set(['InvalidCiphertextException', 'IncorrectKeyException', 'KMSInvalidStateException']);
/** What a person has to mend, in the key or in the rights to it. */
const REFUSED =
  /^(?:AccessDenied|NotFound|Disabled|InvalidKeyUsage|Validation|UnrecognizedClient|InvalidSignature|IncompleteSignature|InvalidArn)/;

function isFinal(error: unknown): boolean {
  return FINAL.has(nameOf(error));
}

function nameOf(error: unknown): string {
  return error instanceof Error ? error.name : String(error);
}

function kmsError(op: string, error: unknown): LongshoreError {
  // The key is in the body of the request.
  const cause = withoutRequest(error);
  const name = nameOf(error);
  const message = error instanceof Error ? error.message : String(error);
  if (REFUSED.test(name) || name === 'CredentialsProviderError') {
    return new LongshoreError('InvalidConfig', `AWS KMS: ${name}: ${message}`, {
      op,
      cause,
      hint: 'Correct LONGSHORE_KMS_KEY_ID, see that the key is enabled, and let the credentials use kms:Encrypt and kms:Decrypt.',
    });
  }
  return new LongshoreError('KeyServiceUnavailable', `AWS KMS: ${name}: ${message}`, { op, cause });
}

function silent(op: string): LongshoreError {
  return new LongshoreError('KeyServiceUnavailable', 'AWS KMS: the answer holds no key', { op });
}
