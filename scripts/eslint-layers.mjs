/**
 * The arrows between layers as a lint rule. It works on paths alone, so that it needs no resolver, sees `.js`
 * specifiers as TypeScript writes them, and catches an import of a file that does not exist yet.
 */
import { isBuiltin } from 'node:module';
import { dirname, relative, resolve, sep } from 'node:path';

/**
 * What a layer may import of ours. `types` are layers of which only types may be imported. `packages` lists all that
 * a layer may import from npm; a layer without it may import anything. `builtins: false` forbids Node's modules.
 * An entry with a slash is a folder inside a layer, and the longest entry that fits a file decides.
 */
export const LAYERS = {
  core: { imports: [], builtins: false, packages: ['@temporalio/common', 'zod'] },
  workflows: {
    imports: ['core'],
    types: ['activities'],
    builtins: false,
    packages: ['@temporalio/workflow', '@temporalio/common'],
  },
  'workflows/tracing': {
    imports: [],
    builtins: false,
    packages: [
      '@opentelemetry/api',
      '@opentelemetry/sdk-trace-base',
      '@temporalio/interceptors-opentelemetry',
      '@temporalio/workflow',
    ],
  },
  activities: { imports: ['core', 'infra'] },
  infra: { imports: ['core'] },
  workers: { imports: ['core', 'infra', 'activities', 'workflows'] },
  client: { imports: ['core', 'infra/temporal', 'infra/catalog', 'infra/config'] },
  'client/cli': { imports: ['core', 'infra', 'activities', 'workflows', 'workers', 'client', 'api', 'dev'] },
  api: {
    imports: [
      ...['core', 'client', 'infra/buffers', 'infra/catalog', 'infra/config', 'infra/keys', 'infra/s3'],
      'infra/telemetry',
    ],
  },
  web: { imports: ['core', 'client'] },
  dev: { imports: ['core', 'infra', 'workers', 'client'] },
};

/** @returns {import('eslint').Rule.RuleModule} */
export function layersRule(sourceRoot) {
  return {
    meta: {
      type: 'problem',
      schema: [],
      messages: {
        unknown: 'src/{{file}} is in no layer; add its folder to scripts/eslint-layers.mjs.',
        arrow: 'Layer `{{from}}` may not import `{{to}}`; see the layer table in CONTRIBUTING.md.',
        typesOnly: 'Layer `{{from}}` may import only types from `{{to}}`: write `import type`.',
        outside: 'src may not import {{to}}, which is not part of the package.',
        builtin: 'Layer `{{from}}` may not import Node built-in `{{to}}`.',
        package: 'Layer `{{from}}` may not import package `{{to}}`.',
      },
    },
    create(context) {
      const file = toPosix(relative(sourceRoot, context.filename));
      if (file.startsWith('../')) return {};
      const from = layerOf(file);
      const check = (node, specifier, typeOnly) => {
        const problem = judge(sourceRoot, context.filename, from, specifier, typeOnly);
        if (problem !== undefined) context.report({ node, ...problem });
      };
      return {
        Program(node) {
          if (from === undefined) context.report({ node, messageId: 'unknown', data: { file } });
        },
        ImportDeclaration: (node) => check(node, node.source.value, isTypeOnly(node, 'importKind')),
        ExportNamedDeclaration: (node) => {
          if (node.source) check(node, node.source.value, isTypeOnly(node, 'exportKind'));
        },
        ExportAllDeclaration: (node) => check(node, node.source.value, node.exportKind === 'type'),
        ImportExpression: (node) => {
          if (typeof node.source.value === 'string') check(node, node.source.value, false);
        },
        TSImportType: (node) => check(node, node.source?.value ?? node.argument.literal.value, true),
        TSExternalModuleReference: (node) => check(node, node.expression.value, false),
      };
    },
  };
}

function judge(sourceRoot, filename, from, specifier, typeOnly) {
  if (from === undefined) return undefined;
  const layer = LAYERS[from];
  if (!specifier.startsWith('.')) return judgePackage(from, layer, specifier);
  const target = toPosix(relative(sourceRoot, resolve(dirname(filename), specifier)));
  if (target.startsWith('../')) return problemOf('outside', from, specifier);
  const to = layerOf(target);
  if (to === from || isInside(target, from)) return undefined;
  if (layer.imports.some((allowed) => isInside(target, allowed))) return undefined;
  if ((layer.types ?? []).some((allowed) => isInside(target, allowed))) {
    return typeOnly ? undefined : problemOf('typesOnly', from, to ?? target);
  }
  return problemOf('arrow', from, to ?? target);
}

function judgePackage(from, layer, specifier) {
  if (isBuiltin(specifier))
    return layer.builtins === false ? problemOf('builtin', from, specifier) : undefined;
  const name = specifier.split('/', specifier.startsWith('@') ? 2 : 1).join('/');
  const forbidden = layer.packages !== undefined && !layer.packages.includes(name);
  return forbidden ? problemOf('package', from, name) : undefined;
}

function problemOf(messageId, from, to) {
  return { messageId, data: { from, to } };
}

/** `import type …`, or every name in the braces carries `type`. */
function isTypeOnly(node, kind) {
  if (node[kind] === 'type') return true;
  return node.specifiers.length > 0 && node.specifiers.every((specifier) => specifier[kind] === 'type');
}

function layerOf(file) {
  const fitting = Object.keys(LAYERS).filter((layer) => isInside(file, layer));
  return fitting.sort((a, b) => b.length - a.length)[0];
}

/** Whether a file is in a folder, or is the module of that name (`infra/config` is `infra/config.ts` and `infra/config-file.ts` too). */
function isInside(file, entry) {
  if (file.startsWith(`${entry}/`)) return true;
  return (
    entry.includes('/') && /^(?:-[a-z-]+)?\.[jt]s$/.test(file.slice(entry.length)) && file.startsWith(entry)
  );
}

function toPosix(path) {
  return path.split(sep).join('/');
}
