/**
 * rehearse.mjs PROGRAM.cjs PROGRAM.cache [ARGUMENT...]: runs a program for a moment and keeps what V8 compiled for it.
 * What it says is not heard, and how it ends does not matter. An argument TEMPORAL stands for the address of a server
 * that answers each gRPC call with an empty message, so that the code around calls is rehearsed too.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http2';
import { createRequire } from 'node:module';
import { pathToFileURL } from 'node:url';
import { Script } from 'node:vm';

const MOMENT_MS = 700;
const EMPTY_MESSAGE = Buffer.alloc(5);

const server = createServer().on('stream', (stream) => {
  stream.on('wantTrailers', () => stream.sendTrailers({ 'grpc-status': '0' }));
  stream.respond({ ':status': 200, 'content-type': 'application/grpc' }, { waitForTrailers: true });
  stream.end(EMPTY_MESSAGE);
});
server.listen(0, '127.0.0.1', () => {
  const [filename, cache, ...args] = process.argv.slice(2);
  const script = new Script(readFileSync(filename, 'latin1'), { filename });
  const given = args.map((arg) => (arg === 'TEMPORAL' ? `127.0.0.1:${server.address().port}` : arg));
  process.argv = [process.execPath, filename, ...given];
  process.on('exit', () => writeFileSync(cache, script.createCachedData()));
  setTimeout(() => process.exit(0), MOMENT_MS);
  const url = pathToFileURL(filename).href;
  script.runInThisContext()(createRequire(url), url);
});
