/** Temporal: reached, its namespace, our search attributes, and who polls our queues. */
import type { Connection } from '@temporalio/client';
import { QUEUES, rootQueue } from '../../core/ids.js';
import { SEARCH_ATTRIBUTES } from '../../core/states.js';
import type { Config } from '../../infra/config.js';
import { connectTemporal } from '../../infra/temporal/connection.js';
import { missingSearchAttributes } from '../../infra/temporal/search-attributes.js';
import { failed, fromError, ok, skipped, unreachable, within, type Check } from './checks.js';
import { duration } from './text.js';

const PART = 'Temporal';
const LIMIT_MS = 8_000;

export async function checkTemporal(config: Config): Promise<Check[]> {
  const { temporal } = config;
  let connection: Connection;
  try {
    connection = await within(LIMIT_MS, PART, connectTemporal(temporal));
  } catch (error) {
    const fix = 'Start it (`longshore dev`), or correct --temporal-address (TEMPORAL_ADDRESS).';
    const why = 'Temporal is not reached';
    return [
      fromError(PART, error, fix),
      ...['Namespace', 'Search attributes', 'Workers'].map((part) => skipped(part, why)),
    ];
  }
  try {
    return [
      ok(PART, temporal.address + (temporal.ui === undefined ? '' : `, Web UI ${temporal.ui}`)),
      ...(await inside(config, connection)),
    ];
  } finally {
    await connection.close();
  }
}

async function inside(config: Config, connection: Connection): Promise<Check[]> {
  const { namespace } = config.temporal;
  const [named, attributes, workers] = await Promise.all([
    checkNamespace(connection, namespace),
    checkAttributes(connection, namespace),
    checkWorkers(config, connection),
  ]);
  return [named, attributes, ...workers];
}

async function checkNamespace(connection: Connection, namespace: string): Promise<Check> {
  const part = 'Namespace';
  try {
    const answer = await within(LIMIT_MS, PART, connection.workflowService.describeNamespace({ namespace }));
    const seconds = Number(answer.config?.workflowExecutionRetentionTtl?.seconds ?? 0);
    return ok(
      part,
      seconds === 0 ? namespace : `${namespace}, remembers ended uploads for ${duration(seconds)}`,
    );
  } catch (error) {
    const fix = `Create it (\`temporal operator namespace create -n ${namespace}\`), or correct --namespace.`;
    return fromError(part, error, fix);
  }
}

async function checkAttributes(connection: Connection, namespace: string): Promise<Check> {
  const part = 'Search attributes';
  try {
    const missing = await within(LIMIT_MS, PART, missingSearchAttributes(connection, namespace));
    if (missing.length === 0) return ok(part, Object.values(SEARCH_ATTRIBUTES).join(', '));
    return failed(part, `missing: ${missing.join(', ')}`, 'Run `longshore migrate`.');
  } catch (error) {
    return fromError(
      part,
      error,
      'Let the credentials list search attributes, or run `longshore migrate` with ones that may.',
    );
  }
}

/** A poll lasts up to a minute, so a poller that was seen longer ago than this is gone. */
const ALIVE_MS = 70_000;
/** `temporal.api.enums.v1.TaskQueueType` */
const WORKFLOW = 1;
const ACTIVITY = 2;

async function checkWorkers(config: Config, connection: Connection): Promise<Check[]> {
  const queues = [
    { queue: QUEUES.orchestration, type: WORKFLOW },
    { queue: QUEUES.transfer, type: ACTIVITY },
    ...Object.keys(config.roots).map((root) => ({ queue: rootQueue(root), type: ACTIVITY })),
  ];
  return await Promise.all(queues.map(({ queue, type }) => checkQueue(config, connection, queue, type)));
}

async function checkQueue(
  config: Config,
  connection: Connection,
  queue: string,
  type: number,
): Promise<Check> {
  const part = `Queue ${queue}`;
  const ask = { namespace: config.temporal.namespace, taskQueue: { name: queue }, taskQueueType: type };
  try {
    const { pollers } = await within(LIMIT_MS, PART, connection.workflowService.describeTaskQueue(ask));
    const living = (pollers ?? []).filter(({ lastAccessTime }) => {
      return Date.now() - Number(lastAccessTime?.seconds ?? 0) * 1000 < ALIVE_MS;
    });
    if (living.length === 0) return unreachable(part, 'no worker polls it', fixOf(queue));
    const names = [...new Set(living.map(({ identity }) => identity ?? '?'))];
    return ok(
      part,
      `${names.length === 1 ? 'one worker' : `${names.length} workers`}: ${names.slice(0, 3).join(', ')}${names.length > 3 ? ', …' : ''}`,
    );
  } catch (error) {
    return fromError(part, error);
  }
}

function fixOf(queue: string): string {
  const root = queue.includes('@') ? ', on a machine that has this root' : '';
  return `Start one: \`longshore worker\`${root} (or \`longshore worker --queues ${queue}\`).`;
}
