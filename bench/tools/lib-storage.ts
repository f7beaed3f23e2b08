/** @aws-sdk/lib-storage's Upload with its defaults, from its package as people have it: parts of 5 MiB, four at once, over a file stream. */
import { fileURLToPath } from 'node:url';
import { runMeasured } from '../measure.js';
import { awsEnvironment, type Place, type Tool } from './tool.js';

const PROGRAM = fileURLToPath(new URL('lib-storage-child.mjs', import.meta.url));

export function createLibStorage(place: Place): Tool {
  const env = awsEnvironment(place);
  return {
    name: 'lib-storage',
    settings: 'Upload, defaults (5 MiB × 4), from its package',
    put: ({ bucket, key }) => runMeasured(process.execPath, [PROGRAM, place.file, bucket, key], env),
  };
}
