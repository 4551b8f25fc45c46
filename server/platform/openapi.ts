import type { Endpoint } from '@muster/shared/contract/endpoint';
import { PROBLEMS, type ProblemCode } from '@muster/shared/errors';
import { z } from 'zod';

type Json = Record<string, unknown>;

const METHODS: Endpoint['method'][] = ['GET', 'POST', 'PUT', 'PATCH', 'DELETE'];
const SECURITY = { public: [], key: ['apiKey', 'apiKeyHeader'], agent: ['agentToken'] };
/** What platform/endpoint.ts answers by itself: to anybody, behind a door (whoever the credential says it is), to a body. */
const ANYWHERE: ProblemCode[] = ['internal', 'overloaded', 'storage-unavailable'];
const AT_A_DOOR: ProblemCode[] = [
  'malformed-request',
  'unauthenticated',
  'invalid-api-key',
  'invalid-token',
  'token-revoked',
  'insufficient-scope',
];
/** To the holder of a key, who may come too often; a proof is an agent's. */
const WITH_A_KEY: ProblemCode[] = ['rate-limited'];
const WITH_A_TOKEN: ProblemCode[] = ['invalid-proof'];
const ON_A_BODY: ProblemCode[] = ['malformed-request', 'payload-too-large', 'unsupported-media-type'];

/** Every problem an endpoint may answer: its own, and those its shape and its door bring with them. */
export function problemCodesOf(endpoint: Endpoint): ProblemCode[] {
  const codes = [...(endpoint.problems ?? []), ...ANYWHERE];
  if (!endpoint.principals.includes('public')) codes.push(...AT_A_DOOR);
  if (endpoint.principals.includes('key')) codes.push(...WITH_A_KEY);
  if (endpoint.principals.includes('agent')) codes.push(...WITH_A_TOKEN);
  if (endpoint.params) codes.push('invalid-id');
  if (endpoint.query || endpoint.body || heedsIfMatch(endpoint)) codes.push('validation-failed');
  if (heedsIfMatch(endpoint)) codes.push('precondition-failed');
  if (endpoint.body) codes.push(...ON_A_BODY);
  return [...new Set(codes)].sort();
}

/** Whether the endpoint changes a thing that has a version. */
const heedsIfMatch = ({ versioned, params, method }: Endpoint): boolean =>
  versioned === true && params !== undefined && method !== 'GET';

/** The contract as an OpenAPI 3.1 document. Paths are sorted, because a module's exports come in whatever order its loader gives. */
export function openApiDocument(endpoints: Record<string, Endpoint>): Json {
  const paths: Record<string, Json> = {};
  for (const [name, endpoint] of Object.entries(endpoints).sort(byPathAndMethod)) {
    paths[endpoint.path] = { ...paths[endpoint.path], [endpoint.method.toLowerCase()]: operationOf(name, endpoint) };
  }
  const tags = [...new Set(Object.values(endpoints).map((endpoint) => endpoint.tag))].sort();
  return {
    openapi: '3.1.0',
    info: {
      title: 'Muster',
      version: '1',
      summary: 'An agent-network coordinator: /ains is the network (who), /aitp is the work (what).',
    },
    servers: [{ url: '/' }],
    tags: tags.map((name) => ({ name })),
    paths,
    components: {
      schemas: { Problem: PROBLEM },
      responses: problemResponses(Object.values(endpoints)),
      securitySchemes: SECURITY_SCHEMES,
    },
  };
}

function byPathAndMethod([, a]: [string, Endpoint], [, b]: [string, Endpoint]): number {
  if (a.path !== b.path) return a.path < b.path ? -1 : 1;
  return METHODS.indexOf(a.method) - METHODS.indexOf(b.method);
}

function operationOf(name: string, endpoint: Endpoint): Json {
  const parameters = [
    ...parametersOf('path', endpoint.params),
    ...parametersOf('query', endpoint.query),
    ...(endpoint.idempotent ? [IDEMPOTENCY_KEY] : []),
    ...(heedsIfMatch(endpoint) ? [IF_MATCH] : []),
  ];
  return {
    operationId: name,
    tags: [endpoint.tag],
    summary: endpoint.summary,
    security: endpoint.principals.flatMap((kind) =>
      SECURITY[kind].map((scheme) => ({ [scheme]: kind === 'key' ? [endpoint.scope ?? 'admin'] : [] })),
    ),
    ...(parameters.length ? { parameters } : {}),
    ...(endpoint.body
      ? {
          requestBody: {
            required: !endpoint.bodyOptional,
            content: mediaOf(endpoint, jsonSchema(endpoint.body, 'input')),
          },
        }
      : {}),
    responses: {
      ...successOf(endpoint),
      ...Object.fromEntries(
        byStatus(problemCodesOf(endpoint)).map(([status, codes]) => [status, { $ref: responseRef(codes) }]),
      ),
    },
  };
}

/** A dry run of what would create answers 200. */
function successOf(endpoint: Endpoint): Json {
  const { status = 200, lines, versioned, query } = endpoint;
  const schema = jsonSchema(endpoint.response, 'output');
  const success = {
    description: 'Success',
    ...(versioned ? { headers: { ETag: { description: 'The version', schema: { type: 'string' } } } } : {}),
    content: lines ? { 'application/x-ndjson': { schema: schema.items } } : mediaOf(endpoint, schema),
  };
  return { ...(status !== 200 && query?.shape.dry_run ? { 200: success } : {}), [status]: success };
}

const mediaOf = ({ yaml }: Endpoint, schema: Json): Json => ({
  'application/json': { schema },
  ...(yaml ? { 'application/yaml': { schema } } : {}),
});

function parametersOf(place: 'path' | 'query', schema: z.ZodObject | undefined): Json[] {
  if (!schema) return [];
  const { properties = {}, required = [] } = jsonSchema(schema, 'input') as { properties?: Json; required?: string[] };
  return Object.entries(properties).map(([name, field]) => {
    const { description, ...rest } = field as { description?: string };
    const said = description ? { description } : {};
    return { name, in: place, required: place === 'path' || required.includes(name), ...said, schema: rest };
  });
}

const responseRef = (codes: ProblemCode[]): string => `#/components/responses/${codes.join('.')}`;

function byStatus(codes: ProblemCode[]): [number, ProblemCode[]][] {
  const statuses = [...new Set(codes.map((code) => PROBLEMS[code].status))].sort((a, b) => a - b);
  return statuses.map((status) => [status, codes.filter((code) => PROBLEMS[code].status === status)]);
}

/** One response for each set of codes that some endpoint answers under one status, named by its codes. */
function problemResponses(endpoints: Endpoint[]): Json {
  const responses: Json = {};
  for (const [, codes] of endpoints.flatMap((endpoint) => byStatus(problemCodesOf(endpoint)))) {
    const schema = { $ref: '#/components/schemas/Problem', properties: { code: { enum: codes } } };
    responses[codes.join('.')] = {
      description: codes.map((code) => `\`${code}\`: ${PROBLEMS[code].title}`).join('. '),
      content: { 'application/problem+json': { schema } },
    };
  }
  return Object.fromEntries(Object.entries(responses).sort(([a], [b]) => (a < b ? -1 : 1)));
}

/** zod's own JSON Schema, without what only repeats a format or a JavaScript limit, and closed to unknown members only where we are. */
function jsonSchema(schema: z.ZodType, io: 'input' | 'output'): Json {
  const { $schema, $defs, ...root } = z.toJSONSchema(schema, {
    io,
    target: 'draft-2020-12',
    unrepresentable: 'any',
    override: ({ zodSchema, jsonSchema: json }) => {
      // The only lazy schema is z.json(): any JSON value, which JSON Schema writes {}.
      if (zodSchema._zod.def.type === 'lazy') for (const key of Object.keys(json)) delete json[key];
      if (json.format === 'date-time') delete json.pattern;
      if (json.minimum === Number.MIN_SAFE_INTEGER) delete json.minimum;
      if (json.maximum === Number.MAX_SAFE_INTEGER) delete json.maximum;
      if (io === 'output' && json.additionalProperties === false) delete json.additionalProperties;
    },
  });
  return inlined(root, $defs ?? {}) as Json;
}

/** A schema without references, for `#/$defs` would point at nothing inside the document. Anything or null is anything. */
function inlined(node: unknown, defs: Json): unknown {
  if (Array.isArray(node)) return node.map((item) => inlined(item, defs));
  if (node === null || typeof node !== 'object') return node;
  const { $ref, ...rest } = node as Json;
  if (typeof $ref === 'string') return inlined({ ...(defs[$ref.replace('#/$defs/', '')] as Json), ...rest }, defs);
  const whole = Object.fromEntries(Object.entries(rest).map(([key, value]) => [key, inlined(value, defs)]));
  return (whole.anyOf as Json[] | undefined)?.some((option) => Object.keys(option).length === 0) ? {} : whole;
}

const PROBLEM = {
  description: 'RFC 9457 problem details',
  type: 'object',
  required: ['type', 'title', 'status', 'detail', 'code'],
  properties: {
    type: { type: 'string', format: 'uri-reference' },
    title: { type: 'string' },
    status: { type: 'integer' },
    detail: { type: 'string' },
    code: { type: 'string', enum: Object.keys(PROBLEMS).sort() },
    errors: {
      description: 'The fields that are wrong',
      type: 'array',
      items: {
        type: 'object',
        required: ['pointer', 'detail'],
        properties: {
          pointer: { type: 'string', description: 'A JSON Pointer into the body, or #/query/<name>' },
          detail: { type: 'string' },
        },
      },
    },
    request_id: { type: 'string' },
  },
};

const IDEMPOTENCY_KEY = {
  name: 'Idempotency-Key',
  in: 'header',
  required: false,
  description: 'Makes the same request, sent again within a day, count once: it gets the same answer',
  schema: { type: 'string', minLength: 1, maxLength: 255 },
};

const IF_MATCH = {
  name: 'If-Match',
  in: 'header',
  required: false,
  description: 'The ETag of what is to be changed: when it has changed meanwhile, nothing is done',
  schema: { type: 'string', maxLength: 1_024 },
};

const SECURITY_SCHEMES = {
  apiKey: { type: 'http', scheme: 'bearer', description: 'An API key' },
  apiKeyHeader: { type: 'apiKey', in: 'header', name: 'X-API-Key', description: 'An API key, the older way' },
  agentToken: { type: 'http', scheme: 'bearer', bearerFormat: 'JWT', description: "An agent's access token" },
};
