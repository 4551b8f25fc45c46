import { describe, expect, test } from 'vitest';
import { membersOf, refusalOf, refuseFollowers } from './batch-members.ts';

const work = { task_type: 'work', input_data: null };
const of = (ref: string, ...depends_on_refs: string[]) => ({ ...work, ref, depends_on_refs });
const problems = (tasks: unknown[]) => membersOf(tasks).map(({ problem }) => problem?.message);

describe('the members of a batch', () => {
  test('are judged each by itself; ids come in the order of the tasks', () => {
    const members = membersOf([work, { ...work, nonsense: 1 }, null, work]);
    expect(members.map(({ problem }) => problem?.code)).toEqual([
      undefined,
      'validation-failed',
      'validation-failed',
      undefined,
    ]);
    expect(members[1]!.problem!.errors).toEqual([{ pointer: '#/tasks/1/nonsense', detail: 'is not a known field' }]);
    const ids = membersOf(Array.from({ length: 2_000 }, () => work)).map(({ task_id }) => task_id);
    expect(ids).toEqual([...new Set(ids)].sort());
  });

  test('wait for each other by ref, before or after, and never for themselves', () => {
    const [a, b, c] = membersOf([of('a', 'b', 'c', 'b'), of('b'), of('c', 'b')]);
    expect([a!.needs, b!.needs, c!.needs]).toEqual([[b, c, b], [], [b]]);
    expect(problems([of('a', 'b', 'c', 'b'), of('b'), of('c', 'b')])).toEqual([undefined, undefined, undefined]);
    expect(problems([of('a', 'b'), of('b', 'c'), of('c', 'd'), of('d', 'b'), of('e')])).toEqual([
      '#/tasks/0/depends_on_refs waits for itself: "b" -> "c" -> "d" -> "b"',
      '#/tasks/1/depends_on_refs waits for itself: "b" -> "c" -> "d" -> "b"',
      '#/tasks/2/depends_on_refs waits for itself: "b" -> "c" -> "d" -> "b"',
      '#/tasks/3/depends_on_refs waits for itself: "b" -> "c" -> "d" -> "b"',
      undefined,
    ]);
  });

  test('in a circle of a thousand are all refused at once, by its beginning', () => {
    const ring = Array.from({ length: 1_000 }, (_, n) => of(`r${n}`, `r${(n + 1) % 1_000}`));
    const found = problems(ring);
    expect(found.filter(Boolean)).toHaveLength(1_000);
    expect(found[0]).toMatch(/"r0" -> "r1" -> .* -> "r19" -> …$/);
  });

  test('that wait for one that is refused are refused, down the line', () => {
    const members = membersOf([of('a', 'b'), of('b', 'c'), { ...of('c'), priority: 0 }, of('d')]);
    expect(refuseFollowers(members)).toBe(true);
    expect(members.map(({ problem }) => problem !== undefined)).toEqual([true, true, true, false]);
    expect(refuseFollowers(members)).toBe(false);
  });

  test('are refused together by one problem that names each place', () => {
    expect(refusalOf(membersOf([work, work]))).toBeUndefined();
    const bad = { ...work, priority: 0 };
    const refusal = refusalOf(membersOf([bad, work, bad, bad, bad, work, bad]))!;
    expect(refusal.message).toMatch(/^5 of 7 tasks are refused, at 0, 2-4, 6: #\/tasks\/0\/priority /);
    expect(refusal.errors!.map(({ pointer }) => pointer)).toEqual([0, 2, 3, 4, 6].map((n) => `#/tasks/${n}/priority`));
    const all = refusalOf(membersOf(Array.from({ length: 1_000 }, () => bad)))!;
    expect(all.message).toMatch(/^1000 of 1000 tasks are refused, at 0-999: /);
    expect(JSON.stringify(all.errors).length).toBeLessThan(4_096);
  });
});
