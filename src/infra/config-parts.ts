/**
 * The settings that belong together: an address and what authenticates to it. They are taken from one place as a
 * whole, so that the keys of one server never travel to another.
 */
import { loadClientConnectConfig } from '@temporalio/envconfig';
import { S3_CONNECT_TIMEOUT_MS, S3_MAX_CONNECTIONS, S3_SOCKET_TIMEOUT_MS } from '../core/limits.js';
import type { TemporalConfig } from './config.js';
import type { DevState } from './config-dev.js';
import { check, hidePassword, invalid } from './config-settings.js';
import type { Settings } from './config-settings.js';
import * as v from './config-values.js';
import type { StoreConfig } from './s3/store.js';

const DEFAULT_REGION = 'us-east-1';
const DEFAULT_TEMPORAL = '127.0.0.1:7233';

type Limits = Pick<StoreConfig, 'maxConnections' | 'connectTimeoutMs' | 'socketTimeoutMs' | 'ca'>;

function s3Limits(settings: Settings): Limits {
  const timeout = v.time(1, 3_600_000);
  return {
    maxConnections:
      settings.read({ env: ['LONGSHORE_S3_CONNECTIONS'], schema: v.integer(1, 10_000) }) ??
      S3_MAX_CONNECTIONS,
    connectTimeoutMs:
      settings.read({ env: ['LONGSHORE_S3_CONNECT_TIMEOUT'], schema: timeout }) ?? S3_CONNECT_TIMEOUT_MS,
    socketTimeoutMs:
      settings.read({ env: ['LONGSHORE_S3_READ_TIMEOUT'], schema: timeout }) ?? S3_SOCKET_TIMEOUT_MS,
    ...readCertificates(settings),
  };
}

/** Certificates that S3 servers may show beside those that Node trusts. */
function readCertificates(settings: Settings): Pick<StoreConfig, 'ca'> {
  const ca = settings.read({ env: ['LONGSHORE_S3_CA_FILE', 'AWS_CA_BUNDLE'], schema: v.certificates() });
  return ca === undefined ? {} : { ca };
}

/** The server that uploads go to. */
export function readS3(settings: Settings, dev: DevState | undefined): StoreConfig {
  const asked = settings.read({
    flag: 's3Endpoint',
    env: ['AWS_ENDPOINT_URL_S3', 'AWS_ENDPOINT_URL'],
    schema: v.webAddress(),
  });
  const devS3 =
    dev?.s3 === undefined ? undefined : { ...dev.s3, endpoint: dev.s3.endpoint.replace(/\/+$/, '') };
  const common = { ...s3Limits(settings), ...s3Addresses(settings, asked ?? devS3?.endpoint) };
  if (devS3 !== undefined && asked === undefined) {
    if (settings.has('AWS_ACCESS_KEY_ID', 'AWS_PROFILE', 'AWS_REGION', 'AWS_DEFAULT_REGION')) {
      settings.warnings.push(
        'the S3 server is that of `longshore dev`, so AWS keys, profile and region are not used; set AWS_ENDPOINT_URL to use them',
      );
    }
    const { endpoint, region, accessKeyId, secretAccessKey } = devS3;
    return { ...common, endpoint, region, accessKeyId, secretAccessKey };
  }
  const region = settings.read({
    flag: 's3Region',
    env: ['AWS_REGION', 'AWS_DEFAULT_REGION'],
    schema: v.text(),
  });
  const keys = awsKeys(settings);
  const devKeys = devS3 !== undefined && devS3.endpoint === asked ? devS3 : undefined;
  if (devKeys !== undefined && Object.keys(keys).length === 0) {
    const { accessKeyId, secretAccessKey } = devKeys;
    return { ...common, endpoint: asked, region: region ?? devKeys.region, accessKeyId, secretAccessKey };
  }
  return { ...common, endpoint: asked, region: region ?? devKeys?.region ?? DEFAULT_REGION, ...keys };
}

type Addresses = Pick<
  StoreConfig,
  'forcePathStyle' | 'accelerate' | 'dualStack' | 'publicEndpoint' | 'forms'
>;

/** Acceleration and dual-stack are names of AWS: with the address of another server they would mean nothing. */
function s3Addresses(settings: Settings, endpoint: string | undefined): Addresses {
  const flag = (name: string): boolean | undefined => settings.read({ env: [name], schema: v.boolean() });
  const forcePathStyle = flag('LONGSHORE_S3_PATH_STYLE');
  const accelerate = flag('LONGSHORE_S3_ACCELERATE');
  const dualStack = flag('LONGSHORE_S3_DUAL_STACK');
  const forms = flag('LONGSHORE_S3_FORMS');
  const publicEndpoint = settings.read({ env: ['LONGSHORE_S3_PUBLIC_ENDPOINT'], schema: v.webAddress() });
  for (const [name, value] of [
    ['LONGSHORE_S3_ACCELERATE', accelerate],
    ['LONGSHORE_S3_DUAL_STACK', dualStack],
  ] as const) {
    if (value !== true || endpoint === undefined) continue;
    throw invalid(name, `${name} is set, but only AWS has it, and the S3 endpoint is ${endpoint}`);
  }
  if (accelerate === true && forcePathStyle === true) {
    const name = 'LONGSHORE_S3_ACCELERATE';
    throw invalid(name, `${name} and LONGSHORE_S3_PATH_STYLE are both set, but only one may be`);
  }
  const asked = { accelerate, dualStack, publicEndpoint, forms };
  return {
    forcePathStyle,
    ...(Object.fromEntries(Object.entries(asked).filter(([, value]) => value !== undefined)) as Addresses),
  };
}

type Keys = Pick<StoreConfig, 'accessKeyId' | 'secretAccessKey' | 'sessionToken' | 'profile'>;

/** With a profile or a web identity the AWS chain decides, refresh included. */
export function awsKeys(settings: Settings): Keys {
  const profile = settings.env['AWS_PROFILE'];
  if (profile !== undefined) return { profile };
  if (settings.has('AWS_WEB_IDENTITY_TOKEN_FILE')) return {};
  const { env } = settings;
  return keyPair('AWS', env['AWS_ACCESS_KEY_ID'], env['AWS_SECRET_ACCESS_KEY'], env['AWS_SESSION_TOKEN']);
}

function keyPair(
  prefix: string,
  id: string | undefined,
  secret: string | undefined,
  token: string | undefined,
): Keys {
  if (id === undefined && secret === undefined) return {};
  if (id !== undefined && secret !== undefined) {
    return {
      accessKeyId: id,
      secretAccessKey: secret,
      ...(token === undefined ? {} : { sessionToken: token }),
    };
  }
  const [there, missing] =
    id === undefined ? ['SECRET_ACCESS_KEY', 'ACCESS_KEY_ID'] : ['ACCESS_KEY_ID', 'SECRET_ACCESS_KEY'];
  throw invalid(
    `${prefix}_${missing}`,
    `${prefix}_${missing} is not set, but must be, since ${prefix}_${there} is`,
  );
}

const STORE_VARIABLE =
  /^LONGSHORE_STORES_([A-Z0-9_]+?)_(ENDPOINT|REGION|ACCESS_KEY_ID|SECRET_ACCESS_KEY|SESSION_TOKEN|PROFILE)$/;

/** `LONGSHORE_STORES_<NAME>_…`: the name in small letters, `_` as `-`. */
export function readStores(settings: Settings): Record<string, StoreConfig> {
  const found = new Map<string, Record<string, string>>();
  for (const [name, value] of Object.entries(settings.env)) {
    if (!name.startsWith('LONGSHORE_STORES_')) continue;
    const [, store, field] = STORE_VARIABLE.exec(name) ?? [];
    if (store === undefined || field === undefined) {
      throw invalid(
        name,
        `${name} is not known: LONGSHORE_STORES_<NAME>_ is followed by ENDPOINT, REGION, ACCESS_KEY_ID, SECRET_ACCESS_KEY, SESSION_TOKEN or PROFILE`,
      );
    }
    found.set(store, { ...found.get(store), [field]: value });
  }
  const limits = s3Limits(settings);
  return Object.fromEntries(
    [...found].map(([store, fields]) => [
      store.toLowerCase().replaceAll('_', '-'),
      toStore(store, fields, limits),
    ]),
  );
}

function toStore(store: string, fields: Record<string, string>, limits: Limits): StoreConfig {
  const prefix = `LONGSHORE_STORES_${store}`;
  const { ENDPOINT, REGION, PROFILE, ACCESS_KEY_ID, SECRET_ACCESS_KEY, SESSION_TOKEN } = fields;
  const endpoint =
    ENDPOINT === undefined ? undefined : check(`${prefix}_ENDPOINT`, ENDPOINT, v.webAddress(), false);
  const keys = keyPair(prefix, ACCESS_KEY_ID, SECRET_ACCESS_KEY, SESSION_TOKEN);
  if (PROFILE !== undefined && keys.accessKeyId !== undefined) {
    throw invalid(
      `${prefix}_PROFILE`,
      `${prefix}_PROFILE and ${prefix}_ACCESS_KEY_ID are both set, but only one may be`,
    );
  }
  return {
    ...limits,
    endpoint,
    region: REGION ?? DEFAULT_REGION,
    ...(PROFILE === undefined ? keys : { profile: PROFILE }),
  };
}

/** As Temporal's own tools read it; a configuration file that nobody asked for counts less than the embedded stack. */
export function readTemporal(settings: Settings, dev: DevState | undefined): TemporalConfig {
  const { env } = settings;
  const flag = settings.read({ flag: 'temporalAddress', env: [], schema: v.address() });
  const namespace = settings.read({ flag: 'temporalNamespace', env: [], schema: v.text() });
  const askedFor = settings.has('TEMPORAL_CONFIG_FILE', 'TEMPORAL_PROFILE');
  const devAddress = dev?.temporal?.address;
  const fromEnv = connectConfig({
    overrideEnvVars: {
      ...env,
      ...(flag === undefined ? {} : { TEMPORAL_ADDRESS: flag }),
      ...(namespace === undefined ? {} : { TEMPORAL_NAMESPACE: namespace }),
    },
    disableFile: devAddress !== undefined && !askedFor,
  });
  const asked = fromEnv.connectionOptions.address;
  if (asked !== undefined) check('TEMPORAL_ADDRESS', asked, v.address(), false);
  const ui = settings.read({ env: ['LONGSHORE_TEMPORAL_UI', 'TEMPORAL_UI'], schema: v.webAddress() });
  const devUi =
    asked === undefined || asked === devAddress ? dev?.temporal?.ui?.replace(/\/+$/, '') : undefined;
  const base = { namespace: fromEnv.namespace ?? 'default', ui: ui ?? devUi };
  if (asked === undefined && devAddress !== undefined) {
    if (fromEnv.connectionOptions.apiKey !== undefined || fromEnv.connectionOptions.tls !== undefined) {
      settings.warnings.push(
        'Temporal is that of `longshore dev`, so TEMPORAL_API_KEY and TEMPORAL_TLS are not used; set TEMPORAL_ADDRESS to use them',
      );
    }
    return { ...base, address: devAddress, apiKey: undefined, tls: undefined, metadata: undefined };
  }
  const { apiKey, tls, metadata } = fromEnv.connectionOptions;
  if (typeof apiKey === 'function') throw invalid('TEMPORAL_API_KEY', 'TEMPORAL_API_KEY must be a text');
  return {
    ...base,
    address: asked ?? DEFAULT_TEMPORAL,
    apiKey,
    tls,
    metadata: metadata as Record<string, string> | undefined,
  };
}

function connectConfig(options: Parameters<typeof loadClientConnectConfig>[0]) {
  try {
    return loadClientConnectConfig(options);
  } catch (error) {
    const said = hidePassword(error instanceof Error ? error.message : String(error));
    throw invalid(
      'TEMPORAL',
      `the TEMPORAL_ variables or their configuration file cannot be used: ${said}`,
      error,
    );
  }
}

/** DATABASE_URL, or the PG variables once PGHOST is among them, or the embedded one. */
export function readPostgres(settings: Settings, dev: DevState | undefined): string | undefined {
  const url = settings.read({ flag: 'databaseUrl', env: ['DATABASE_URL'], schema: v.postgresAddress() });
  const asked = url ?? pgVariables(settings);
  if (asked === undefined) return dev?.postgres?.url;
  const sslmode = settings.env['PGSSLMODE'];
  const address = new URL(asked);
  if (sslmode === undefined || address.searchParams.has('sslmode') || address.searchParams.has('ssl'))
    return asked;
  address.searchParams.set('sslmode', sslmode);
  return address.href;
}

function pgVariables(settings: Settings): string | undefined {
  const { env } = settings;
  const host = env['PGHOST'];
  if (host === undefined) return undefined;
  const port = settings.read({ env: ['PGPORT'], schema: v.integer(1, 65_535) }) ?? 5432;
  const user = env['PGUSER'] ?? env['USER'] ?? 'postgres';
  const password = env['PGPASSWORD'];
  const login = `${encodeURIComponent(user)}${password === undefined ? '' : `:${encodeURIComponent(password)}`}`;
  const database = encodeURIComponent(env['PGDATABASE'] ?? user);
  // A path is the folder of a Unix socket, which stands in the address only as a parameter.
  if (host.startsWith('/'))
    return `postgres://${login}@localhost:${port}/${database}?host=${encodeURIComponent(host)}`;
  return check(
    'PGHOST',
    `postgres://${login}@${host.includes(':') ? `[${host}]` : host}:${port}/${database}`,
    v.postgresAddress(),
    true,
  );
}
