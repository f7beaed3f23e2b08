/** @aws-sdk/lib-storage's Upload with its defaults: parts of 5 MiB, four at once, over a file stream. */
import { runMeasured } from '../measure.js';
import { buildProgram } from './programs.js';
import { awsEnvironment, type Place, type Tool } from './tool.js';

export async function createLibStorage(place: Place): Promise<Tool> {
  const program = await buildProgram('lib-storage-child');
  const env = awsEnvironment(place);
  return {
    name: 'lib-storage',
    settings: 'Upload, defaults (5 MiB × 4), bundled',
    put: ({ bucket, key }) => runMeasured(process.execPath, [program, place.file, bucket, key], env),
  };
}
