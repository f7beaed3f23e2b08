/** What encrypts customers' keys while they are kept. */
import { decrypt, deriving, encrypt, NONCE_BYTES } from './aes-gcm.js';

/** What a wrapped key belongs to; it opens for nothing else. */
export interface WrapContext {
  ref: string;
  upload: string;
}

export interface Wrapped {
  bytes: Buffer;
  /** Names the key that wraps; not a secret. */
  under: string;
}

export interface KeyWrapping {
  /** Throws InvalidConfig, KeyServiceUnavailable. */
  wrap(key: Buffer, context: WrapContext): Promise<Wrapped>;
  /**
   * Throws SecretUnavailable when it does not open: altered, for another context, or under another key.
   * KeyServiceUnavailable is worth another try.
   */
  unwrap(wrapped: Wrapped, context: WrapContext): Promise<Buffer>;
}

/** Does not open, and never will. The stores of keys say of which. */
export class NotOpened extends Error {}

/** AES-256-GCM under LONGSHORE_SEALING_KEY. Without a key only what needs it fails. */
export function createLocalWrapping(sealingKey: string | undefined): KeyWrapping {
  let derived: { key: Buffer; name: string } | undefined;
  const keyed = (op: string) => {
    if (derived !== undefined) return derived;
    const derive = deriving(sealingKey, op);
    derived = { key: derive('customer-keys'), name: `local:${derive('key-id', 8).toString('hex')}` };
    return derived;
  };
  return {
    // async, so that a missing key rejects like everything else
    async wrap(key, context) {
      const { key: wrapping, name } = keyed('wrap');
      const { nonce, ciphertext } = encrypt(wrapping, key, bound(context));
      return await Promise.resolve({ bytes: Buffer.concat([nonce, ciphertext]), under: name });
    },
    async unwrap({ bytes, under }, context) {
      const { key: wrapping, name } = keyed('unwrap');
      if (under !== name) throw new NotOpened('it was sealed under another LONGSHORE_SEALING_KEY');
      const sealed = { nonce: bytes.subarray(0, NONCE_BYTES), ciphertext: bytes.subarray(NONCE_BYTES) };
      try {
        return await Promise.resolve(decrypt(wrapping, sealed, bound(context)));
      } catch (error) {
        throw new NotOpened('it was altered, or sealed for another upload', { cause: error });
      }
    },
  };
}

function bound({ ref, upload }: WrapContext): Buffer {
  return Buffer.from(JSON.stringify(['customer-key', ref, upload]), 'utf8');
}
