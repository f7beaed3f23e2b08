/** The official download, against a proxy that stands in for the internet: TLS, redirects and archives are real. */
import { execFile, execFileSync } from 'node:child_process';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { createServer as createProxy } from 'node:http';
import type { Server } from 'node:http';
import { createServer } from 'node:https';
import { connect } from 'node:net';
import type { AddressInfo, Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect, test } from 'vitest';

const HOSTS = ['github.com', 'objects.githubusercontent.com', 'temporal.download', 'dl.min.io'];
const PROVISION = fileURLToPath(new URL('../../src/dev/provision.ts', import.meta.url));

let root: string;
let web: Server;
let proxy: Server;
const tunnels = new Set<Socket>();
const asked: string[] = [];

beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), 'longshore-download-'));
  const names = HOSTS.map((host) => `DNS:${host}`).join(',');
  const pair = ['-keyout', join(root, 'key.pem'), '-out', join(root, 'cert.pem')];
  const request = ['req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-days', '1', '-subj', '/CN=test'];
  execFileSync('openssl', [...request, '-addext', `subjectAltName=${names}`, ...pair], { stdio: 'ignore' });
  await mkdir(join(root, 'versitygw_wrapped'));
  await writeFile(join(root, 'versitygw_wrapped', 'versitygw'), '#!/bin/sh\necho "Version  : downloaded"\n');
  execFileSync('tar', ['-czf', join(root, 'gateway.tar.gz'), '-C', root, 'versitygw_wrapped']);
  const archive = await readFile(join(root, 'gateway.tar.gz'));

  const options = {
    key: await readFile(join(root, 'key.pem')),
    cert: await readFile(join(root, 'cert.pem')),
  };
  web = createServer(options, (incoming, answer) => {
    const url = `${incoming.headers.host}${incoming.url}`;
    asked.push(url);
    if (url.startsWith('github.com/versity/')) {
      answer.writeHead(302, { location: 'https://objects.githubusercontent.com/gateway' }).end();
    } else if (url === 'objects.githubusercontent.com/gateway') answer.end(archive);
    else if (url.startsWith('dl.min.io/'))
      answer.writeHead(302, { location: 'http://dl.min.io/plain' }).end();
    else answer.writeHead(404).end();
  });
  await new Promise<void>((resolve) => web.listen(0, '127.0.0.1', resolve));
  proxy = createProxy();
  proxy.on('connect', (_request, near: Socket) => {
    const far = connect((web.address() as AddressInfo).port, '127.0.0.1', () => {
      near.write('HTTP/1.1 200 OK\r\n\r\n');
      near.pipe(far).pipe(near);
    });
    for (const socket of [near, far]) {
      tunnels.add(socket);
      // A client that leaves is no failure here.
      socket.on('error', () => undefined);
    }
  });
  await new Promise<void>((resolve) => proxy.listen(0, '127.0.0.1', resolve));
});

afterAll(async () => {
  tunnels.forEach((socket) => socket.destroy());
  await Promise.all([web, proxy].map((server) => new Promise((resolve) => server.close(resolve))));
  await rm(root, { recursive: true, force: true });
});

/** In a process of its own, since trust in a certificate is given to a process at its start. */
async function provision(tool: string): Promise<{ path?: string; error?: string; lines: string[] }> {
  const program = `
    import { provision } from ${JSON.stringify(PROVISION)};
    const lines = [];
    const result = await provision(${JSON.stringify(tool)}, { env: process.env, log: (line) => lines.push(line) }).then(
      (path) => ({ path }), (error) => ({ error: error.message }));
    console.log(JSON.stringify({ ...result, lines }));`;
  const { stdout } = await promisify(execFile)(
    process.execPath,
    ['--import', 'tsx', '--input-type=module', '--eval', program],
    {
      env: {
        PATH: '/usr/bin:/bin',
        HTTPS_PROXY: `http://127.0.0.1:${(proxy.address() as AddressInfo).port}`,
        NODE_EXTRA_CA_CERTS: join(root, 'cert.pem'),
        LONGSHORE_CACHE_DIR: join(root, 'cache'),
      },
    },
  );
  return JSON.parse(stdout) as { path?: string; error?: string; lines: string[] };
}

test('an archive is followed through a redirect, unpacked and run once before it is kept', async () => {
  const { path, lines } = await provision('versitygw');
  expect(path).toMatch(/cache\/bin\/versitygw-v[\d.]+\/versitygw$/);
  expect(execFileSync(path ?? '', { encoding: 'utf8' })).toContain('downloaded');
  expect(asked.at(-1)).toBe('objects.githubusercontent.com/gateway');
  expect(lines.at(-1)).toMatch(/^download versitygw .*: done after \d+ s$/);
});

test('the second address is asked when the first has nothing, and the failure says what each answered', async () => {
  const { error } = await provision('temporal');
  expect(error).toContain('github.com: status 404; temporal.download: status 404');
  expect(asked.some((url) => url.startsWith('temporal.download/cli/archive/'))).toBe(true);
});

test('a redirect out of https is refused', async () => {
  const { error } = await provision('minio');
  expect(error).toContain('refuses to leave https');
  expect(asked).not.toContain('dl.min.io/plain');
});
