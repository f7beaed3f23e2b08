import { once } from 'node:events';
import { connect, createServer } from 'node:net';
import type { AddressInfo, Socket } from 'node:net';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { isAlive } from '../../src/dev/identity.js';
import { forkNullSink } from '../helpers/null-sink-process.js';
import { startProcess, withSchema } from '../helpers/processes.js';
import { startTcpProxy } from '../helpers/tcp-proxy.js';
import type { TcpProxy } from '../helpers/tcp-proxy.js';
import { eventually } from '../helpers/wait.js';

describe('the TCP proxy', () => {
  const echo = createServer((socket) => void socket.on('error', () => undefined).pipe(socket));
  let proxy: TcpProxy;

  beforeEach(async () => {
    echo.listen(0, '127.0.0.1');
    await once(echo, 'listening');
    proxy = await startTcpProxy('127.0.0.1', (echo.address() as AddressInfo).port);
  });

  afterEach(async () => {
    await proxy.close();
    echo.close();
    await once(echo, 'close');
  });

  async function open(): Promise<Socket> {
    const socket = connect(proxy.port, '127.0.0.1');
    await once(socket, 'connect');
    return socket;
  }

  async function roundTrip(socket: Socket): Promise<string> {
    socket.write('hello');
    const [bytes] = (await once(socket, 'data')) as [Buffer];
    return bytes.toString();
  }

  it('carries bytes, resets and refuses while down, and is back on the same port', async () => {
    const socket = await open();
    expect(await roundTrip(socket)).toBe('hello');
    const { port } = proxy;
    const reset = once(socket, 'close');
    await Promise.all([proxy.down(), expect(reset).rejects.toMatchObject({ code: 'ECONNRESET' })]);
    await expect(open()).rejects.toMatchObject({ code: 'ECONNREFUSED' });
    await proxy.up();
    expect(proxy.port).toBe(port);
    const again = await open();
    expect(await roundTrip(again)).toBe('hello');
    again.destroy();
  });

  it('stalls open and new connections, and lets go', async () => {
    const socket = await open();
    expect(await roundTrip(socket)).toBe('hello');
    proxy.stall();
    const late = await open();
    await eventually(() => proxy.accepted === 2);
    socket.write('a');
    late.write('b');
    const moved = once(socket, 'data').then(() => 'moved');
    const waited = new Promise((resolve) => setTimeout(resolve, 200, 'still'));
    expect(await Promise.race([moved, waited])).toBe('still');
    proxy.resume();
    expect(await moved).toBe('moved');
    expect(String((await once(late, 'data'))[0])).toBe('b');
    socket.destroy();
    late.destroy();
  });
});

describe('processes', () => {
  it('the null sink runs in a process of its own and tells what it holds', async () => {
    const sink = await forkNullSink();
    await fetch(`${sink.endpoint}/b/k`, {
      method: 'PUT',
      body: 'four',
      headers: { 'x-amz-checksum-crc32': 'AAAAAA==' },
    });
    expect((await sink.state()).objects.get('b/k')).toMatchObject({ size: 4, crc32: 'AAAAAA==' });
    await sink.close();
    expect(isAlive(sink.pid)).toBe(false);
  });

  it('said() waits for output, and fails at once when the process ends without it', async () => {
    const script = "console.log('ready'); setInterval(() => {}, 1000)";
    const child = startProcess(process.execPath, ['-e', script], {}, 'child');
    await child.said(/ready/);
    const hopeless = child.said(/never/, { timeout: 30_000 });
    const [ended] = await Promise.all([
      child.kill(),
      expect(hopeless).rejects.toThrow('ended before it said'),
    ]);
    expect(ended.signal).toBe('SIGKILL');
  });

  it('eventually() gives the value, and the last error as its cause', async () => {
    let tries = 0;
    expect(await eventually(() => (++tries > 2 ? tries : undefined), { interval: 1 })).toBe(3);
    const failing = eventually(() => Promise.reject(new Error('why')), {
      timeout: 20,
      interval: 1,
      what: 'it',
    });
    await expect(failing).rejects.toThrow('it was not met within 20 ms: why');
  });

  it('withSchema() makes sessions see one schema', () => {
    expect(new URL(withSchema('postgres://u:p@h:1/d', 's')).searchParams.get('options')).toBe(
      '-c search_path=s',
    );
  });
});
