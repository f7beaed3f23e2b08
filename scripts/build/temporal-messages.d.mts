interface Entry {
  fields?: Record<string, { type: string }>;
  values?: Record<string, number>;
  methods?: Record<string, { requestType: string; responseType: string }>;
  nested?: Record<string, Entry>;
}

/** `nested` itself, without what no call and no word leads to. */
export function spoken(
  nested: Record<string, Entry>,
  vocabulary: { words: Set<string>; calls: Set<string> },
): Record<string, Entry>;
