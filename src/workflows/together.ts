/** Lanes that end together. */
import { CancellationScope } from '@temporalio/workflow';

/** Runs all at once. The first failure cancels the others, and is thrown once they have ended. */
export async function failTogether(tasks: (() => Promise<void>)[]): Promise<void> {
  const scope = new CancellationScope();
  let first: { error: unknown } | undefined;
  await scope.run(() =>
    Promise.all(
      tasks.map((task) =>
        task().catch((error: unknown) => {
          first ??= { error };
          scope.cancel();
        }),
      ),
    ),
  );
  if (first !== undefined) throw first.error;
}
