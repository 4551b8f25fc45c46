import { describe, expect, test } from 'vitest';
import type { Endpoint } from './endpoint.ts';
import { ENDPOINTS } from './index.ts';

const ALL = Object.entries(ENDPOINTS);
const FOR_KEYS = ALL.filter(([, { principals }]) => principals.includes('key'));
/** A capability is a word, and nobody's thing. */
const idsIn = ({ path }: Endpoint) => [...path.matchAll(/\{(\w+_id)\}/g)].map(([, name]) => name!);

/** What submitters do all day is told by the task itself, and what changes nothing by nobody. */
const UNAUDITED = ['createTask', 'createBatch', 'validateSchedule', 'previewRouting'];

describe('what the contract says of authorisation', () => {
  test.each(ALL)('%s is for somebody', (_, { principals }) => {
    expect(principals.length).toBeGreaterThan(0);
    if (principals.includes('public')) expect(principals).toEqual(['public']);
  });

  test.each(FOR_KEYS)('%s says which scope it takes and whose things it is about', (_, endpoint) => {
    expect(endpoint.scope).toBeDefined();
    expect(endpoint.ownership).toBeDefined();
    // A path that names a thing is about that thing: anything else would let strangers at it.
    expect(endpoint.ownership === 'path').toBe(idsIn(endpoint).length > 0);
  });

  test.each(FOR_KEYS)('%s is audited where it changes something', (name, { method, audit }) => {
    expect(audit !== undefined).toBe(method !== 'GET' && !UNAUDITED.includes(name));
    expect(audit ?? 'noun.verb').toMatch(/^[a-z_]+\.[a-z_]+$/);
  });

  test('a list of what belongs to somebody is by owner', () => {
    for (const [name, endpoint] of FOR_KEYS) {
      const isList = endpoint.method === 'GET' && idsIn(endpoint).length === 0 && endpoint.ownership !== 'none';
      // What is done by a filter is done to those that a list by it would show.
      if (endpoint.method === 'GET') expect(endpoint.ownership === 'list', name).toBe(isList);
    }
  });

  test('what leases depend on is vital, and nothing else', () => {
    for (const [name, { vital, principals }] of ALL) {
      if (vital) expect(principals, name).not.toContain('key');
      else expect(principals.includes('agent') && !principals.includes('key'), name).toBe(false);
    }
  });
});
