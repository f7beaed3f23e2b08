/** The tools of the embedded stack that npm does not bring: which version, how it shows itself, where it is had. */
import { LongshoreError } from '../core/errors.js';

export type ToolName = 'temporal' | 'versitygw' | 'minio' | 'temporal-test-server' | 'kafka' | 'elasticmq';

/** A way to get a tool when it is nowhere on this machine. */
export type Recipe =
  | { via: 'download'; urls: readonly string[]; archive: boolean }
  | { via: 'go'; module: string; version: string }
  | {
      via: 'maven';
      coordinates: readonly [group: string, artifact: string, version: string];
      /** undefined where it is the first argument of the program. */
      main: string | undefined;
    };

export interface Tool {
  name: ToolName;
  /** Names its folder in the cache; whatever way it was had, the version is this one or one that does the same. */
  version: string;
  /** The environment variable that holds a path to it. */
  variable: string;
  /** Whether PATH is looked through: the test server is no command that people install. */
  onPath: boolean;
  /** Arguments that make it name itself, and what it must say; undefined when it cannot. */
  proof: { args: readonly string[]; says: RegExp } | undefined;
  recipes: readonly Recipe[];
  /** What it is for, in a message. */
  purpose: string;
}

interface Machine {
  platform: NodeJS.Platform;
  arch: string;
}

const GO_ARCH: Readonly<Record<string, string>> = { x64: 'amd64', arm64: 'arm64' };

/** v1.6 and later refuse `go install` (a replace directive in their module). */
const TEMPORAL = '1.5.1';
const VERSITYGW = '1.8.0';
/** The upstream is archived: its last commit as a Go module, and its last released binary. */
const MINIO_MODULE = 'v0.0.0-20260212201848-7aac2a2c5b7c';
const MINIO_RELEASE = 'RELEASE.2025-09-07T16-13-09Z';
const TEST_SERVER = '1.32.0';
const KAFKA = '4.1.0';
const ELASTICMQ = '1.6.12';

function downloads(machine: Machine, archive: boolean, urls: (arch: string) => string[]): Recipe[] {
  const arch = GO_ARCH[machine.arch];
  const known = machine.platform === 'linux' || machine.platform === 'darwin';
  return arch === undefined || !known ? [] : [{ via: 'download', urls: urls(arch), archive }];
}

function temporal(machine: Machine): Tool {
  return {
    name: 'temporal',
    version: `v${TEMPORAL}`,
    variable: 'LONGSHORE_TEMPORAL_BIN',
    onPath: true,
    // Other programs are called `temporal` too.
    proof: { args: ['--version'], says: /^temporal version \S+ \(Server/m },
    purpose: 'the Temporal server with its Web UI',
    recipes: [
      ...downloads(machine, true, (arch) => [
        `https://github.com/temporalio/cli/releases/download/v${TEMPORAL}/temporal_cli_${TEMPORAL}_${machine.platform}_${arch}.tar.gz`,
        `https://temporal.download/cli/archive/v${TEMPORAL}?platform=${machine.platform}&arch=${arch}`,
      ]),
      { via: 'go', module: 'github.com/temporalio/cli/cmd/temporal', version: `v${TEMPORAL}` },
    ],
  };
}

function versitygw(machine: Machine): Tool {
  const os = machine.platform === 'darwin' ? 'Darwin' : 'Linux';
  return {
    name: 'versitygw',
    version: `v${VERSITYGW}`,
    variable: 'LONGSHORE_VERSITYGW_BIN',
    onPath: true,
    proof: { args: ['--version'], says: /^Version\s*:/m },
    purpose: 'the S3 server',
    recipes: [
      ...downloads(machine, true, (arch) => [
        `https://github.com/versity/versitygw/releases/download/v${VERSITYGW}/versitygw_v${VERSITYGW}_${os}_${arch === 'amd64' ? 'x86_64' : arch}.tar.gz`,
      ]),
      { via: 'go', module: 'github.com/versity/versitygw/cmd/versitygw', version: `v${VERSITYGW}` },
    ],
  };
}

function minio(machine: Machine): Tool {
  return {
    name: 'minio',
    version: MINIO_MODULE,
    variable: 'LONGSHORE_MINIO_BIN',
    onPath: true,
    proof: { args: ['--version'], says: /^minio version /m },
    purpose: 'a second S3 server, for tests',
    recipes: [
      ...downloads(machine, false, (arch) => [
        `https://dl.min.io/server/minio/release/${machine.platform}-${arch}/archive/minio.${MINIO_RELEASE}`,
      ]),
      { via: 'go', module: 'github.com/minio/minio', version: MINIO_MODULE },
    ],
  };
}

function testServer(machine: Machine): Tool {
  const os = machine.platform === 'darwin' ? 'macOS' : 'linux';
  return {
    name: 'temporal-test-server',
    version: TEST_SERVER,
    variable: 'LONGSHORE_TEST_SERVER_BIN',
    onPath: false,
    proof: undefined,
    purpose: 'the Temporal test server that skips time, for tests',
    recipes: [
      ...downloads(machine, true, (arch) => [
        `https://github.com/temporalio/sdk-java/releases/download/v${TEST_SERVER}/temporal-test-server_${TEST_SERVER}_${os}_${arch}.tar.gz`,
      ]),
      {
        via: 'maven',
        coordinates: ['io.temporal', 'temporal-test-server', TEST_SERVER],
        main: 'io.temporal.testserver.TestServer',
      },
    ],
  };
}

function kafka(): Tool {
  return {
    name: 'kafka',
    version: KAFKA,
    variable: 'LONGSHORE_KAFKA_BIN',
    onPath: false,
    proof: undefined,
    purpose: 'a Kafka broker, for tests',
    // It has a program to format its folder, and one to serve it.
    recipes: [{ via: 'maven', coordinates: ['org.apache.kafka', 'kafka_2.13', KAFKA], main: undefined }],
  };
}

function elasticmq(): Tool {
  return {
    name: 'elasticmq',
    version: ELASTICMQ,
    variable: 'LONGSHORE_ELASTICMQ_BIN',
    onPath: false,
    proof: undefined,
    purpose: 'an SQS server, for tests',
    recipes: [
      {
        via: 'maven',
        coordinates: ['org.elasticmq', 'elasticmq-server_2.13', ELASTICMQ],
        main: 'org.elasticmq.server.Main',
      },
    ],
  };
}

const TOOLS: Readonly<Record<ToolName, (machine: Machine) => Tool>> = {
  temporal,
  versitygw,
  minio,
  'temporal-test-server': testServer,
  kafka,
  elasticmq,
};

export function toolFor(name: ToolName, machine: Machine = process): Tool {
  return TOOLS[name](machine);
}

function wayOut(recipe: Recipe): string {
  switch (recipe.via) {
    case 'download':
      return `let this machine reach ${[...new Set(recipe.urls.map((url) => new URL(url).host))].join(' or ')} (official download)`;
    case 'go':
      return `install Go (it then runs \`go install ${recipe.module}@${recipe.version}\` by itself)`;
    case 'maven':
      return 'install a Java runtime and Maven (it then fetches the jars by itself)';
  }
}

/** Names every way out, and what each way said when it was tried. */
export function toolMissing(tool: Tool, folder: string, tried: readonly string[]): LongshoreError {
  const ways = [
    `set ${tool.variable} to the path of one that is there`,
    ...(tool.onPath ? [`put \`${tool.name}\` on PATH`] : []),
    `put it at ${folder}/${tool.name}`,
    ...tool.recipes.map(wayOut),
  ];
  const lines = [
    `${tool.name} (${tool.purpose}) is not on this machine and could not be had.`,
    ...tried.map((line) => `  tried: ${line}`),
    'Any one of these helps:',
    ...ways.map((line) => `  - ${line}`),
  ];
  return new LongshoreError('ToolMissing', lines.join('\n'), { op: 'provision', key: tool.name });
}
