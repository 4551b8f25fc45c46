import { z } from 'zod';
import { endpoint } from './endpoint.ts';

const health = z.object({ status: z.string(), reason: z.string().optional() });

export const livez = endpoint({
  method: 'GET',
  path: '/livez',
  tag: 'Operations',
  summary: 'Whether the process lives',
  principals: ['public'],
  // Whoever asks ends a process that does not answer, or sends agents elsewhere.
  vital: true,
  response: health,
});
export const readyz = endpoint({
  method: 'GET',
  path: '/readyz',
  tag: 'Operations',
  summary: 'Whether requests should be sent here (503 while draining or without database)',
  principals: ['public'],
  vital: true,
  response: health,
});
export const jwks = endpoint({
  method: 'GET',
  path: '/.well-known/jwks.json',
  tag: 'Operations',
  summary: 'The keys this network signs tokens with',
  principals: ['public'],
  response: z.object({ keys: z.array(z.record(z.string(), z.string())) }),
});
export const openapi = endpoint({
  method: 'GET',
  path: '/openapi.json',
  tag: 'Operations',
  summary: 'This API as OpenAPI 3.1',
  principals: ['public'],
  response: z.record(z.string(), z.json()),
});
