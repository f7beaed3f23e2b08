/** What the API is built from; whoever starts it composes this. */
import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import type { FastifyBaseLogger, FastifyInstance } from 'fastify';
import type { ZodTypeProvider } from 'fastify-type-provider-zod';
import type { Pool } from '../infra/catalog/pool.js';
import type { Vault } from '../infra/catalog/vault.js';
import type { Config } from '../infra/config.js';
import type { ApiTelemetry } from '../infra/telemetry/api.js';
import type { Logger } from '../infra/telemetry/log.js';
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
  temporal: TemporalLink;
  telemetry: Pick<ApiTelemetry, 'request' | 'text'>;
  /** Throws while the S3 server does not answer. */
  checkStorage: () => Promise<void>;
  version: string;
}
