/** Presigned parts as requests ask for them and as answers show them. */
import * as z from 'zod';
import { MAX_PART_SIZE, MAX_PARTS } from '../../core/limits.js';
import * as v from './values.js';

/** As many as one answer may hold: ListParts of S3 pages at the same number. */
const MAX_SIGNED = 1000;
const DAY_S = 24 * 3600;

const Chunk = z
  .int()
  .min(0)
  .max(MAX_PARTS - 1)
  .meta({ description: 'From 0' });
const Crc32 = z
  .string()
  .regex(/^[A-Za-z0-9+/]{6}==$/)
  .meta({ description: 'CRC32 of the bytes, base64' });
const Md5 = z
  .string()
  .regex(/^[A-Za-z0-9+/]{22}==$/)
  .meta({ description: 'MD5 of the bytes, base64' });
const Etag = z.string().regex(/^"?[\x21\x23-\x7e]{1,256}"?$/);

export const SignParts = z
  .strictObject({
    parts: z
      .array(
        z.strictObject({
          chunk: Chunk,
          length: z
            .int()
            .min(0)
            .max(MAX_PART_SIZE)
            .optional()
            .meta({ description: 'Bytes; signed when given' }),
          crc32: Crc32.optional(),
          md5: Md5.optional(),
        }),
      )
      .min(1)
      .max(MAX_SIGNED),
    expires_in: z
      .int()
      .min(1)
      .max(DAY_S)
      .optional()
      .meta({ description: 'Seconds; at most 900, and never longer than the session' }),
  })
  .meta({ id: 'SignParts' });

export const SignedParts = z
  .object({
    upload_id: z.string(),
    parts: z.array(
      z.object({
        chunk: z.int(),
        part_number: z.int(),
        method: z.literal('PUT'),
        url: z.string().meta({ description: 'A secret while it lives: who has it may send this part' }),
        headers: z
          .record(z.string(), z.string())
          .meta({ description: 'To be sent as they are; browsers set Content-Length by themselves' }),
        secret_headers: z
          .array(z.string())
          .meta({ description: 'To be sent too, with values that only the client and S3 know' }),
        expires_at: v.Time,
      }),
    ),
  })
  .meta({ id: 'SignedParts' });

export const ReportParts = z
  .strictObject({
    parts: z
      .array(
        z.strictObject({
          chunk: Chunk,
          etag: Etag.meta({ description: 'As S3 answered it' }),
          size: z.int().min(0).max(MAX_PART_SIZE).optional(),
        }),
      )
      .min(1)
      .max(MAX_PARTS),
  })
  .meta({ id: 'ReportParts' });

export const PartsReported = z
  .object({ upload_id: z.string(), recorded: z.int() })
  .meta({ id: 'PartsReported' });
