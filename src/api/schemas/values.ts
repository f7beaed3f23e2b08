/** Values that several schemas share. What the document says of them is what is checked. */
import * as z from 'zod';
import { ID_PATTERN } from '../../core/ids.js';
import { MAX_GLOB_LENGTH } from '../../core/validate-jobs.js';
import { MAX_KEY_BYTES, MAX_METADATA_BYTES, MAX_TAGS } from '../../core/limits.js';

/** PostgreSQL's text holds no NUL, and half a character is no text at all. */
const WHOLE_TEXT = /^[^\x00]*$/;

/** `pattern` has to rule NUL out itself. */
export const text = (maxLength: number, pattern = WHOLE_TEXT) =>
  z
    .string()
    .max(maxLength)
    .regex(pattern)
    .refine((value) => !/\p{Surrogate}/u.test(value), 'holds half a character (a lone surrogate)');

export const Id = z.string().regex(ID_PATTERN).meta({ description: 'Chosen by the caller, or made' });
export const Bucket = z.string().regex(/^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$/);
export const Key = text(MAX_KEY_BYTES).min(1);
export const Time = z.iso.datetime();
export const Bytes = z.int().min(0);
export const Glob = text(MAX_GLOB_LENGTH).min(1);

/** What goes into a header of S3: visible ASCII. */
export const HeaderText = z
  .string()
  .min(1)
  .max(1024)
  .regex(/^[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?$/);

export const Metadata = z
  .record(
    z.string().regex(/^(?!longshore-)[a-z0-9][a-z0-9._-]{0,63}$/),
    z
      .string()
      .max(512)
      .regex(/^[\x20-\x7e]*$/),
  )
  .meta({ description: `User metadata; at most ${MAX_METADATA_BYTES} bytes, names and values together` });

export const Tags = z
  .record(
    z.string().regex(/^[A-Za-z0-9 +=._:/@-]{1,128}$/),
    z.string().regex(/^[A-Za-z0-9 +=._:/@-]{0,256}$/),
  )
  .refine((tags) => Object.keys(tags).length <= MAX_TAGS, `holds more than ${MAX_TAGS} tags`)
  .meta({ maxProperties: MAX_TAGS });

export const Encryption = z.discriminatedUnion('type', [
  z.strictObject({ type: z.literal('SSE_S3') }),
  z.strictObject({ type: z.literal('SSE_KMS'), kms_key_id: HeaderText.optional() }),
]);

/** How each object is written. */
export const objectFields = {
  content_type: HeaderText.optional(),
  cache_control: HeaderText.optional(),
  metadata: Metadata.optional(),
  tags: Tags.optional(),
  storage_class: z
    .string()
    .regex(/^[A-Z_]{1,64}$/)
    .optional(),
  checksum: z.boolean().optional().meta({ description: 'CRC32 with each request; default true' }),
  encryption: Encryption.optional(),
};
export type ObjectBody = z.infer<z.ZodObject<typeof objectFields>>;

export const Failure = z.object({
  code: z.string(),
  message: z.string(),
  hint: z.string(),
});

export const MAX_PAGE = 1000;
const DEFAULT_PAGE = 100;

/** A whole number in a query string, written with digits alone. */
const number = (min: number, max: number) =>
  z.string().transform((given, context) => {
    const value = /^(0|[1-9]\d{0,15})$/.test(given) ? Number(given) : NaN;
    if (value >= min && value <= max) return value;
    context.addIssue({ code: 'custom', message: `must be a whole number from ${min} to ${max}` });
    return z.NEVER;
  });

export const PageQuery = {
  limit: number(1, MAX_PAGE)
    .default(DEFAULT_PAGE)
    .meta({ type: 'integer', minimum: 1, maximum: MAX_PAGE, default: DEFAULT_PAGE }),
  cursor: z
    .string()
    .regex(/^[A-Za-z0-9_-]{1,24576}$/)
    .optional()
    .meta({ description: '`next_cursor` of the page before' }),
};

export const Flag = z
  .string()
  .transform((given, context) => {
    if (given === 'true' || given === 'false') return given === 'true';
    context.addIssue({ code: 'custom', message: 'must be true or false' });
    return z.NEVER;
  })
  .meta({ type: 'boolean' });

export const IdempotencyHeaders = z.object({
  'idempotency-key': z
    .string()
    .regex(/^[\x21-\x7e]{1,255}$/)
    .optional()
    .meta({ description: 'The same key with the same request gets the same answer, for 24 hours' }),
});
