import { Hono } from 'hono';
import { expect, test } from 'vitest';
import { StaticFirstRouter } from './http-router.ts';

const app = new Hono({ router: new StaticFirstRouter() });
app.get('/agents/:agent_id', (c) => c.text(`agent ${c.req.param('agent_id')}`));
app.get('/agents/leaderboard', (c) => c.text('leaderboard'));
app.post('/agents/:agent_id', (c) => c.text(`posted ${c.req.param('agent_id')}`));
app.post('/agents/:agent_id/poll', (c) => c.text(`poll of ${c.req.param('agent_id')}`));
app.get('/agents/leaderboard/:day', (c) => c.text(`leaderboard of ${c.req.param('day')}`));
app.get('/:kind/:id/runs/:n', (c) => c.text(JSON.stringify(c.req.param())));

test.each([
  ['GET', '/agents/leaderboard', 'leaderboard'],
  ['GET', '/agents/leader%62oard', 'leaderboard'],
  ['GET', '/agents/x', 'agent x'],
  ['POST', '/agents/leaderboard', 'posted leaderboard'],
  ['POST', '/agents/x/poll', 'poll of x'],
  ['POST', '/agents/leaderboard/poll', 'poll of leaderboard'],
  ['GET', '/agents/leaderboard/poll', 'leaderboard of poll'],
  ['GET', '/agents/x/runs/7', '{"kind":"agents","id":"x","n":"7"}'],
  ['GET', '/agents/leaderboard/runs/7', '{"kind":"agents","id":"leaderboard","n":"7"}'],
  ['GET', '/agents/a%20b', 'agent a b'],
])('%s %s', async (method, path, text) => {
  expect(await (await app.request(path, { method })).text()).toBe(text);
});

test('what is not there is not found, whatever it is called', async () => {
  for (const path of [
    '/agents',
    '/agents/',
    '/agents/x/y',
    '/agents/x/',
    '/agents//runs/7',
    '/__proto__',
    '/constructor',
  ])
    expect((await app.request(path)).status, path).toBe(404);
  expect((await app.request('/agents/leaderboard', { method: 'DELETE' })).status).toBe(404);
});

test('middleware and a second handler are refused: a static path would not pass them', () => {
  const router = new StaticFirstRouter();
  expect(() => router.add('ALL', '/a', 1)).toThrow(/middleware/);
  expect(() => router.add('GET', '*', 1)).toThrow(/middleware/);
  router.add('GET', '/a', 1);
  expect(() => router.add('GET', '/a', 2)).toThrow('GET /a is there already');
  router.add('GET', '/a/:b', 1);
  expect(() => router.add('GET', '/a/:c', 2)).toThrow('GET /a/:c is there already');
  expect(() => router.add('GET', '/a/:b?', 1)).toThrow(/whole of a part/);
  expect(() => router.add('GET', '/a/:b{x+}', 1)).toThrow(/whole of a part/);
});
