import { join } from 'node:path';
import { defineConfig } from 'eslint/config';
import tseslint from 'typescript-eslint';
import { layersRule } from './scripts/eslint-layers.mjs';

const root = import.meta.dirname;
const SIZE = { skipBlankLines: true, skipComments: true };

const environment = {
  selector: "MemberExpression[object.name='process'][property.name='env']",
  message: 'Only src/infra/config*.ts, src/dev and the CLI’s main read the environment; take a Config.',
};

const nodeGlobals = Object.fromEntries(
  [
    'process',
    'console',
    'fetch',
    'setTimeout',
    'clearTimeout',
    'setInterval',
    'clearInterval',
    'Buffer',
    'performance',
    'URL',
  ].map((name) => [name, 'readonly']),
);

export default defineConfig(
  {
    ignores: [
      'dist/',
      'node_modules/',
      '.longshore/',
      'coverage/',
      'bench/results/',
      'test/replay/histories/',
    ],
  },
  { linterOptions: { reportUnusedDisableDirectives: 'error' } },
  {
    files: ['**/*.{ts,js,mjs}'],
    rules: {
      'no-empty': ['error', { allowEmptyCatch: false }],
      'no-var': 'error',
      'prefer-const': 'error',
      'no-throw-literal': 'error',
      eqeqeq: ['error', 'always'],
    },
  },
  {
    files: ['**/*.{js,mjs}'],
    languageOptions: { globals: nodeGlobals },
    rules: { 'no-undef': 'error', 'no-unused-vars': 'error' },
  },
  {
    files: ['**/*.ts'],
    extends: [tseslint.configs.recommendedTypeChecked],
    languageOptions: { parserOptions: { projectService: true, tsconfigRootDir: root } },
    rules: {
      '@typescript-eslint/no-floating-promises': 'error',
      '@typescript-eslint/no-misused-promises': 'error',
      '@typescript-eslint/consistent-type-imports': ['error', { fixStyle: 'separate-type-imports' }],
      '@typescript-eslint/consistent-type-exports': 'error',
      '@typescript-eslint/switch-exhaustiveness-check': [
        'error',
        { considerDefaultExhaustiveForUnions: true },
      ],
      '@typescript-eslint/no-explicit-any': 'error',
      '@typescript-eslint/return-await': ['error', 'error-handling-correctness-only'],
      '@typescript-eslint/no-unused-vars': ['error', { argsIgnorePattern: '^_', varsIgnorePattern: '^_' }],
      '@typescript-eslint/restrict-template-expressions': [
        'error',
        { allowNumber: true, allowBoolean: true, allowNullish: true },
      ],
      // A method of an interface is async in one implementation and not in the next.
      '@typescript-eslint/require-await': 'off',
      'no-restricted-imports': [
        'error',
        {
          paths: [
            { name: 'node:process', importNames: ['env', 'default'], message: 'Use the global `process`.' },
          ],
        },
      ],
    },
  },
  {
    files: ['src/**/*.ts'],
    plugins: { longshore: { rules: { layers: layersRule(join(root, 'src')) } } },
    rules: {
      'longshore/layers': 'error',
      'no-restricted-syntax': ['error', environment],
      'max-lines': ['error', { max: 320, ...SIZE }],
      'max-lines-per-function': ['error', { max: 60, ...SIZE }],
      'no-console': 'error',
    },
  },
  {
    files: ['src/infra/config*.ts', 'src/dev/**/*.ts', 'src/client/cli/main.ts'],
    rules: { 'no-restricted-syntax': 'off' },
  },
  { files: ['src/client/cli/**/*.ts', 'src/dev/**/*.ts'], rules: { 'no-console': 'off' } },
  {
    files: ['src/core/**/*.ts', 'src/workflows/**/*.ts'],
    rules: {
      'no-restricted-globals': [
        'error',
        ...['Buffer', 'process', 'fetch', 'require', '__dirname', 'performance', 'navigator'].map((name) => ({
          name,
          message: 'Workflow code runs in a sandbox that has nothing of Node’s.',
        })),
      ],
    },
  },
  {
    files: ['test/**/*.ts', 'bench/**/*.ts'],
    rules: { '@typescript-eslint/unbound-method': 'off' },
  },
);
