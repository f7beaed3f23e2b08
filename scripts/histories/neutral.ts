/** A recorded history without what only says where it was recorded. Replay looks at none of it. */
import { homedir, hostname, userInfo } from 'node:os';
import { withPayloadsDecoded } from '../../test/helpers/histories.js';

interface Json {
  [name: string]: unknown;
}

const NEUTRAL: Readonly<Record<string, string>> = { identity: 'recorder', stackTrace: '' };

/** One event a line. Throws when something of this machine is left. */
export function neutralHistory(text: string, pid: number): string {
  const me = `${pid}@${hostname()}`;
  const { events } = JSON.parse(text) as { events: Json[] };
  const lines = events.map((event) => JSON.stringify(event, neutral).replaceAll(me, 'recorder'));
  const found = [me, hostname(), homedir(), process.cwd(), `@${userInfo().username}`].filter((trace) =>
    withPayloadsDecoded(lines.join('\n')).includes(trace),
  );
  if (found.length > 0) throw new Error(`the history still names ${found.join(', ')}`);
  return `{"events":[\n${lines.join(',\n')}\n]}\n`;
}

function neutral(name: string, value: unknown): unknown {
  return typeof value === 'string' ? (NEUTRAL[name] ?? value) : value;
}
