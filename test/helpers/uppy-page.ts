/** A page with Uppy, as browser tests drive it: `add`, `start`, `goOn` after a reload, and what was `seen`. */

/** `imports` and `plugin` are the sender's; `plugin` has `uppy`, `seen` and `asked` (the address's query) at hand. */
export function uppyPage(imports: string, plugin: string): string {
  return `
import Uppy from '@uppy/core';
import GoldenRetriever from '@uppy/golden-retriever';
${imports}

const asked = new URLSearchParams(location.search);
const uppy = new Uppy({ id: 'longshore' });
const seen = {
  restored: false, complete: 0, errors: [] as string[], answers: [] as string[], parts: [] as number[],
};
${plugin}
const room = 1024 * 1024 * 1024;
uppy.use(GoldenRetriever, { indexedDB: { maxFileSize: room, maxTotalSize: room } });
uppy.on('restored', () => { seen.restored = true; });
uppy.on('upload-error', (_file, error) => { seen.errors.push(String(error)); });
uppy.on('complete', (result) => { seen.complete += result.successful.length; });

async function add(name: string, size: number): Promise<string> {
  const bytes = new Uint8Array(size);
  for (let at = 0; at < size; at += 65536) crypto.getRandomValues(bytes.subarray(at, at + 65536));
  uppy.addFile({ name, type: 'application/x-test', data: new File([bytes], name, { type: 'application/x-test' }) });
  const digest = new Uint8Array(await crypto.subtle.digest('SHA-256', bytes));
  return [...digest].map((byte) => byte.toString(16).padStart(2, '0')).join('');
}

function goOn(): void {
  if (uppy.getState().recoveredState) uppy.emit('restore-confirmed');
  else void uppy.upload();
}

Object.assign(globalThis, { seen, uppy, add, goOn, start: () => void uppy.upload() });
`;
}
