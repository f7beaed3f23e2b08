/** What the catalog knows of jobs, asked with one connection that is opened when it is first needed. */
import { LongshoreError } from '../../core/errors.js';
import type { JobCounts } from '../../core/jobs.js';
import type { JobRow } from '../../infra/catalog/jobs.js';
import type { Pool } from '../../infra/catalog/pool.js';
import type { Config } from '../../infra/config.js';
import type { FailedFile } from './job-outcome.js';

export class JobCatalog {
  private opened: Promise<Pool> | undefined;
  private number: number | undefined;

  constructor(private readonly config: Config) {}

  get installation(): string {
    return this.config.installation;
  }

  /** Throws InvalidConfig when no PostgreSQL is configured. */
  async pool(): Promise<Pool> {
    return await (this.opened ??= this.open());
  }

  async row(id: string): Promise<JobRow | undefined> {
    const { getJob } = await import('../../infra/catalog/jobs.js');
    const row = await getJob(await this.pool(), id);
    this.number = row?.no;
    return row;
  }

  /** Throws NotFound. */
  async rowOf(id: string): Promise<JobRow> {
    const row = await this.row(id);
    if (row !== undefined) return row;
    throw new LongshoreError('NotFound', `there is no job ${id}`, { op: 'getJob', key: id });
  }

  /** As of now; undefined before a worker has taken the job up. */
  async counts(id: string): Promise<JobCounts | undefined> {
    const { jobCounts } = await import('../../infra/catalog/jobs.js');
    const number = this.number ?? (await this.row(id))?.no;
    if (number === undefined) return undefined;
    return (await jobCounts(await this.pool(), [number])).get(number);
  }

  async failures(id: string, limit: number): Promise<readonly FailedFile[]> {
    const { listFiles } = await import('../../infra/catalog/files.js');
    const number = this.number ?? (await this.rowOf(id)).no;
    const { rows } = await listFiles(await this.pool(), number, { state: 'FAILED', limit });
    return rows;
  }

  async close(): Promise<void> {
    if (this.opened === undefined) return;
    const pool = await this.opened.catch(() => undefined);
    await pool?.end();
  }

  private async open(): Promise<Pool> {
    const { postgresUrl } = this.config;
    if (postgresUrl === undefined) {
      throw new LongshoreError(
        'InvalidConfig',
        'no PostgreSQL is configured, and the files of a job are there',
        {
          op: 'connect',
          hint: 'Set DATABASE_URL, or start `longshore dev` in this folder.',
        },
      );
    }
    const { createPool } = await import('../../infra/catalog/pool.js');
    return createPool(postgresUrl, { max: 2, applicationName: 'longshore-cli' });
  }
}

export async function withJobCatalog<T>(
  config: Config,
  work: (catalog: JobCatalog) => Promise<T>,
): Promise<T> {
  const catalog = new JobCatalog(config);
  try {
    return await work(catalog);
  } finally {
    await catalog.close();
  }
}
