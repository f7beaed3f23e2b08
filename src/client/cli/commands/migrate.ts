/** `longshore migrate`: the catalog's tables and Temporal's search attributes. */
import { EXIT } from '../../../core/errors.js';
import { migrate } from '../../../infra/catalog/migrations.js';
import { registerSearchAttributes } from '../../../infra/temporal/search-attributes.js';
import type { Io } from '../io.js';
import type { Connections } from '../options.js';
import { configure, withCatalog, withClient } from '../session.js';

export async function run(io: Io, options: Connections): Promise<number> {
  const config = configure(io, options);
  // The tables first: a worker that sees the attributes may expect them.
  const catalog = await withCatalog(config, (pool) => migrate(pool));
  const searchAttributes = await withClient(config, ({ connection }) =>
    registerSearchAttributes(connection, config.temporal.namespace),
  );
  if (io.json) {
    io.outJson({ version: catalog.version, applied: catalog.applied, searchAttributes });
    return EXIT.ok;
  }
  const done = (names: readonly (string | number)[]): string =>
    names.length === 0 ? 'up to date' : `added ${names.join(', ')}`;
  io.out(`Tables             schema ${catalog.version}, ${done(catalog.applied)}`);
  io.out(`Search attributes  ${done(searchAttributes)}`);
  return EXIT.ok;
}
