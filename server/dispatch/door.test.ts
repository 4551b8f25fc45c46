import { ProblemError } from '@muster/shared/errors';
import { describe, expect, test } from 'vitest';
import { createDoor, networkOf } from './door.ts';

test.each([
  ['203.0.113.7', '203.0.113.7'],
  ['::ffff:203.0.113.7', '203.0.113.7'],
  ['2001:db8:1:2:3:4:5:6', '2001:db8:1:2::/64'],
  ['2001:DB8:1:2::1', '2001:db8:1:2::/64'],
  ['2001:db8:1:0002:ffff::', '2001:db8:1:2::/64'],
  ['2001:db8::1', '2001:db8:0:0::/64'],
  ['fe80::1%eth0', 'fe80:0:0:0::/64'],
  ['::1', '0:0:0:0::/64'],
])('of %s the limits see %s', (address, network) => {
  expect(networkOf(address)).toBe(network);
});

describe('the door', () => {
  const bad = () => Promise.reject(new ProblemError('enrollment-token-invalid', 'no'));

  test('lets in by turns, in order, a few at a time', async () => {
    const door = createDoor();
    const began: number[] = [];
    let [now, most] = [0, 0];
    await Promise.all(
      Array.from({ length: 100 }, (_, n) =>
        door.inTurn(async () => {
          began.push(n);
          now += 1;
          most = Math.max(most, now);
          await new Promise((resolve) => setImmediate(resolve));
          now -= 1;
        }),
      ),
    );
    expect(began).toEqual(Array.from({ length: 100 }, (_, n) => n));
    expect(most).toBe(8);
  });

  test('refuses an address after twenty failures before anything is looked at, and no other', async () => {
    const door = createDoor();
    let tried = 0;
    const fail = (address: string) =>
      door
        .fromOutside(address, () => {
          tried += 1;
          return bad();
        })
        .catch((problem: ProblemError) => problem.code);
    for (let n = 0; n < 20; n += 1) expect(await fail(`2001:db8::${n}`)).toBe('enrollment-token-invalid');
    expect(await fail('2001:db8::ffff')).toBe('rate-limited');
    expect(tried).toBe(20);
    await expect(door.fromOutside('2001:db8::1', async () => 'in')).rejects.toMatchObject({ code: 'rate-limited' });
    expect(await fail('2001:db8:0:1::1')).toBe('enrollment-token-invalid');
    expect(await door.fromOutside('203.0.113.7', async () => 'in')).toBe('in');
  });

  test('counts neither what goes well nor what is our own fault', async () => {
    const door = createDoor();
    for (let n = 0; n < 50; n += 1) {
      expect(await door.fromOutside('203.0.113.7', async () => n)).toBe(n);
      const away = () => Promise.reject(new ProblemError('storage-unavailable', 'away'));
      await expect(door.fromOutside('203.0.113.7', away)).rejects.toMatchObject({ code: 'storage-unavailable' });
    }
  });

  test('does not count an agent that was revoked and comes again and again', async () => {
    const door = createDoor();
    for (let n = 0; n < 50; n += 1) {
      const revoked = () => Promise.reject(new ProblemError('token-revoked', 'gone'));
      await expect(door.fromOutside('203.0.113.7', revoked)).rejects.toMatchObject({ code: 'token-revoked' });
    }
    expect(await door.fromOutside('203.0.113.7', async () => 'in')).toBe('in');
  });

  test('does not listen to more than a few of a thousand that come at once and fail', async () => {
    const door = createDoor();
    let tried = 0;
    const tries = Array.from({ length: 1_000 }, () =>
      door.fromOutside('203.0.113.7', async () => {
        tried += 1;
        return bad();
      }),
    );
    await Promise.allSettled(tries);
    expect(tried).toBeLessThanOrEqual(28);
  });

  test('has room for ten thousand', async () => {
    const door = createDoor();
    let open = () => {};
    const gate = new Promise<void>((resolve) => {
      open = resolve;
    });
    const waiting = Array.from({ length: 10_008 }, () => door.inTurn(() => gate));
    await expect(door.inTurn(() => gate)).rejects.toMatchObject({ code: 'overloaded' });
    open();
    await Promise.all(waiting);
  });
});
