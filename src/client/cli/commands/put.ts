/** `longshore put`: starts an upload and watches it. */
import { EXIT, LongshoreError } from '../../../core/errors.js';
import { VERIFICATION_LEVELS, sourceLabel, type Source, type UploadOptions } from '../../../core/uploads.js';
import { validateUpload } from '../../../core/validate.js';
import type { Config, UploadAsked } from '../../../infra/config.js';
import {
  AlreadyCompleted,
  type LongshoreClient,
  type StartedUpload,
  type StartUpload,
} from '../../longshore-client.js';
import { parseDestination, parseSource } from '../../source-spec.js';
import { jsonError, printFailure, exitCodeOf } from '../failure.js';
import { Interrupts } from '../interrupts.js';
import type { Io } from '../io.js';
import { badUsage, count, encryption, pairs, size, type Connections } from '../options.js';
import { resultJson, resultLines } from '../outcome.js';
import { createScreen } from '../screen.js';
import type { Sealed, Secrets } from '../sealing.js';
import { configure, withClient } from '../session.js';
import { watchToEnd } from '../watching.js';

export interface PutOptions extends Connections {
  id?: string;
  partSize?: string;
  concurrency?: string;
  contentType?: string;
  cacheControl?: string;
  metadata?: string[];
  tag?: string[];
  storageClass?: string;
  ifNoneMatch?: boolean;
  checksum: boolean;
  sse?: boolean;
  sseKms?: string | boolean;
  sseCKeyFile?: string;
  sourceSseCKeyFile?: string;
  demand?: string;
  expectedSize?: string;
  sourceStore?: string;
  detach?: boolean;
  quiet?: boolean;
  api?: string;
  throughApi?: boolean;
}

export async function run(io: Io, options: PutOptions, source: string, destination: string): Promise<number> {
  const began = performance.now();
  const seconds = (): number => (performance.now() - began) / 1000;
  const config = configure(io, options, { apiUrl: options.api });
  if (isSentFromHere(config, options, source)) {
    const { putFromHere } = await import('../put-api.js');
    return await putFromHere(io, config, options, source, destination);
  }
  const asked = await requestOf(io, config, options, source, destination);
  const interrupts = new Interrupts();
  try {
    return await withClient(config, async (client) => {
      if (interrupts.signal.aborted) return beforeStart(io);
      const started = await start(config, client, asked);
      if (started instanceof AlreadyCompleted) return refused(io, started, seconds());
      const upload = { ...started, ...asked.upload.destination };
      announce(io, asked, started, options);
      if (options.detach === true) return detached(io, upload);
      const screen = createScreen(io, options);
      return await watchToEnd({ io, client, upload, screen, interrupts, seconds, mayCancel: true });
    });
  } finally {
    interrupts.release();
  }
}

/** Whether this command sends the bytes itself, to the API. Throws InvalidInput where it cannot and should. */
function isSentFromHere({ remote }: Config, options: PutOptions, source: string): boolean {
  const demanded = options.throughApi === true || options.api !== undefined;
  if (!/^[a-z][a-z0-9+.-]*:\/\//i.test(source)) return source === '-' || demanded || remote?.asked === true;
  if (demanded)
    throw badUsage('--api and --through-api send what lies on this machine; workers fetch addresses');
  return false;
}

interface Asked {
  upload: StartUpload;
  secrets: Secrets;
}

/** Everything that can be refused without a connection is refused here. */
async function requestOf(
  io: Io,
  config: Config,
  options: PutOptions,
  from: string,
  to: string,
): Promise<Asked> {
  const { roots } = config;
  const { source, secretUrl } = parseSource(from, { roots, cwd: io.cwd, store: options.sourceStore });
  const destination = parseDestination(to, source);
  const upload = { source, destination, options: uploadOptions(options, config.uploadAsked) };
  validateUpload({ id: options.id ?? 'to-be-made', ...upload });
  const keys = await keysOf(io, options, source);
  const secrets = secretUrl === undefined ? keys : { ...keys, url: secretUrl };
  return { upload: options.id === undefined ? upload : { id: options.id, ...upload }, secrets };
}

/** What reads key files is loaded by those who name one. */
async function keysOf(
  io: Io,
  { sseCKeyFile, sourceSseCKeyFile }: PutOptions,
  source: Source,
): Promise<Secrets> {
  if (sseCKeyFile === undefined && sourceSseCKeyFile === undefined) return {};
  if (sourceSseCKeyFile !== undefined && source.kind !== 'object')
    throw badUsage('--source-sse-c-key-file is for s3:// sources');
  const { readKeyFile } = await import('../key-file.js');
  const read = async (option: string, file: string | undefined) =>
    file === undefined ? undefined : await readKeyFile(io, option, file);
  return {
    key: await read('--sse-c-key-file', sseCKeyFile),
    sourceKey: await read('--source-sse-c-key-file', sourceSseCKeyFile),
  };
}

/** Only what was asked for is in it, by flags or by the `environment` of this command: defaults are the workers'. */
export function uploadOptions(given: PutOptions, environment: UploadAsked = {}): UploadOptions {
  const { contentType, cacheControl, storageClass } = given;
  const options = {
    partSize: size('--part-size', given.partSize),
    concurrency: given.concurrency === undefined ? undefined : count('--concurrency', given.concurrency),
    contentType,
    cacheControl,
    metadata: pairs('--metadata', given.metadata),
    tags: pairs('--tag', given.tag),
    storageClass,
    ifNoneMatch: given.ifNoneMatch === true ? ('*' as const) : undefined,
    checksum: given.checksum ? undefined : false,
    encryption: encryption(given),
    demand: demand(given.demand),
    expectedSize: size('--expected-size', given.expectedSize),
  };
  const flags = Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined));
  return { ...environment, ...flags };
}

function demand(text: string | undefined): UploadOptions['demand'] {
  const level = VERIFICATION_LEVELS.find((each) => each === text);
  if (text === undefined || level !== undefined) return level;
  throw badUsage(`--demand takes ${VERIFICATION_LEVELS.join(', ')}, not ${JSON.stringify(text)}`);
}

/** The refusal of an id that is taken is returned; it is an answer, with a result in it. */
async function start(
  config: Config,
  client: LongshoreClient,
  asked: Asked,
): Promise<StartedUpload | AlreadyCompleted> {
  const sealed = await sealSecrets(config, asked);
  let keep = false;
  try {
    const started = await client.startUpload(sealed?.upload ?? asked.upload);
    keep = started.fresh;
    return started;
  } catch (error) {
    // Without an answer it may have started, and would need what was sealed.
    keep = error instanceof LongshoreError && error.code === 'TemporalUnavailable';
    if (error instanceof AlreadyCompleted) return error;
    throw error;
  } finally {
    await sealed?.close({ keep });
  }
}

/** PostgreSQL's client is loaded by those who need it. A key is sealed for one upload, so that its id is made before. */
async function sealSecrets(config: Config, { upload, secrets }: Asked): Promise<Sealed | undefined> {
  if (Object.values(secrets).every((secret) => secret === undefined)) return undefined;
  const [{ seal }, { uuidv7 }] = await Promise.all([import('../sealing.js'), import('uuidv7')]);
  return await seal(config, { ...upload, id: upload.id ?? uuidv7() }, secrets);
}

function announce(io: Io, { upload }: Asked, started: StartedUpload, { quiet }: PutOptions): void {
  const { bucket, key } = upload.destination;
  const { id, workflowId, runId, fresh, webUi } = started;
  if (io.json) {
    io.outJson({ type: 'started', id, workflowId, runId, fresh, bucket, key, webUi: webUi ?? null });
    return;
  }
  if (quiet === true) return;
  io.err(`${sourceLabel(upload.source)} → s3://${bucket}/${key}`);
  io.err(fresh ? `Upload ${id}` : `Upload ${id} was running already; following it`);
  if (webUi !== undefined) io.err(`Web UI ${webUi}`);
}

function detached(io: Io, { id }: StartedUpload): number {
  if (io.json) return EXIT.ok;
  io.out(id);
  io.err(`Next: \`longshore watch ${id}\` or \`longshore status ${id}\``);
  return EXIT.ok;
}

function beforeStart(io: Io): number {
  if (io.json)
    io.outJson({
      error: jsonError(
        new LongshoreError('Cancelled', 'stopped before anything was started', { op: 'start' }),
      ),
    });
  else io.err('Stopped before anything was started.');
  return EXIT.cancelled;
}

/** The same id and the same input, long done: its result is the answer, but nothing was sent now. */
function refused(io: Io, error: AlreadyCompleted, seconds: number): number {
  const { result, upload } = error;
  const { id, workflowId, runId, webUi } = upload;
  const { bucket, key } = result;
  if (io.json) {
    const end = resultJson({ id, bucket, key, webUi }, result, seconds);
    io.outJson({ ...end, workflowId, runId, error: jsonError(error) });
  } else {
    printFailure(io, error);
    for (const line of resultLines(result)) io.out(line);
  }
  return exitCodeOf(error);
}
