import { ENDPOINTS } from '@muster/shared/contract/index';
import { PROBLEMS } from '@muster/shared/errors';
import { describe, expect, test } from 'vitest';
import { openApiDocument, problemCodesOf } from './openapi.ts';

interface Operation {
  operationId: string;
  parameters?: { name: string; in: string; required: boolean }[];
  requestBody?: { required: boolean };
  security: Record<string, unknown>[];
  responses: Record<string, unknown>;
}

const document = openApiDocument(ENDPOINTS) as {
  paths: Record<string, Record<string, Operation>>;
  components: Record<string, Record<string, unknown>>;
};
const text = JSON.stringify(document);
const operations = Object.entries(document.paths).flatMap(([path, methods]) =>
  Object.entries(methods).map(([method, operation]) => ({ path, method, operation })),
);

describe('the OpenAPI document', () => {
  test('holds every endpoint exactly once', () => {
    expect(operations.map(({ operation }) => operation.operationId).sort()).toEqual(Object.keys(ENDPOINTS).sort());
    for (const { path, method, operation } of operations) {
      expect(ENDPOINTS[operation.operationId]).toMatchObject({ path, method: method.toUpperCase() });
    }
  });

  test.each(operations)('$method $path declares its path parameters, body and problems', ({ path, operation }) => {
    const endpoint = ENDPOINTS[operation.operationId]!;
    const declared = (operation.parameters ?? []).filter((parameter) => parameter.in === 'path');
    expect(declared.map(({ name }) => name)).toEqual([...path.matchAll(/\{(\w+)\}/g)].map((match) => match[1]));
    expect(declared.every(({ required }) => required)).toBe(true);
    expect(operation.requestBody?.required).toBe(endpoint.body ? !endpoint.bodyOptional : undefined);
    expect(operation.security.length === 0).toBe(endpoint.principals.includes('public'));
    for (const code of endpoint.problems ?? []) expect(operation.responses).toHaveProperty(`${PROBLEMS[code].status}`);
  });

  test('refers to nothing but its own components', () => {
    expect(text).not.toMatch(/\$schema|\$defs|__schema/);
    const refs = [...text.matchAll(/"\$ref":"#\/components\/(\w+)\/([^"]+)"/g)];
    expect(refs.length).toBe(text.match(/"\$ref"/g)?.length);
    for (const [, kind, name] of refs) expect(document.components[kind!]).toHaveProperty([name!]);
  });

  test('does not depend on the order in which endpoints are listed', () => {
    expect(JSON.stringify(openApiDocument(Object.fromEntries(Object.entries(ENDPOINTS).reverse())))).toBe(text);
  });

  test('says of a door what it refuses', () => {
    expect(problemCodesOf(ENDPOINTS.createTask!)).toEqual(
      expect.arrayContaining(['unauthenticated', 'invalid-api-key', 'validation-failed', 'malformed-request']),
    );
    expect(problemCodesOf(ENDPOINTS.livez!)).not.toContain('unauthenticated');
    expect(problemCodesOf(ENDPOINTS.heartbeat!)).toContain('stale-lease');
  });
});
