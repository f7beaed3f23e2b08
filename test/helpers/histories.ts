/**
 * Histories as JSON. Temporal's own converters need one copy of protobufjs in the whole tree, which npm does not lay out
 * beside gRPC's; these need none. Times are therefore seconds and nanoseconds, bytes are base64, enums their full names.
 */
import proto from '@temporalio/proto';

const { History } = proto.temporal.api.history.v1;
export type History = proto.temporal.api.history.v1.IHistory;

export function historyToText(history: History): string {
  return JSON.stringify(
    History.toObject(History.fromObject(history), { longs: String, enums: String, bytes: String }),
  );
}

export function historyFromText(text: string): History {
  return History.fromObject(JSON.parse(text) as Record<string, unknown>);
}

/** To look for words in it: payloads stand in base64 otherwise. */
export function withPayloadsDecoded(text: string): string {
  return text.replace(/"data":"([A-Za-z0-9+/=]*)"/g, (_all, data: string) =>
    Buffer.from(data, 'base64').toString('utf8'),
  );
}
