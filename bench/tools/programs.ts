/** Programs of the bench, bundled as Longshore itself is, so that no comparison is one of module loaders. */
import { join } from 'node:path';
import { buildPrograms } from '../../scripts/build.mjs';

/** Path of the built program. */
export async function buildProgram(name: string, folder: string): Promise<string> {
  const outdir = join(folder, name);
  await buildPrograms({ entries: { [name]: `bench/tools/${name}.ts` }, outdir });
  return join(outdir, `${name}.js`);
}
