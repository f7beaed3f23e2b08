/** `dev.json`: how commands find the embedded stack of their data folder. Written by `longshore dev`, read by the configuration. */
import * as z from 'zod';

export const DEV_STATE_FILE = 'dev.json';

export const DevStateSchema = z.object({
  /** `stopped`: the addresses are those of the last run, so that the next one can have them again. */
  status: z.enum(['running', 'stopped']),
  temporal: z.object({
    /** host:port. */
    address: z.string(),
    /** Base of the Web UI, without a slash at its end. */
    ui: z.string(),
  }),
  s3: z.object({
    endpoint: z.string(),
    region: z.string(),
    accessKeyId: z.string(),
    secretAccessKey: z.string(),
  }),
  /** With its password. */
  postgres: z.object({ url: z.string() }),
  api: z.object({ url: z.string() }).optional(),
  /** 32 bytes, base64; the same for the life of the data folder. */
  sealingKey: z.string(),
  /** UUID; the same for the life of the data folder. */
  installation: z.string(),
  /** By part: `dev`, `guard`, `temporal`, `s3`, `postgres`, `worker`, `api`. Empty when stopped. */
  pids: z.record(z.string(), z.number().int()),
});

export type DevState = z.infer<typeof DevStateSchema>;
