import { describe, expect, test } from 'vitest';
import { isUrlOf } from './request-url.ts';

const PATH = '/ains/agents/agent_1/poll';

describe('the URL of a proof', () => {
  test.each([
    ['http://127.0.0.1:8000', 'http://127.0.0.1:8000/ains/agents/agent_1/poll'],
    ['http://127.0.0.1:8000', 'http://localhost:8000/ains/agents/agent_1/poll'],
    ['http://127.0.0.1:8000', 'HTTP://LocalHost:8000/ains/agents/agent_1/poll'],
    ['http://localhost:8000', 'http://[::1]:8000/ains/agents/agent_1/poll'],
    ['http://[::1]:8000', 'http://127.0.0.1:8000/ains/agents/agent_1/poll'],
    ['http://0.0.0.0:8000', 'http://localhost:8000/ains/agents/agent_1/poll'],
    ['http://127.0.0.1:80', 'http://127.0.0.1/ains/agents/agent_1/poll'],
    ['https://127.0.0.1:443', 'https://127.0.0.1/ains/agents/agent_1/poll'],
    ['http://127.0.0.1:8000', 'http://127.0.0.1:8000/ains/%61gents/agent%5F1/poll'],
  ])('listening at %s is %s', (base, htu) => {
    expect(isUrlOf(htu, PATH, base, true)).toBe(true);
  });

  test.each([
    'http://127.0.0.1:8001/ains/agents/agent_1/poll',
    'http://127.0.0.1/ains/agents/agent_1/poll',
    'https://127.0.0.1:8000/ains/agents/agent_1/poll',
    'http://127.0.0.2:8000/ains/agents/agent_1/poll',
    'http://example.com:8000/ains/agents/agent_1/poll',
    'http://localhost.example.com:8000/ains/agents/agent_1/poll',
    'http://user@127.0.0.1:8000/ains/agents/agent_1/poll',
    'http://127.0.0.1:8000/ains/agents/agent_1/poll/',
    'http://127.0.0.1:8000//ains/agents/agent_1/poll',
    'http://127.0.0.1:8000/ains/agents/agent_1/Poll',
    'http://127.0.0.1:8000/ains/agents/agent_2/poll',
    'http://127.0.0.1:8000/ains/agents/agent_1%2fpoll',
    'http://127.0.0.1:8000/ains/agents/%2e/agent_1/poll',
    'http://127.0.0.1:8000/ains/x/../agents/agent_1/poll',
    'http://127.0.0.1:8000/ains/agents/agent_1/poll?',
    'http://127.0.0.1:8000/ains/agents/agent_1/poll?x=1',
    'http://127.0.0.1:8000/ains/agents/agent_1/poll#x',
    'http:\\\\127.0.0.1:8000\\ains\\agents\\agent_1\\poll',
    ' http://127.0.0.1:8000/ains/agents/agent_1/poll',
    'http://127.0.0.1:8000/ains/agents/agent_1/poll\n',
    'ht\ttp://127.0.0.1:8000/ains/agents/agent_1/poll',
    '/ains/agents/agent_1/poll',
    '',
  ])('is not %j', (htu) => {
    expect(isUrlOf(htu, PATH, 'http://127.0.0.1:8000', true)).toBe(false);
  });

  test('is the public one where there is one, and not where the coordinator listens', () => {
    const at = (htu: string) => isUrlOf(htu + PATH, PATH, 'https://muster.example', false);
    expect(['https://muster.example', 'https://MUSTER.example:443'].map(at)).toEqual([true, true]);
    expect(['http://muster.example', 'https://localhost', 'https://muster.example:8443'].map(at)).toEqual([
      false,
      false,
      false,
    ]);
    expect(isUrlOf(`http://127.0.0.1:80${PATH}`, PATH, 'http://localhost', false)).toBe(false);
  });
});
