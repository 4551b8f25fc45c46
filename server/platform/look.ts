import type { Sql } from './database.ts';
import type { Log } from './log.ts';
import { createLoop, type Loop, type LoopSpec } from './loop.ts';

/** How often it is looked which loops have something to do, in milliseconds. */
const LOOK_MS = 250;

/** Which of these conditions hold. Each may read `clock.now`. */
export async function look(hot: Sql, conditions: readonly string[]): Promise<boolean[]> {
  const [row] = await hot<[{ held: string }]>`
    with clock as materialized (select muster_now() as now)
    select array[${hot.unsafe(conditions.map((it) => `(${it})`).join(', '))}]::text as held`;
  return row.held
    .slice(1, -1)
    .split(',')
    .map((it) => it === 't');
}

/**
 * Runs loops. What those wait for that have a condition is asked in one statement: an idle coordinator sends a few a second, and not
 * those of every loop. Where that cannot be told, all of them look for themselves.
 */
export function createLoops(specs: readonly LoopSpec[], hot: Sql, log: Log): Loop[] {
  const loops = specs.map((spec) => createLoop(spec, log));
  const waiting = specs.flatMap(({ due }, n) => (due ? [{ due, loop: loops[n]! }] : []));
  const conditions = waiting.map(({ due }) => due);
  const tick = async () => {
    let held = conditions.map(() => true);
    try {
      held = await look(hot, conditions);
    } finally {
      for (const [n, { loop }] of waiting.entries()) if (held[n]) loop.wake();
    }
    return 0;
  };
  return [...loops, createLoop({ name: 'platform.look', intervalMs: LOOK_MS, tick }, log)];
}
