/** s5cmd with its defaults: parts of 50 MiB, five at once. */
import { runMeasured } from '../measure.js';
import { findPeer, versionOf } from './peers.js';
import { awsEnvironment, type Place, type Tool } from './tool.js';

const PEER = { program: 's5cmd', packaged: 's5cmd', versionArgs: ['version'] };

export async function createS5cmd(place: Place, log: (line: string) => void): Promise<Tool> {
  const program = await findPeer(PEER, place.env, log);
  const env = awsEnvironment(place);
  return {
    name: 's5cmd',
    settings: `${await versionOf(program, PEER, place.env)}, the Go program itself, defaults (50 MiB × 5)`,
    put: ({ bucket, key }) =>
      runMeasured(
        program,
        ['--endpoint-url', place.s3.endpoint, 'cp', place.file, `s3://${bucket}/${key}`],
        env,
      ),
  };
}
