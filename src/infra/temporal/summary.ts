/** Temporal takes summaries of up to 400 bytes. */
export function summarize(text: string): string {
  const bytes = Buffer.from(text);
  return bytes.length <= 400
    ? text
    : `${bytes
        .subarray(0, 390)
        .toString('utf8')
        .replace(/\uFFFD+$/, '')}…`;
}
