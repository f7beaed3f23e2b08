/** Where the time of one upload went, from the time stamps of its workflow's history. */
import type { WorkflowHandle } from '@temporalio/client';
import type { Measured } from './measure.js';

type History = Awaited<ReturnType<WorkflowHandle['fetchHistory']>>;
export type HistoryEvent = NonNullable<History['events']>[number];

/** Activities whose work is S3's: what is left of the whole is the price of process starts and of Temporal. */
const S3_ACTIVITIES = ['createMultipartUpload', 'uploadParts', 'completeMultipartUpload', 'verifyObject'];

export interface Span {
  name: string;
  from: number;
  to: number;
}

/** The phases follow one another without a gap, so they add up to the whole. Milliseconds. */
export function phasesOf(
  { startedAt, wallMs }: Measured,
  result: { seconds: number; at: number },
  events: readonly HistoryEvent[],
): { phases: Record<string, number>; overhead: number } {
  const spans = activitySpans(events);
  const began = timeOf(events[0]);
  const ended = timeOf(events.at(-1));
  const running = result.at - result.seconds * 1000;
  const parts = spans.filter(({ name }) => name === 'uploadParts');
  const sent = Math.max(...parts.map(({ to }) => to));
  const marks: [string, number][] = [
    ['process and imports', running],
    ['connect and start', began],
    ['until first byte', Math.min(...parts.map(({ from }) => from))],
    ['transfer', sent],
    ['complete', endOf(spans, 'completeMultipartUpload')],
    ['verify', endOf(spans, 'verifyObject')],
    ['record', ended],
    ['delivery', result.at],
    ['exit', startedAt + wallMs],
  ];
  let last = startedAt;
  const phases = marks.map(([name, at]): [string, number] => {
    const took = at - last;
    last = at;
    return [name, took];
  });
  const s3 = spans.filter(({ name }) => S3_ACTIVITIES.includes(name));
  const busy = covered(s3);
  return { phases: Object.fromEntries(phases), overhead: (wallMs - busy) / wallMs };
}

function endOf(spans: readonly Span[], name: string): number {
  const span = spans.findLast((each) => each.name === name);
  if (span === undefined) throw new Error(`the history has no ${name} that completed`);
  return span.to;
}

export function activitySpans(events: readonly HistoryEvent[]): Span[] {
  const scheduled = new Map<number, string>();
  const started = new Map<number, number>();
  const spans: Span[] = [];
  for (const event of events) {
    const { activityTaskScheduledEventAttributes: asked, activityTaskStartedEventAttributes: taken } = event;
    const done = event.activityTaskCompletedEventAttributes;
    if (asked) scheduled.set(Number(event.eventId), asked.activityType?.name ?? '');
    else if (taken) started.set(Number(taken.scheduledEventId), timeOf(event));
    else if (done) {
      const id = Number(done.scheduledEventId);
      spans.push({
        name: scheduled.get(id) ?? '',
        from: started.get(id) ?? timeOf(event),
        to: timeOf(event),
      });
    }
  }
  return spans;
}

/** Time in which at least one of them was at work. */
function covered(spans: readonly Span[]): number {
  let until = -Infinity;
  let sum = 0;
  for (const { from, to } of [...spans].sort((a, b) => a.from - b.from)) {
    sum += Math.max(0, to - Math.max(from, until));
    until = Math.max(until, to);
  }
  return sum;
}

export function timeOf(event: HistoryEvent | undefined): number {
  const time = event?.eventTime;
  if (!time) throw new Error('the history ends too early');
  return Number(time.seconds) * 1000 + (time.nanos ?? 0) / 1e6;
}

/** The same of a job: without a gap from the spawn of the command to its exit. Milliseconds. */
export function jobPhasesOf(
  { startedAt, wallMs }: Measured,
  events: readonly HistoryEvent[],
): Record<string, number> {
  const spans = activitySpans(events);
  const moves = spans.filter(({ name }) => name === 'uploadFiles');
  const scans = spans.filter(({ name }) => name === 'scanFolder');
  const ended = timeOf(events.at(-1));
  const lastMoved = moves.length === 0 ? ended : Math.max(...moves.map(({ to }) => to));
  const marks: [string, number][] = [
    ['until the workflow', timeOf(events[0])],
    ['until the scan', Math.min(ended, ...scans.map(({ from }) => from))],
    ['until the first batch', Math.min(ended, ...moves.map(({ from }) => from))],
    ['until the last batch ended', lastMoved],
    ['record', ended],
    ['delivery and exit', startedAt + wallMs],
  ];
  let last = startedAt;
  return Object.fromEntries(
    marks.map(([name, at]) => {
      const took = at - last;
      last = at;
      return [name, took];
    }),
  );
}
