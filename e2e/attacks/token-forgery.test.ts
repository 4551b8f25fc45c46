import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { newKey, publicJwk } from '@muster/testing/jwt';
import { afterAll, beforeAll, expect, test } from 'vitest';
import {
  CLAIMS,
  type Forgery,
  headers,
  OURS,
  resigned,
  SHAPES,
  SIGNATURES,
  SPEAKERS,
  saying,
} from '../fixtures/forge.ts';
import { ACCESS, ASSERTION, DOORS, type Door, NEXT, PROOFS, ROTATION, SIGNING_KEY } from './doors.ts';
import { CARRIERS, SWAPS } from './misplaced-tokens.ts';
import { numbered } from './requests.ts';
import { type Attack, attacks, type Stage, setStage } from './stage.ts';

type Row = Omit<Attack, 'id'>;

/** Where headers say that keys are to be had: nobody may come and ask. */
let visits = 0;
const canary = createServer((_, response) => {
  visits += 1;
  response.end(JSON.stringify({ keys: [publicJwk(NEXT)] }));
});
await new Promise<void>((resolve) => canary.listen(0, '127.0.0.1', resolve));
const CANARY = `http://127.0.0.1:${(canary.address() as AddressInfo).port}`;

let stage: Stage;
beforeAll(async () => {
  // Behind a proxy, because of one address so many registrations that fail are not listened to.
  stage = await setStage({ env: { MUSTER_BEHIND_PROXY: 'true', MUSTER_SIGNING_KEY: JSON.stringify(SIGNING_KEY) } });
});
afterAll(async () => {
  canary.close();
  await stage.coordinator.stop();
});

const refused = { status: 401, code: 'invalid-token' } as const;

const rowOf = (door: Door, [what, make]: Forgery, over: Partial<Attack> = {}): Row => ({
  what: `${door.name}: ${what}`,
  send: async (stage) => door.send(stage, make(await door.good(stage), door.key(stage))),
  ...refused,
  ...over,
});

/** Without three parts nobody knows that it should have been a token. */
const shapeless = { code: ['invalid-token', 'invalid-api-key'] } as const;
const typs = (door: Door) =>
  [undefined, 'JWT', ...DOORS.map((other) => other.typ)]
    .filter((typ) => typ !== door.typ)
    .map((typ) => rowOf(door, saying(`the typ ${typ ?? 'left out'}, well signed`, { header: { typ } })));

/** Where to find the key is not for the header to say: at the access token's door by a key of the attacker's. */
const headerRows = (door: Door) =>
  headers(CANARY).map(([what, header]) =>
    rowOf(door, [
      `${what}, ${door === ACCESS ? "signed by the attacker's key" : 'well signed'}`,
      (jwt, key) => resigned(jwt, { header }, door === ACCESS ? newKey() : key),
    ]),
  );

attacks(
  () => stage,
  numbered('A', [
    ...DOORS.flatMap((door) => SIGNATURES.map((forgery) => rowOf(door, forgery))),
    ...DOORS.flatMap((door) => SHAPES.map((forgery) => rowOf(door, forgery, door === ACCESS ? shapeless : {}))),
    ...DOORS.flatMap(typs),
    ...DOORS.flatMap(headerRows),
    ...OURS.map((forgery) => rowOf(ACCESS, forgery)),
    ...PROOFS.flatMap((door) => CLAIMS.map((forgery) => rowOf(door, forgery))),
    ...[ASSERTION, ROTATION].flatMap((door) => SPEAKERS.map((forgery) => rowOf(door, forgery))),
    rowOf(ASSERTION, saying('a key in its header, well signed', { header: { jwk: publicJwk(NEXT) } })),
    ...SWAPS,
    ...CARRIERS,
  ]),
);

test('nobody went where a header said', () => expect(visits).toBe(0));

test.each(DOORS.map((door) => [door.name, door] as const))('%s is taken as it is, and signed anew', async (_, door) => {
  const [good, other] = [await door.good(stage), await door.good(stage)];
  expect((await door.send(stage, good)).status).toBeLessThan(300);
  if (door === ROTATION) stage.agent.key = NEXT;
  else expect((await door.send(stage, resigned(other, {}, door.key(stage)))).status).toBeLessThan(300);
});
