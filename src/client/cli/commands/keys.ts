/** `longshore keys`: who may call the API from another machine; and nodes under other keys of encryption. */
import { EXIT, LongshoreError } from '../../../core/errors.js';
import { formatGrant, parseGrant } from '../../../core/grants.js';
import { addApiKey, listApiKeys, revokeApiKey, type ApiKeyRow } from '../../../infra/catalog/api-keys.js';
import type { Config } from '../../../infra/config.js';
import type { Io } from '../io.js';
import { badUsage } from '../options.js';
import { configure, withCatalog } from '../session.js';
import { localTime, table } from '../text.js';
import type { RotateOptions } from './keys-rotate.js';

export interface KeysOptions extends RotateOptions {
  grant?: string[];
}

const MAX_NAME = 100;

export async function run(io: Io, options: KeysOptions, action: string, name?: string): Promise<number> {
  if (options.grant !== undefined && action !== 'add') throw badUsage('--grant goes with `keys add`');
  const { keyFile, newKeyFile, newSse, newSseKms } = options;
  if (action !== 'rotate' && [keyFile, newKeyFile, newSse, newSseKms].some((given) => given !== undefined))
    throw badUsage('options about key files and --new-sse go with `keys rotate`');
  switch (action) {
    case 'add':
      return await add(io, configure(io, options), nameOf(name), options.grant ?? []);
    case 'list':
      return await list(io, configure(io, options));
    case 'revoke':
      if (name === undefined) throw badUsage('`keys revoke` takes the id of a key');
      return await revoke(io, configure(io, options), name);
    case 'rotate': {
      if (name === undefined) throw badUsage('`keys rotate` takes the id of a node');
      const { rotate } = await import('./keys-rotate.js');
      return await rotate(io, options, name);
    }
    default:
      throw badUsage(`keys takes add, list, revoke or rotate, not ${JSON.stringify(action)}`);
  }
}

function nameOf(name: string | undefined): string {
  if (name === undefined || name.trim() === '') throw badUsage('`keys add` takes a name for the key');
  if (name.length > MAX_NAME) throw badUsage(`a key’s name has at most ${MAX_NAME} characters`);
  return name;
}

async function add(io: Io, config: Config, name: string, asked: readonly string[]): Promise<number> {
  if (asked.length === 0) throw badUsage('`keys add` takes at least one --grant bucket/prefix/');
  const grants = asked.map(parseGrant);
  const { id, token } = await withCatalog(config, (pool) => addApiKey(pool, { name, grants }));
  if (io.json) {
    io.outJson({ id, name, grants, key: token });
    return EXIT.ok;
  }
  io.out(token);
  io.err(`Key ${id} for ${name} may use ${grants.map(formatGrant).join(', ')}.`);
  io.err('It is shown this once: keep it where only its user can read it.');
  return EXIT.ok;
}

async function list(io: Io, config: Config): Promise<number> {
  const keys = await withCatalog(config, listApiKeys);
  if (io.json) {
    io.outJson({ keys });
    return EXIT.ok;
  }
  if (keys.length === 0) io.err('No keys. Next: `longshore keys add NAME --grant bucket/prefix/`');
  else for (const line of table(HEAD, keys.map(cells))) io.out(line);
  return EXIT.ok;
}

const HEAD = ['ID', 'NAME', 'MADE', 'STATE', 'GRANTS'];

function cells({ id, name, createdAt, revokedAt, grants }: ApiKeyRow): string[] {
  const state = revokedAt === null ? 'valid' : 'revoked';
  return [id, name, localTime(createdAt), state, grants.map(formatGrant).join(', ')];
}

async function revoke(io: Io, config: Config, id: string): Promise<number> {
  const done = await withCatalog(config, (pool) => revokeApiKey(pool, id));
  if (!done) {
    throw new LongshoreError('NotFound', `there is no key ${id} that counts`, {
      op: 'revoke',
      key: id,
      hint: '`longshore keys list` shows their ids.',
    });
  }
  if (io.json) io.outJson({ id, revoked: true });
  else io.err(`Key ${id} counts no more.`);
  return EXIT.ok;
}
