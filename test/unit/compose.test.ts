import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parse } from 'yaml';
import { describe, expect, it } from 'vitest';
import { z } from 'zod';

const root = join(import.meta.dirname, '../..');
const read = (file: string): string => readFileSync(join(root, file), 'utf8');

/** What Compose's own schema says of the keys that the file uses; any other key is a mistake here. */
const duration = z.string().regex(/^\d+(ms|s|m)$/);
const service = z.strictObject({
  image: z.string().regex(/^[a-z0-9./-]+:[A-Za-z0-9._-]+$/, 'an image with a tag'),
  build: z.string().optional(),
  command: z.array(z.string()).optional(),
  environment: z.record(z.string(), z.string()).optional(),
  ports: z.array(z.string().regex(/^127\.0\.0\.1:\d+:\d+$/, 'a port bound to loopback')).optional(),
  volumes: z.array(z.string()).optional(),
  restart: z.literal('unless-stopped').optional(),
  stop_grace_period: duration.optional(),
  depends_on: z
    .record(
      z.string(),
      z.strictObject({
        condition: z.enum(['service_started', 'service_healthy', 'service_completed_successfully']),
      }),
    )
    .optional(),
  healthcheck: z
    .strictObject({
      test: z.tuple([z.enum(['CMD', 'CMD-SHELL'])], z.string()),
      interval: duration,
      timeout: duration,
      retries: z.number().int().positive(),
    })
    .optional(),
});
const compose = z.object({
  name: z.string(),
  services: z.record(z.string(), service),
  volumes: z.record(z.string(), z.strictObject({})),
});

const file = compose.parse(parse(read('docker-compose.yml'), { merge: true }));
const services = Object.entries(file.services);

describe('docker-compose.yml', () => {
  it('has every part', () => {
    const parts = ['kafka', 'migrate', 'postgres', 'redis', 's3', 'sqs', 'temporal', 'temporal-ui', 'worker'];
    expect(Object.keys(file.services).sort()).toEqual(parts);
  });

  it('pins every image', () => {
    for (const [name, { image }] of services) expect(image, name).not.toMatch(/:latest$/);
  });

  it('publishes no port twice', () => {
    const ports = services.flatMap(([, { ports = [] }]) => ports.map((port) => port.split(':')[1]));
    expect(new Set(ports).size).toBe(ports.length);
  });

  it.each(services)(
    '%s waits for services that are there and can say that they are ready',
    (_, { depends_on = {} }) => {
      for (const [target, { condition }] of Object.entries(depends_on)) {
        const other = file.services[target];
        expect(other, target).toBeDefined();
        if (condition === 'service_healthy') expect(other?.healthcheck, target).toBeDefined();
        if (condition === 'service_completed_successfully') expect(other?.restart, target).toBeUndefined();
      }
    },
  );

  it('declares every named volume, and mounts only files that are there', () => {
    const sources = services.flatMap(([, { volumes = [] }]) =>
      volumes.map((volume) => volume.replace(/\$\{[^}]*\}/, '$').split(':')[0]),
    );
    for (const source of sources) {
      if (source?.startsWith('./') === true) expect(existsSync(join(root, source)), source).toBe(true);
      else if (source !== '$') expect(Object.keys(file.volumes)).toContain(source);
    }
  });

  it('gives the worker the addresses of the services beside it', () => {
    const { environment = {} } = file.services['worker'] ?? {};
    const hosts = ['TEMPORAL_ADDRESS', 'DATABASE_URL', 'AWS_ENDPOINT_URL'].map(
      (name) =>
        /(?:^|@|\/\/)([a-z0-9-]+):\d+/.exec((environment[name] ?? '').replace(/\/\/[^@]*@/, '@'))?.[1],
    );
    expect(hosts).toEqual(['temporal', 'postgres', 's3']);
  });
});

describe('Dockerfile', () => {
  const lines = read('Dockerfile').split('\n');

  it('starts from pinned glibc images and runs as a user who is not root', () => {
    const bases = lines.filter((line) => line.startsWith('FROM '));
    expect(bases).toHaveLength(3);
    for (const base of bases) expect(base).toMatch(/^FROM node:\$\{NODE_VERSION\}-bookworm-slim/);
    expect(lines.find((line) => line.startsWith('ARG NODE_VERSION='))).toMatch(/=20\.(19|[2-9]\d)\.\d+$/);
    expect(lines.filter((line) => line.startsWith('USER ')).at(-1)).toBe('USER node');
  });

  it('copies only what .dockerignore lets in', () => {
    const allowed = read('.dockerignore')
      .split('\n')
      .filter((line) => line.startsWith('!'))
      .map((line) => line.slice(1));
    const copied = lines
      .filter((line) => line.startsWith('COPY ') && !line.includes('--from='))
      .flatMap((line) => line.split(' ').slice(1, -1));
    expect(copied.filter((path) => !allowed.includes(path))).toEqual([]);
    for (const path of copied) expect(existsSync(join(root, path)), path).toBe(true);
  });
});
