/**
 * Temporal's messages are described by a literal of half a megabyte, of which every message is made before a program does
 * anything. For programs that are clients, what they cannot speak is left out, and the rest is text for JSON.parse,
 * which is read twice as fast.
 */
import { readFile, readdir } from 'node:fs/promises';
import { join } from 'node:path';

/** The packages, and our own sources, whose calls and names decide which messages are spoken. */
const SPEAKERS = [
  'node_modules/@temporalio/client/lib',
  'node_modules/@temporalio/common/lib',
  'node_modules/@temporalio/envconfig/lib',
  'src',
];

/** What is looked up by a name that comes over the wire. */
const KEPT = /^(google|temporal\.api\.(errordetails|failure|common))\./;

/** An esbuild plugin; paths are relative to `root`. */
export function temporalMessages(root) {
  return {
    name: 'temporal-messages',
    setup({ onLoad }) {
      onLoad({ filter: /@temporalio[\\/]proto[\\/]protos[\\/]json-module\.js$/ }, async ({ path }) => {
        const text = await readFile(path, 'utf8');
        const [, before, literal, after] = /^([^]*\.addJSON\()(\{[^]*\})(\);[^]*)$/.exec(text) ?? [];
        if (literal === undefined) throw new Error(`${path} is not as it was: look at it again`);
        const messages = spoken(JSON.parse(literal), await vocabulary(root));
        const quoted = JSON.stringify(JSON.stringify(messages));
        return { contents: `${before}JSON.parse(${quoted})${after}`, loader: 'js' };
      });
    },
  };
}

/** Words that occur at all, and those that are called as a method of some service. */
async function vocabulary(root) {
  const words = new Set();
  const calls = new Set();
  for (const folder of SPEAKERS) {
    for (const name of await readdir(join(root, folder), { recursive: true })) {
      if (!/(?<!\.d)\.[jt]s$/.test(name)) continue;
      const text = await readFile(join(root, folder, name), 'utf8');
      for (const [word] of text.matchAll(/\w+/g)) words.add(word);
      for (const [, method] of text.matchAll(/[sS]ervice\.(\w+)/g)) calls.add(method);
    }
  }
  return { words, calls };
}

/** `nested` without the methods nobody calls, and the types that nothing of what is left needs. */
export function spoken(nested, { words, calls }) {
  const all = new Map(declared(nested));
  for (const { methods } of all.values()) {
    for (const name of Object.keys(methods ?? {})) {
      if (!calls.has(name[0].toLowerCase() + name.slice(1))) delete methods[name];
    }
  }
  const first = [...all].filter(
    ([path, { methods }]) => methods !== undefined || KEPT.test(path) || words.has(path.split('.').at(-1)),
  );
  const kept = reach(
    all,
    first.map(([path]) => path),
  );
  remove(nested, '', (path, { fields, values, methods }) => {
    const isType = fields !== undefined || values !== undefined || methods !== undefined;
    return isType && !kept.has(path);
  });
  delete nested.coresdk;
  return nested;
}

function* declared(nested, above = '') {
  for (const [name, entry] of Object.entries(nested ?? {})) {
    const path = above === '' ? name : `${above}.${name}`;
    yield [path, entry];
    yield* declared(entry.nested, path);
  }
}

/** Everything that is needed by what `first` names, and what those lie in. */
function reach(all, first) {
  const kept = new Set();
  const open = [...first];
  for (let path = open.pop(); path !== undefined; path = open.pop()) {
    if (kept.has(path)) continue;
    kept.add(path);
    const { fields = {}, methods = {} } = all.get(path);
    const used = [
      ...Object.values(fields).map(({ type }) => type),
      ...Object.values(methods).flatMap(({ requestType, responseType }) => [requestType, responseType]),
    ];
    open.push(...used.map((type) => resolve(all, type, path)).filter((found) => found !== undefined));
    const above = path.slice(0, Math.max(0, path.lastIndexOf('.')));
    if (above !== '') open.push(above);
  }
  return kept;
}

/** A type's full name, looked for from the inside out as protobuf does; undefined for a scalar. */
function resolve(all, type, from) {
  if (type.startsWith('.')) return all.has(type.slice(1)) ? type.slice(1) : undefined;
  for (let scope = from; ; scope = scope.slice(0, Math.max(0, scope.lastIndexOf('.')))) {
    const candidate = scope === '' ? type : `${scope}.${type}`;
    if (all.has(candidate)) return candidate;
    if (scope === '') return undefined;
  }
}

function remove(nested, above, unwanted) {
  for (const [name, entry] of Object.entries(nested)) {
    const path = above === '' ? name : `${above}.${name}`;
    if (unwanted(path, entry)) delete nested[name];
    else if (entry.nested !== undefined) remove(entry.nested, path, unwanted);
  }
}
