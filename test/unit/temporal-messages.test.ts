import { expect, it } from 'vitest';
import { spoken } from '../../scripts/build/temporal-messages.mjs';

const message = (fields: Record<string, string> = {}) => ({
  fields: Object.fromEntries(Object.entries(fields).map(([name, type]) => [name, { type }])),
});

function api() {
  return {
    temporal: {
      nested: {
        Service: {
          methods: {
            StartThing: { requestType: 'StartRequest', responseType: 'v1.StartAnswer' },
            StopThing: { requestType: 'StopRequest', responseType: '.temporal.StopAnswer' },
          },
        },
        StartRequest: message({ what: 'v1.Thing', count: 'int32' }),
        StopRequest: message(),
        StopAnswer: message(),
        Named: message(),
        v1: {
          nested: { Thing: { ...message(), nested: { Kind: { values: { A: 0 } } } }, StartAnswer: message() },
        },
        v2: { nested: { Owner: { ...message(), nested: { Inner: message() } }, Other: message() } },
      },
    },
    coresdk: { nested: { Activation: message({ thing: 'temporal.v1.Thing' }) } },
  };
}

const keysOf = (entry: { nested?: object } | undefined): string[] => Object.keys(entry?.nested ?? {});

it('keeps what calls and words lead to, and nothing else', () => {
  const words = new Set(['Named', 'Inner']);
  const { temporal, coresdk } = spoken(api(), { words, calls: new Set(['startThing']) });
  expect(coresdk).toBeUndefined();
  expect(Object.keys(temporal?.nested?.['Service']?.methods ?? {})).toEqual(['StartThing']);
  expect(keysOf(temporal)).toEqual(['Service', 'StartRequest', 'Named', 'v1', 'v2']);
  expect(keysOf(temporal?.nested?.['v1'])).toEqual(['Thing', 'StartAnswer']);
  // A type that is kept keeps the type it lies in.
  expect(keysOf(temporal?.nested?.['v2'])).toEqual(['Owner']);
});

it('finds a name from the inside out, and from the root with a dot', () => {
  const { temporal } = spoken(api(), { words: new Set(), calls: new Set(['stopThing']) });
  expect(keysOf(temporal)).toContain('StopAnswer');
  expect(keysOf(temporal?.nested?.['v1'])).toEqual([]);
});
