/** The OpenAPI 3.1 document, made from the schemas of the routes, and a page of it that loads nothing from elsewhere. */
import swagger from '@fastify/swagger';
import swaggerUi from '@fastify/swagger-ui';
import type { FastifyInstance } from 'fastify';
import { jsonSchemaTransform, jsonSchemaTransformObject } from 'fastify-type-provider-zod';
import type { OpenAPIV3_1 } from 'openapi-types';
import type { ApiDeps } from '../deps.js';

/** Scripts and styles of our own origin alone, none of them inline. */
const DOCS_CSP = {
  'default-src': ["'none'"],
  'script-src': ["'self'"],
  'style-src': ["'self'"],
  'font-src': ["'self'", 'data:'],
  'img-src': ["'self'", 'data:'],
  'connect-src': ["'self'"],
  'base-uri': ["'none'"],
  'form-action': ["'none'"],
  'frame-ancestors': ["'none'"],
};

export async function openapi(app: FastifyInstance, { config, version }: ApiDeps): Promise<void> {
  const { keysRequired } = config.api;
  await app.register(swagger, {
    openapi: {
      openapi: '3.1.0',
      info: {
        title: 'Longshore',
        version,
        description:
          'Moves folders and objects into S3 and does not lose its place: every upload is a Temporal workflow. ' +
          'Errors are `application/problem+json` with stable codes.',
        license: { name: 'Apache-2.0', identifier: 'Apache-2.0' },
      },
      tags: [
        { name: 'uploads', description: 'Upload jobs: a folder’s way into a bucket' },
        { name: 'objects', description: 'Single objects: a file’s, an address’s or another object’s' },
        { name: 'sessions', description: 'Uploads whose bytes the client sends, chunk by chunk' },
        { name: 'service', description: 'The service itself' },
      ],
      ...(keysRequired && {
        components: { securitySchemes: { apiKey: { type: 'http', scheme: 'bearer' } } },
        security: [{ apiKey: [] }],
      }),
    },
    transform: jsonSchemaTransform,
    transformObject: (document) => pruned(jsonSchemaTransformObject(document) as OpenAPIV3_1.Document),
  });
  await app.register(swaggerUi, {
    routePrefix: '/docs',
    staticCSP: DOCS_CSP,
    uiConfig: { deepLinking: true, docExpansion: 'list', validatorUrl: null },
  });
  app.get('/openapi.json', { schema: { hide: true } }, () => app.swagger());
}

/** Without the schemas that nothing refers to: each is made for requests and for answers, and used for one. */
function pruned(document: OpenAPIV3_1.Document): OpenAPIV3_1.Document {
  const all = document.components?.schemas ?? {};
  const used = new Set<string>();
  const visit = (value: unknown): void => {
    for (const [, name = ''] of JSON.stringify(value).matchAll(/"#\/components\/schemas\/([^"]+)"/g)) {
      if (used.has(name)) continue;
      used.add(name);
      visit(all[name] ?? {});
    }
  };
  visit(document.paths ?? {});
  const schemas = Object.fromEntries(Object.entries(all).filter(([name]) => used.has(name)));
  return { ...document, components: { ...document.components, schemas } };
}
