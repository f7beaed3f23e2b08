/** What the API is built from; whoever starts it composes this. */
import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import type { FastifyBaseLogger, FastifyInstance } from 'fastify';
import type { ZodTypeProvider } from 'fastify-type-provider-zod';
import type { Pool } from '../infra/catalog/pool.js';
import type { Vault } from '../infra/catalog/vault.js';
import type { Config } from '../infra/config.js';
import type { KeyStore } from '../infra/keys/index.js';
import type { Presigner } from '../infra/s3/presign.js';
import type { ObjectStore } from '../infra/s3/store.js';
import type { ApiTelemetry } from '../infra/telemetry/api.js';
import type { Logger } from '../infra/telemetry/log.js';
import type { SessionService } from './sessions/service.js';
import type { TemporalLink } from './temporal-link.js';

/** Where routes are added: their schemas give their types. */
export type Routes = FastifyInstance<
  Server,
  IncomingMessage,
  ServerResponse,
  FastifyBaseLogger,
  ZodTypeProvider
>;

export interface ApiDeps {
  config: Config;
  log: Logger;
  db: Pool;
  vault: Vault;
  /** Where chunks go. */
  store: ObjectStore;
  /** For bytes that do not pass through us. */
  presigner: Presigner;
  /** Customers' keys. */
  keys: KeyStore;
  sessions: SessionService;
  temporal: TemporalLink;
  telemetry: Pick<ApiTelemetry, 'request' | 'text'>;
  /** Throws while the S3 server does not answer. */
  checkStorage: () => Promise<void>;
  version: string;
}
