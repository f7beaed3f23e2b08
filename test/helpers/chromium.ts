/** A real browser, and pages for it: what people’s pages do is tested where they do it. */
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';
import { chromium, type Browser } from 'playwright-core';
import { chromiumProgram } from './chromium-program.js';
import { say } from './test-stack.js';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));

/** It asks nobody about updates, and a root user has no sandbox. */
const ARGS = [
  '--no-sandbox',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
  '--disable-dev-shm-usage',
];

/** Headless; whoever launches it closes it. The first call on a machine may install it, which takes minutes. */
export async function launchChromium(): Promise<Browser> {
  const executablePath = await chromiumProgram(say);
  return await chromium.launch({ executablePath, args: ARGS, headless: true });
}

export interface Page {
  url: string;
  /** As the page’s requests name it. */
  origin: string;
  close(): Promise<void>;
}

/** Serves an empty page on loopback that runs `entrySource`: an ES module that may import the packages of this project. */
export async function servePage(entrySource: string, options: { title?: string } = {}): Promise<Page> {
  const script = await bundle(entrySource);
  const html = `<!doctype html><meta charset="utf-8"><title>${options.title ?? 'page'}</title><body><script src="/page.js"></script>`;
  const files: Readonly<Record<string, { type: string; body: string }>> = {
    '/': { type: 'text/html', body: html },
    '/page.js': { type: 'text/javascript', body: script },
  };
  const server = createServer((request, response) => {
    const file = files[(request.url ?? '').replace(/\?.*$/, '')];
    response.writeHead(file === undefined ? 404 : 200, {
      'content-type': `${file?.type ?? 'text/plain'}; charset=utf-8`,
      'cache-control': 'no-store',
    });
    response.end(file?.body);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  return {
    url: `${origin}/`,
    origin,
    close: async () => {
      const closed = once(server, 'close');
      server.close();
      server.closeAllConnections();
      await closed;
    },
  };
}

async function bundle(source: string): Promise<string> {
  const { outputFiles } = await build({
    stdin: { contents: source, resolveDir: ROOT, sourcefile: 'page.ts', loader: 'ts' },
    bundle: true,
    write: false,
    format: 'iife',
    platform: 'browser',
    target: 'es2022',
    logLevel: 'silent',
  });
  const [file] = outputFiles;
  if (file === undefined) throw new Error('esbuild wrote no page');
  return file.text;
}
