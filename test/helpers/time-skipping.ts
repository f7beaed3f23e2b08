/** The Temporal server that skips time: a day of waiting passes in seconds. Each suite starts its own. */
import type { Connection, Client } from '@temporalio/client';
import { TestWorkflowEnvironment } from '@temporalio/testing';
import type { NativeConnection } from '@temporalio/worker';
import { temporal } from '@temporalio/proto';
import { SEARCH_ATTRIBUTES } from '../../src/core/states.js';
import { quietTemporal } from './quiet.js';
import { part } from './stack.js';
import { workflowBundle } from './temporal.js';

const KEYWORD = temporal.api.enums.v1.IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD;

export interface TimeSkipping {
  client: Client;
  connection: Connection;
  nativeConnection: NativeConnection;
  namespace: string;
  bundle: { code: string };
  teardown(): Promise<void>;
}

/** What takes a JVM a third less of a processor to start. */
const LIGHT_JVM = '-XX:TieredStopAtLevel=1 -XX:+UseSerialGC -Xshare:auto';

export async function startTimeSkipping(): Promise<TimeSkipping> {
  process.env['JAVA_TOOL_OPTIONS'] ??= LIGHT_JVM;
  quietTemporal();
  const server = { executable: { type: 'existing-path' as const, path: part('testServer').bin } };
  const env = await started(() => TestWorkflowEnvironment.createTimeSkipping({ server }));
  const searchAttributes = Object.fromEntries(
    Object.values(SEARCH_ATTRIBUTES).map((name) => [name, KEYWORD]),
  );
  await env.connection.operatorService.addSearchAttributes({
    namespace: env.namespace ?? 'default',
    searchAttributes,
  });
  return {
    client: env.client,
    connection: env.connection,
    nativeConnection: env.nativeConnection,
    namespace: env.namespace ?? 'default',
    bundle: await workflowBundle(),
    teardown: () => env.teardown(),
  };
}

/** It is given five seconds to start, which a JVM on a busy machine may not keep. */
async function started<T>(start: () => Promise<T>): Promise<T> {
  for (let left = 10; ; left--) {
    try {
      return await start();
    } catch (error) {
      if (left === 0 || !String(error).includes('did not start within')) throw error;
    }
  }
}
