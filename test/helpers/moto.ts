/** moto of PyPI: AWS services that versitygw and MinIO are not, behind their real API. */
import { pickPort } from '../../src/dev/ports.js';
import { startProcess } from './processes.js';
import { pythonProgram } from './python.js';
import { eventually } from './wait.js';

export interface Moto {
  endpoint: string;
  region: string;
  accessKeyId: string;
  secretAccessKey: string;
  close(): Promise<void>;
}

export async function startMoto(): Promise<Moto> {
  const program = await pythonProgram('moto_server', 'moto[server]==5.2.5');
  const port = await pickPort();
  const server = startProcess(program, ['-H', '127.0.0.1', '-p', String(port)], environment(), 'moto');
  const endpoint = `http://127.0.0.1:${port}`;
  try {
    await eventually(
      async () => {
        if (!server.running) throw new Error(`moto ended at its start:\n${server.stderr.slice(-2000)}`);
        return await fetch(`${endpoint}/moto-api/`).then(
          ({ ok }) => ok,
          () => false,
        );
      },
      { timeout: 60_000, what: 'moto' },
    );
  } catch (error) {
    await server.end();
    throw error;
  }
  return {
    ...{ endpoint, region: 'us-east-1', accessKeyId: 'test', secretAccessKey: 'test' },
    close: () => server.end(),
  };
}

function environment(): Record<string, string> {
  const { PATH = '', HOME = '' } = process.env;
  return { PATH, HOME };
}
