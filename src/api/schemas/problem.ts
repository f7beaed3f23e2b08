/** What every refusal and failure looks like. */
import * as z from 'zod';

export const ProblemSchema = z
  .object({
    type: z.string().meta({ description: '`urn:longshore:problem:` and the code' }),
    title: z.string(),
    status: z.int().min(400).max(599),
    detail: z.string(),
    code: z.string().meta({ description: 'Stable; docs/api.md lists them' }),
    hint: z.string().meta({ description: 'What a person can do' }),
    instance: z.string().meta({ description: 'The path that was asked for' }),
    errors: z
      .array(z.object({ field: z.string(), message: z.string() }))
      .optional()
      .meta({ description: 'What the schema of the request refused, field by field' }),
    missing: z
      .array(z.int())
      .optional()
      .meta({ description: 'Chunks that a session has not received, from 0; at most 100 of them' }),
    missing_count: z.int().optional().meta({ description: 'How many there are in all' }),
    surplus: z.array(z.int()).optional().meta({ description: 'Chunks beyond the end' }),
  })
  .meta({ id: 'Problem' });

export type Problem = z.infer<typeof ProblemSchema>;

const TITLES = {
  400: 'The request is not as it must be',
  401: 'An API key is missing or wrong',
  403: 'The API key has no grant for it, or the page that asks is a stranger',
  404: 'There is no such thing, or not for this API key',
  409: 'It belongs to another input, or its state does not allow it',
  413: 'The body is too large',
  415: 'The body is not JSON',
  422: 'Each field is right, but not all of them together',
  429: 'Too many requests; see Retry-After',
  503: 'Temporal or PostgreSQL does not answer; see Retry-After',
} as const;

type Status = keyof typeof TITLES;

const problem = (description: string) => ({
  description,
  content: { 'application/problem+json': { schema: ProblemSchema } },
});

const READ: readonly Status[] = [400, 401, 403, 404, 429, 503];
const WRITE: readonly Status[] = [...READ, 409, 413, 415, 422];

function responses<T extends z.ZodType>(schema: T, description: string, statuses: readonly Status[]) {
  return {
    200: { description, content: { 'application/json': { schema } } },
    ...Object.fromEntries(statuses.map((status) => [status, problem(TITLES[status])])),
    default: problem('Any other failure'),
  };
}

/** Schemas of all answers of a route that reads. */
export const reads = <T extends z.ZodType>(schema: T, description: string) =>
  responses(schema, description, READ);

/** Schemas of all answers of a route that changes something. */
export const writes = <T extends z.ZodType>(schema: T, description: string) =>
  responses(schema, description, WRITE);

/** One event, as clients see it. */
const EventSchema = z
  .object({ event: z.enum(['progress', 'end', 'error']), data: z.string().meta({ description: 'JSON' }) })
  .meta({ id: 'Event' });

export const eventStream = (description: string) => ({
  200: { description, content: { 'text/event-stream': { schema: EventSchema } } },
  ...Object.fromEntries(READ.map((status) => [status, problem(TITLES[status])])),
  default: problem('Any other failure'),
});
