/** Programs of the bench, bundled as Longshore itself is, so that no comparison is one of module loaders. */
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { buildPrograms } from '../../scripts/build/programs.mjs';

/** Within the repository, where packages that are not bundled are found. */
const OUTDIR = fileURLToPath(new URL('../results/programs', import.meta.url));

/** Path of the built program. */
export async function buildProgram(name: string): Promise<string> {
  await buildPrograms({ entries: { [name]: `bench/tools/${name}.ts` }, outdir: OUTDIR });
  return join(OUTDIR, `${name}.js`);
}
