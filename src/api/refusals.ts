/** Refusals that mean something narrower to a caller of the API than where they come from. */
import { LongshoreError } from '../core/errors.js';

/** The schema has looked at each field: what is refused now is their combination. Throws Contradictory for InvalidInput. */
export async function sensible<T>(step: () => T | Promise<T>): Promise<T> {
  try {
    return await step();
  } catch (error) {
    if (!isInvalid(error)) throw error;
    throw new LongshoreError('Contradictory', error.message, { op: error.op, key: error.key, cause: error });
  }
}

/** A cursor that no list has answered names a page that is not there. Throws NotFound for InvalidInput. */
export async function page<T>(cursor: string | undefined, list: () => Promise<T>): Promise<T> {
  try {
    return await list();
  } catch (error) {
    if (cursor === undefined || !isInvalid(error)) throw error;
    throw new LongshoreError('NotFound', 'the cursor names no page', {
      op: error.op,
      cause: error,
      hint: 'Give `next_cursor` of the page before as it is, with the same filters.',
    });
  }
}

function isInvalid(error: unknown): error is LongshoreError {
  return error instanceof LongshoreError && error.code === 'InvalidInput';
}
