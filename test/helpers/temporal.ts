/** Temporal for tests. Queue names are fixed, so test files keep apart by namespace. */
import { randomUUID } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { Client, Connection, WorkflowNotFoundError } from '@temporalio/client';
import { msToTs } from '@temporalio/common/lib/time.js';
import { NativeConnection } from '@temporalio/worker';
import { SEARCH_ATTRIBUTES } from '../../src/core/states.js';
import { registerSearchAttributes } from '../../src/infra/temporal/search-attributes.js';
import { quietTemporal } from './quiet.js';
import { part, requireBuilt } from './stack.js';
import { eventually } from './wait.js';

export interface TestNamespace {
  namespace: string;
  address: string;
  client: Client;
  /** For workers in the test's own process; made at the first call. */
  nativeConnection(): Promise<NativeConnection>;
  /** Closes the connections; the namespace goes with the server. */
  close(): Promise<void>;
}

/** A fresh namespace with Longshore's search attributes on the shared dev server (or `address`), ready to be used. */
export async function testNamespace(address: string = part('temporal').address): Promise<TestNamespace> {
  const namespace = `t-${randomUUID()}`;
  const connection = await Connection.connect({ address });
  await registerNamespace(connection, namespace);
  let native: Promise<NativeConnection> | undefined;
  return {
    namespace,
    address,
    client: new Client({ connection, namespace }),
    nativeConnection: () => {
      quietTemporal();
      return (native ??= NativeConnection.connect({ address }));
    },
    close: async () => {
      await connection.close();
      if (native !== undefined) await (await native).close();
    },
  };
}

/** What a namespace's retention does in time. The server first writes down how far its queues are, every so often. */
export async function forgetWorkflow(client: Client, workflowId: string): Promise<void> {
  const { workflow, workflowService, options } = client;
  const { namespace } = options;
  await workflow.getHandle(workflowId).result();
  await workflowService.deleteWorkflowExecution({ namespace, workflowExecution: { workflowId } });
  const isForgotten = (): Promise<boolean> =>
    workflow
      .getHandle(workflowId)
      .describe()
      .then(
        () => false,
        (error: unknown) => error instanceof WorkflowNotFoundError,
      );
  await eventually(isForgotten, { timeout: 90_000, what: `forgetting ${workflowId}` });
}

async function registerNamespace(connection: Connection, namespace: string): Promise<void> {
  await connection.workflowService.registerNamespace({
    namespace,
    workflowExecutionRetentionPeriod: msToTs('1 day'),
  });
  // Every service of the server reads the list of namespaces on its own, some time later.
  await eventually(
    async () => {
      await registerSearchAttributes(connection, namespace);
      return true;
    },
    { what: `search attributes of namespace ${namespace}` },
  );
  await eventually(() => isUsable(connection, namespace), {
    timeout: 30_000,
    what: `namespace ${namespace}`,
  });
}

/** Asks the front end with its visibility, history and matching. */
async function isUsable(connection: Connection, namespace: string): Promise<boolean> {
  const { workflowService } = connection;
  await workflowService.countWorkflowExecutions({ namespace, query: `${SEARCH_ATTRIBUTES.state} = 'none'` });
  await workflowService.describeTaskQueue({
    namespace,
    taskQueue: { name: 'orchestration' },
    taskQueueType: 1,
  });
  try {
    await workflowService.describeWorkflowExecution({ namespace, execution: { workflowId: 'none' } });
    return true;
  } catch (error) {
    if (/namespace/i.test(String(error)) && !/workflow/i.test(String(error))) throw error;
    return true;
  }
}

/** The prebuilt bundle, as `Worker.create({ workflowBundle })` takes it. The global setup keeps it up to date. */
export async function workflowBundle(): Promise<{ code: string }> {
  requireBuilt('workflows');
  return { code: await readFile(new URL('../../dist/workflows.js', import.meta.url), 'utf8') };
}
