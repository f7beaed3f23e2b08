/** The JSON Schemas that readers of events have, and whether an event is as they say. */
import { readFileSync } from 'node:fs';
import { Ajv2020, type ValidateFunction } from 'ajv/dist/2020.js';
import { EVENT_TYPES, type CloudEvent, type EventType } from '../../src/core/events.js';

const FOLDER = new URL('../../docs/events/', import.meta.url);
const DATE_TIME = /^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}\.\d{3}Z$/;

const ajv = new Ajv2020({ strict: true, allErrors: true, allowUnionTypes: true });
ajv.addFormat('date-time', DATE_TIME);

const validators = new Map<EventType, ValidateFunction>(
  EVENT_TYPES.map((type) => [type, ajv.compile(schemaOf(type))]),
);

export function schemaOf(type: EventType): { $id: string; title: string } {
  const text = readFileSync(new URL(`${type}.schema.json`, FOLDER), 'utf8');
  return JSON.parse(text) as { $id: string; title: string };
}

/** What is wrong with the event; empty when nothing is. */
export function faultsOf(event: CloudEvent): string[] {
  const validate = validators.get(event.type);
  if (validate === undefined) return [`there is no schema of ${event.type}`];
  if (validate(event)) return [];
  return (validate.errors ?? []).map(({ instancePath, message }) => `${instancePath} ${message}`);
}
