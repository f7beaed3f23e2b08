/** An API beside a rig, and the database of both. */
import { randomUUID } from 'node:crypto';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { createPool, type Pool } from '../../src/infra/catalog/pool.js';
import { startTestApi, type TestApi } from './api.js';
import { startRig, type Rig } from './rig.js';

export interface ApiBench {
  rig: Rig;
  api: TestApi;
  db: Pool;
  /** A folder under the root, with these files. */
  folderOf(files: Record<string, string>): Promise<string>;
  close(): Promise<void>;
}

export async function startApiBench(): Promise<ApiBench> {
  const rig = await startRig();
  const api = await startTestApi(rig.surroundings);
  const db = createPool(rig.config.postgresUrl ?? '', { max: 2 });
  return {
    ...{ rig, api, db },
    async folderOf(files) {
      const folder = join(rig.folder, `folder-${randomUUID()}`);
      await mkdir(folder);
      for (const [name, content] of Object.entries(files)) await writeFile(join(folder, name), content);
      return folder;
    },
    async close() {
      await api.close();
      await db.end();
      await rig.close();
    },
  };
}
