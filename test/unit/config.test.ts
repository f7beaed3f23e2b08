import { mkdirSync, mkdtempSync, realpathSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { describeConfig, loadConfig } from '../../src/infra/config.js';
import type { ConfigFlags } from '../../src/infra/config.js';

const MiB = 2 ** 20;
const KEY = Buffer.alloc(32, 7).toString('base64');
const DEV_KEY = Buffer.alloc(32, 9).toString('base64');
const DEV = {
  status: 'running',
  temporal: { address: '127.0.0.1:17233', ui: 'http://127.0.0.1:18233' },
  s3: {
    endpoint: 'http://127.0.0.1:17070',
    region: 'dev-1',
    accessKeyId: 'DEVKEY',
    secretAccessKey: 'dev-secret',
  },
  postgres: { url: 'postgres://dev:dev-pw@127.0.0.1:15432/longshore' },
  sealingKey: DEV_KEY,
  installation: 'dev-install',
  pids: {},
  later: { more: true },
};

let cwd: string;
beforeEach(() => {
  cwd = realpathSync(mkdtempSync(join(tmpdir(), 'longshore-config-')));
});
afterEach(() => rmSync(cwd, { recursive: true, force: true }));

const load = (env: Record<string, string> = {}, flags: ConfigFlags = {}, from = cwd) =>
  loadConfig({ env: { HOME: cwd, ...env }, flags, cwd: from });
const writeDev = (state: unknown = DEV, folder = join(cwd, '.longshore')) => {
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, 'dev.json'), typeof state === 'string' ? state : JSON.stringify(state));
};
const failure = (env: Record<string, string>, flags: ConfigFlags = {}): Error => {
  try {
    load(env, flags);
  } catch (error) {
    return error as Error;
  }
  throw new Error('the configuration was accepted');
};

test('defaults', () => {
  expect(load()).toMatchObject({
    ...{
      dataDir: join(cwd, '.longshore'),
      devFile: undefined,
      installation: 'default',
      logLevel: 'info',
      roots: {},
      stores: {},
    },
    temporal: {
      address: '127.0.0.1:7233',
      namespace: 'default',
      ui: undefined,
      apiKey: undefined,
      tls: undefined,
    },
    s3: {
      endpoint: undefined,
      region: 'us-east-1',
      maxConnections: 50,
      connectTimeoutMs: 10_000,
      socketTimeoutMs: 60_000,
    },
    ...{ postgresUrl: undefined, sealingKey: undefined, warnings: [] },
    upload: { partSize: 8 * MiB, concurrency: 4, threshold: 16 * MiB, encryption: undefined },
    worker: {
      memoryBudget: 256 * MiB,
      concurrency: undefined,
      healthPort: undefined,
      healthHost: '127.0.0.1',
    },
  });
  expect(load().s3).not.toHaveProperty('accessKeyId');
});

test('frozen to the ground', () => {
  const config = load({ LONGSHORE_ROOTS: 'a=/a' });
  for (const part of [config, config.s3, config.roots, config.upload, config.temporal, config.url.allow]) {
    expect(Object.isFrozen(part)).toBe(true);
  }
});

describe('the data folder', () => {
  test('flag, environment, nearest upwards', () => {
    writeDev();
    const deep = join(cwd, 'a', 'b');
    mkdirSync(deep, { recursive: true });
    expect(load({}, {}, deep).dataDir).toBe(join(cwd, '.longshore'));
    expect(load({}, {}, deep).temporal.address).toBe(DEV.temporal.address);
    expect(load({ LONGSHORE_DATA_DIR: 'env' }, {}, deep).dataDir).toBe(join(deep, 'env'));
    expect(load({ LONGSHORE_DATA_DIR: 'env' }, { dataDir: '/flag' }, deep).dataDir).toBe('/flag');
  });

  test('a damaged dev.json is named, and its text is not quoted', () => {
    writeDev('{"s3":{"secretAccessKey":"dev-secret"');
    expect(failure({}).message).toMatch(/dev\.json is damaged/);
    expect(failure({}).message).not.toContain('dev-secret');
    writeDev({ ...DEV, s3: { endpoint: 1, secretAccessKey: 'dev-secret' } });
    expect(failure({}).message).toMatch(/s3\.endpoint/);
    expect(failure({}).message).not.toContain('dev-secret');
  });

  test('a stopped stack is said to be stopped', () => {
    writeDev({ ...DEV, status: 'stopped' });
    expect(load().warnings.join()).toMatch(/longshore dev/);
  });
});

describe('the API', () => {
  test('has the implied root only where nobody needs a key, and asks for keys behind proxies', () => {
    writeDev();
    expect(load().api).toMatchObject({ keysRequired: false, roots: { host: '/' } });
    const closed: Record<string, string>[] = [
      { LONGSHORE_API_HOST: '0.0.0.0' },
      { LONGSHORE_API_KEYS_REQUIRED: 'true' },
      { LONGSHORE_API_TRUSTED_PROXIES: '127.0.0.1' },
    ];
    for (const env of closed) {
      expect(load(env)).toMatchObject({ api: { keysRequired: true, roots: {} }, roots: { host: '/' } });
    }
    const named = { LONGSHORE_API_HOST: '0.0.0.0', LONGSHORE_ROOTS: 'data=/data' };
    expect(load(named).api.roots).toEqual({ data: '/data' });
  });
});

describe('precedence', () => {
  test('dev.json over default, environment over dev.json, flag over environment', () => {
    writeDev();
    const plain = load();
    expect(plain).toMatchObject({
      temporal: { ...DEV.temporal, apiKey: undefined },
      s3: DEV.s3,
      ...{
        postgresUrl: DEV.postgres.url,
        sealingKey: DEV_KEY,
        installation: 'dev-install',
        roots: { host: '/' },
        warnings: [],
      },
    });
    const env = {
      ...{
        TEMPORAL_ADDRESS: 'env:1',
        AWS_ENDPOINT_URL: 'http://env',
        DATABASE_URL: 'postgres://env/db',
        CHUNK_SIZE: '6MiB',
      },
      ...{ LONGSHORE_SEALING_KEY: KEY, LONGSHORE_INSTALLATION: 'env', LONGSHORE_ROOTS: 'r=/r' },
    };
    expect(load(env)).toMatchObject({
      temporal: { address: 'env:1', ui: undefined },
      s3: { endpoint: 'http://env', region: 'us-east-1' },
      ...{
        postgresUrl: 'postgres://env/db',
        sealingKey: KEY,
        installation: 'env',
        roots: { r: '/r' },
        upload: { partSize: 6 * MiB },
      },
    });
    const flags = {
      temporalAddress: 'flag:2',
      s3Endpoint: 'http://flag/',
      databaseUrl: 'postgres://flag/db',
      partSize: 7 * MiB,
    };
    expect(load(env, flags)).toMatchObject({
      temporal: { address: 'flag:2' },
      s3: { endpoint: 'http://flag' },
      ...{ postgresUrl: 'postgres://flag/db', upload: { partSize: 7 * MiB } },
    });
  });

  test('an empty variable is as good as none', () => {
    writeDev();
    const empty = {
      AWS_ENDPOINT_URL: '',
      DATABASE_URL: '',
      TEMPORAL_ADDRESS: '',
      CHUNK_SIZE: '',
      LONGSHORE_ROOTS: '',
      PGHOST: '',
    };
    expect(load(empty)).toEqual(load());
  });
});

describe('what belongs together stays together', () => {
  const aws = { AWS_ACCESS_KEY_ID: 'AKIA', AWS_SECRET_ACCESS_KEY: 'env-secret', AWS_SESSION_TOKEN: 'tok' };

  test('keys of dev.json never go to another endpoint', () => {
    writeDev();
    const { s3 } = load({ AWS_ENDPOINT_URL: 'http://elsewhere:1' });
    expect(s3.secretAccessKey).toBeUndefined();
    expect(load({}, { s3Endpoint: 'http://elsewhere:1' }).s3.accessKeyId).toBeUndefined();
    expect(load({ AWS_ENDPOINT_URL: `${DEV.s3.endpoint}/` }).s3).toMatchObject(DEV.s3);
  });

  test('keys of the environment never go to the embedded server, unless it is named', () => {
    writeDev();
    const config = load({ ...aws, AWS_REGION: 'eu-west-1', AWS_PROFILE: 'work' });
    expect(config.s3).toMatchObject(DEV.s3);
    expect(config.s3).not.toHaveProperty('sessionToken');
    expect(config.s3).not.toHaveProperty('profile');
    expect(config.warnings.join()).toMatch(/AWS_ENDPOINT_URL/);
    expect(load({ ...aws, AWS_ENDPOINT_URL: DEV.s3.endpoint }).s3).toMatchObject({
      accessKeyId: 'AKIA',
      sessionToken: 'tok',
    });
  });

  test('static keys, or the AWS chain', () => {
    expect(load(aws).s3).toMatchObject({
      accessKeyId: 'AKIA',
      secretAccessKey: 'env-secret',
      sessionToken: 'tok',
    });
    const profile = load({ ...aws, AWS_PROFILE: 'work' }).s3;
    expect(profile.profile).toBe('work');
    expect(profile.accessKeyId).toBeUndefined();
    expect(load({ ...aws, AWS_WEB_IDENTITY_TOKEN_FILE: '/t' }).s3.accessKeyId).toBeUndefined();
    expect(failure({ AWS_ACCESS_KEY_ID: 'AKIA' }).message).toMatch(/AWS_SECRET_ACCESS_KEY/);
    expect(load({ AWS_ENDPOINT_URL: 'http://b', AWS_ENDPOINT_URL_S3: 'http://a' }).s3.endpoint).toBe(
      'http://a',
    );
  });

  test('a key for Temporal Cloud never goes to the embedded Temporal', () => {
    writeDev();
    const config = load({ TEMPORAL_API_KEY: 'cloud-key' });
    expect(config.temporal).toMatchObject({
      address: DEV.temporal.address,
      apiKey: undefined,
      tls: undefined,
    });
    expect(config.warnings.join()).toMatch(/TEMPORAL_ADDRESS/);
  });

  test('another Temporal gets neither the whole host as a root nor the name of this installation', () => {
    writeDev();
    expect(load({ TEMPORAL_ADDRESS: 'shared:7233' })).toMatchObject({ roots: {}, installation: 'default' });
    writeDev({ ...DEV, temporal: { address: '10.0.0.1:7233', ui: 'http://10.0.0.1' } });
    expect(load().roots).toEqual({});
  });
});

describe('Temporal', () => {
  test('its own environment configuration', () => {
    expect(
      load({
        TEMPORAL_ADDRESS: 'c.tmprl.cloud:7233',
        TEMPORAL_NAMESPACE: 'n',
        TEMPORAL_API_KEY: 'k',
        TEMPORAL_UI: 'http://ui/',
      }).temporal,
    ).toMatchObject({
      address: 'c.tmprl.cloud:7233',
      namespace: 'n',
      apiKey: 'k',
      tls: true,
      ui: 'http://ui',
    });
    expect(load({ TEMPORAL_TLS: 'true', TEMPORAL_TLS_SERVER_NAME: 's' }).temporal.tls).toMatchObject({
      serverNameOverride: 's',
    });
  });

  test('its configuration file counts when asked for, or when no stack is there', () => {
    const file = join(cwd, 'temporal.toml');
    writeFileSync(file, '[profile.default]\naddress = "file:7233"\n[profile.p]\naddress = "p:7233"\n');
    expect(load({ TEMPORAL_CONFIG_FILE: file }).temporal.address).toBe('file:7233');
    expect(load({ TEMPORAL_CONFIG_FILE: file, TEMPORAL_PROFILE: 'p' }).temporal.address).toBe('p:7233');
    const home = { XDG_CONFIG_HOME: join(cwd, '.config') };
    mkdirSync(join(cwd, '.config', 'temporalio'), { recursive: true });
    writeFileSync(
      join(cwd, '.config', 'temporalio', 'temporal.toml'),
      '[profile.default]\naddress = "home:7233"\n',
    );
    expect(load(home).temporal.address).toBe('home:7233');
    writeDev();
    expect(load(home).temporal.address).toBe(DEV.temporal.address);
    expect(load({ TEMPORAL_CONFIG_FILE: file }).temporal.address).toBe('file:7233');
  });

  test('certificates can be in it, frozen as it is', () => {
    const config = load({ TEMPORAL_TLS_CLIENT_CERT_DATA: 'cert', TEMPORAL_TLS_CLIENT_KEY_DATA: 'private' });
    expect(config.temporal.tls).toMatchObject({ clientCertPair: { crt: expect.anything() as unknown } });
    expect(JSON.stringify(describeConfig(config))).not.toContain('private');
  });

  test('an unknown profile is a configuration error', () => {
    expect(failure({ TEMPORAL_PROFILE: 'nope' })).toMatchObject({ code: 'InvalidConfig' });
  });
});

describe('PostgreSQL', () => {
  test('the PG variables count once PGHOST is there', () => {
    const pg = {
      PGHOST: 'h',
      PGPORT: '6543',
      PGUSER: 'u@x',
      PGPASSWORD: 'p/w',
      PGDATABASE: 'd b',
      PGSSLMODE: 'require',
    };
    expect(load(pg).postgresUrl).toBe('postgres://u%40x:p%2Fw@h:6543/d%20b?sslmode=require');
    expect(load({ ...pg, PGHOST: '' }).postgresUrl).toBeUndefined();
    expect(load({ ...pg, DATABASE_URL: 'postgres://x/y?sslmode=disable' }).postgresUrl).toBe(
      'postgres://x/y?sslmode=disable',
    );
    expect(load({ PGHOST: '/run/pg', PGUSER: 'u' }).postgresUrl).toBe(
      'postgres://u@localhost:5432/u?host=%2Frun%2Fpg',
    );
  });
});

test('other stores', () => {
  const prefix = 'LONGSHORE_STORES_OLD_ONE';
  const env = {
    [`${prefix}_ENDPOINT`]: 'https://old:9000/',
    [`${prefix}_ACCESS_KEY_ID`]: 'id',
    [`${prefix}_SECRET_ACCESS_KEY`]: 'old-secret',
    LONGSHORE_STORES_AWS_PROFILE: 'archive',
  };
  expect(load(env).stores).toMatchObject({
    'old-one': {
      endpoint: 'https://old:9000',
      region: 'us-east-1',
      accessKeyId: 'id',
      secretAccessKey: 'old-secret',
    },
    aws: { profile: 'archive', region: 'us-east-1' },
  });
  expect(failure({ LONGSHORE_STORES_X_SECRET_ACCESS_KEY: 's' }).message).toMatch(
    /LONGSHORE_STORES_X_ACCESS_KEY_ID/,
  );
  expect(failure({ LONGSHORE_STORES_X_HOST: 's' }).message).toMatch(/LONGSHORE_STORES_X_HOST is not known/);
});

test('the rest of the variables', () => {
  const env = {
    ...{
      LONGSHORE_THRESHOLD: '5M',
      LONGSHORE_CONCURRENCY: '8',
      LONGSHORE_SSE: 'aws:kms:arn:aws:kms:eu:1:key/k',
    },
    ...{
      LONGSHORE_EXPECTED_MAX: '1TiB',
      LONGSHORE_MAX_PARTS: '1000',
      LONGSHORE_EQUAL_PARTS: 'true',
      LONGSHORE_MEMORY_BUDGET: '1GiB',
    },
    ...{
      LONGSHORE_SHUTDOWN_GRACE: '30s',
      LONGSHORE_HEALTH_PORT: '0',
      LONGSHORE_HEALTH_HOST: '0.0.0.0',
      LONGSHORE_LOG_LEVEL: 'DEBUG',
    },
    ...{
      WORKER_CONCURRENCY: '3',
      LONGSHORE_URL_ALLOW: '10.0.0.0/8, files.local',
      LONGSHORE_URL_MAX_SIZE: '2GB',
      LONGSHORE_URL_TIMEOUT: '5m',
    },
    ...{
      LONGSHORE_S3_CONNECTIONS: '9',
      LONGSHORE_S3_CONNECT_TIMEOUT: '2s',
      LONGSHORE_S3_READ_TIMEOUT: '1500',
      LONGSHORE_S3_PATH_STYLE: 'no',
    },
    LONGSHORE_ROOTS: '{"a":"/a,b","c":"/c=d"}',
  };
  expect(load(env)).toMatchObject({
    upload: {
      threshold: 5 * MiB,
      concurrency: 8,
      encryption: { type: 'SSE_KMS', kmsKeyId: 'arn:aws:kms:eu:1:key/k' },
      expectedMax: 2 ** 40,
    },
    serverProfile: { maxParts: 1000, unequalParts: false },
    worker: {
      memoryBudget: 2 ** 30,
      shutdownGraceMs: 30_000,
      healthPort: 0,
      healthHost: '0.0.0.0',
      concurrency: 3,
    },
    url: { allow: ['10.0.0.0/8', 'files.local'], maxSize: 2e9, timeoutMs: 300_000 },
    s3: { maxConnections: 9, connectTimeoutMs: 2000, socketTimeoutMs: 1500, forcePathStyle: false },
    ...{ logLevel: 'debug', roots: { a: '/a,b', c: '/c=d' } },
  });
  expect(load({ LONGSHORE_SSE: 'AES256' }).upload.encryption).toEqual({ type: 'SSE_S3' });
});

test.each([
  ['CHUNK_SIZE', '7KB', /CHUNK_SIZE is "7KB", but must be a size from 5 MiB to 5 GiB/],
  ['CHUNK_SIZE', '8 constructor', /size/],
  ['WORKER_CONCURRENCY', '0', /1 to 1000/],
  ['WORKER_CONCURRENCY', '2.5', /whole number/],
  ['LONGSHORE_SHUTDOWN_GRACE', '5 fortnights', /30s/],
  ['LONGSHORE_ROOTS', 'a=relative', /absolute/],
  ['LONGSHORE_ROOTS', 'a=/a,a=/b', /named/],
  ['LONGSHORE_ROOTS', '{"a":1}', /named/],
  ['LONGSHORE_SSE', 'rot13', /AES256/],
  ['LONGSHORE_EQUAL_PARTS', 'perhaps', /true or false/],
  ['LONGSHORE_LOG_LEVEL', 'loud', /one of trace/],
  ['LONGSHORE_INSTALLATION', 'a b', /letters/],
  ['AWS_ENDPOINT_URL', 'ftp://x', /http/],
  ['TEMPORAL_ADDRESS', 'http://x:7233', /127\.0\.0\.1:7233/],
  ['DATABASE_URL', 'sqlite:///./data/uploads.db', /postgres:/],
])('%s=%s is refused', (name, value, message) => {
  const error = failure({ [name]: value });
  expect(error).toMatchObject({ code: 'InvalidConfig', key: name });
  expect(error.message).toMatch(message);
});

test('a flag is named as it is typed', () => {
  expect(failure({}, { partSize: '1' }).message).toMatch(/^--part-size is "1"/);
});

test.each([
  [{ LONGSHORE_SEALING_KEY: 'hush-hush' }],
  [{ DATABASE_URL: 'mysql://u:hush-hush@h/d' }],
  [{ AWS_ENDPOINT_URL: 'http://u:hush-hush@h' }],
  [{ PGHOST: 'bad host', PGPASSWORD: 'hush-hush' }],
])('no secret in the message: %o', (env) => {
  expect(failure(env).message).not.toContain('hush-hush');
});

test('the description holds no secret', () => {
  writeDev();
  const secrets = {
    DATABASE_URL: 'postgres://u:hush-1@h/d',
    LONGSHORE_SEALING_KEY: KEY,
    TEMPORAL_ADDRESS: 'a:1',
    TEMPORAL_API_KEY: 'hush-2',
  };
  const stores = { LONGSHORE_STORES_X_ACCESS_KEY_ID: 'id', LONGSHORE_STORES_X_SECRET_ACCESS_KEY: 'hush-3' };
  for (const env of [{}, { ...secrets, ...stores }]) {
    const shown = JSON.stringify(describeConfig(load(env)));
    expect(shown).not.toMatch(/hush|dev-secret|dev-pw/);
    expect(shown).not.toContain(KEY);
    expect(shown).not.toContain(DEV_KEY);
    expect(shown).toContain('(set)');
  }
});

test('the API listens on loopback, and asks for keys elsewhere', () => {
  expect(load().api).toMatchObject({ host: '127.0.0.1', port: 8000, keysRequired: false });
  expect(load({ LONGSHORE_API_PORT: '0' }, { apiPort: '81' }).api.port).toBe(81);
  for (const host of ['localhost', '::1', '127.1.2.3'])
    expect(load({ LONGSHORE_API_HOST: host }).api.keysRequired, host).toBe(false);
  for (const host of ['0.0.0.0', '::', '192.0.2.1', '127.example', 'somewhere'])
    expect(load({ LONGSHORE_API_HOST: host }).api.keysRequired, host).toBe(true);
  expect(load({ LONGSHORE_API_KEYS_REQUIRED: 'true' }).api.keysRequired).toBe(true);
});

test('times of the monitor are whole seconds', () => {
  expect(load().monitor).toEqual({ interval: 60, stability: 5 });
  const env = { FILE_MONITOR_INTERVAL: '90', FILE_STABILITY: '1m' };
  expect(load(env).monitor).toEqual({ interval: 90, stability: 60 });
  for (const wrong of ['0', '1500ms', '1.5', 'soon'])
    expect(failure({ FILE_MONITOR_INTERVAL: wrong }).message, wrong).toContain('whole seconds');
});

test('SQLite is refused with the way out', () => {
  const { message } = failure({ DATABASE_URL: 'sqlite:///./data/uploads.db' });
  expect(message).toContain('postgres://');
  expect(message).toContain('longshore dev');
});

test('acceleration and dual-stack are names of AWS', () => {
  const asked = { LONGSHORE_S3_ACCELERATE: 'true', LONGSHORE_S3_DUAL_STACK: 'true' };
  expect(load(asked).s3).toMatchObject({ accelerate: true, dualStack: true });
  for (const name of Object.keys(asked)) {
    const elsewhere = { [name]: 'true', AWS_ENDPOINT_URL: 'http://127.0.0.1:9000' };
    expect(failure(elsewhere).message).toMatch(new RegExp(`^${name} is set, but only AWS has it`));
  }
  expect(failure({ LONGSHORE_S3_ACCELERATE: 'true', LONGSHORE_S3_PATH_STYLE: 'true' }).message).toMatch(
    /both set/,
  );
});

test('browsers may reach the S3 server elsewhere', () => {
  expect(load().s3.publicEndpoint).toBeUndefined();
  const env = { LONGSHORE_S3_PUBLIC_ENDPOINT: 'https://s3.example.com/' };
  expect(load(env).s3.publicEndpoint).toBe('https://s3.example.com');
  writeDev();
  expect(load(env).s3).toMatchObject({
    endpoint: DEV.s3.endpoint,
    publicEndpoint: env.LONGSHORE_S3_PUBLIC_ENDPOINT.slice(0, -1),
  });
});
