import { callsOf, type Finding, isOk } from '../checkers.ts';
import type { Entry } from '../history.ts';

/**
 * I8: each due time of a schedule has one firing, not before it and no later than `windowMs` after it, and there is no other. Firings are answered as `{ schedule_id, at }`,
 * in milliseconds of the clock that `due` is told by. A due time takes the first that is left for it: with windows of one length no other way matches more (Kingsbury, Jepsen: Chronos).
 */
export function checkTicks(
  entries: readonly Entry[],
  due: ReadonlyMap<string, readonly number[]>,
  { windowMs }: { windowMs: number },
): Finding {
  const fired = new Map<string, number[]>();
  for (const { ended } of callsOf(entries, 'fire').filter(isOk)) {
    const { schedule_id, at } = ended!.value as { schedule_id: string; at: number };
    fired.set(schedule_id, [...(fired.get(schedule_id) ?? []), at]);
  }
  const broken: string[] = [];
  let checked = 0;
  for (const schedule_id of new Set([...due.keys(), ...fired.keys()])) {
    const times = (fired.get(schedule_id) ?? []).toSorted((a, b) => a - b);
    const targets = (due.get(schedule_id) ?? []).toSorted((a, b) => a - b);
    checked += targets.length;
    for (const target of targets) {
      while (times.length > 0 && times[0]! < target)
        broken.push(`${schedule_id} fired at ${times.shift()} for nothing`);
      const at = times[0];
      if (at !== undefined && at <= target + windowMs) times.shift();
      else broken.push(`${schedule_id} was due at ${target} and did not fire${at === undefined ? '' : ` until ${at}`}`);
    }
    for (const at of times) broken.push(`${schedule_id} fired at ${at} for nothing`);
  }
  return { promise: 'each due time fires once and in time', checked, broken };
}
