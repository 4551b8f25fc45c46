import { isDeepStrictEqual } from 'node:util';
import type { InputOf } from '@muster/shared/contract/endpoint';
import type * as contract from '@muster/shared/contract/schedule-operations';
import { MOST_IN_FILE } from '@muster/shared/contract/schedule-operations';
import { scheduleBody } from '@muster/shared/contract/schedule-rule';
import { ProblemError } from '@muster/shared/errors';
import { newId } from '@muster/shared/ids';
import { actorOf } from '../audit/record.ts';
import { type Ctx, ownerOf } from '../platform/ctx.ts';
import { checkRepeatable } from '../tasks/repeatable.ts';
import { checkWhen } from './check-when.ts';
import { limitKey } from './limit.ts';
import { passedBy } from './move.ts';
import { isTaken } from './name.ts';
import { dueAt, RULE_COLUMNS, type Rule, ruleOf } from './rule.ts';
import { applyChanges, type Changes, listNamed } from './store/rules.ts';
import type { ScheduleRow } from './store/schedules.ts';
import { checkTemplate } from './template.ts';
import { changesOf, ruledBy, TRIES } from './update.ts';

/** The caller's own schedules that have a name, each as it would have to be told to be what it is. */
export async function exportSchedules(ctx: Ctx) {
  const rows = await named(ctx);
  return { schedules: rows.map(told) };
}

async function named(ctx: Ctx): Promise<ScheduleRow[]> {
  const rows = await listNamed(ctx.db.admin, ownerOf(ctx), MOST_IN_FILE + 1);
  if (rows.length > MOST_IN_FILE)
    throw new ProblemError('conflict', `a file holds at most ${MOST_IN_FILE} schedules, and more of yours have names`);
  return rows;
}

/** What holds unless said, and a rule, which has to be. */
const { cron_expression: _, ...UNSAID } = ruleOf(
  scheduleBody.parse({ task_type: 'any', input_data: null, cron_expression: '* * * * *' }),
);
const SAID: readonly (keyof Rule)[] = ['name', 'task_type', 'input_data'];

/** The fields of a schedule that have to be said, the name first. */
function told(row: ScheduleRow): { name: string } {
  const unsaid: Partial<Rule> = { ...UNSAID, cron_expression: null, capability_required: row.task_type };
  const said = RULE_COLUMNS.filter((name) => SAID.includes(name) || !isDeepStrictEqual(row[name], unsaid[name]));
  const shown = said.map((name) => [name, row[name] instanceof Date ? row[name].toISOString() : row[name]] as const);
  return { name: row.name!, ...Object.fromEntries(shown) };
}

/** Makes the caller's schedules that have a name be those of a file, all of it in one statement; or only says what that would change. */
export async function importSchedules(ctx: Ctx, { query, body }: InputOf<typeof contract.importSchedules>) {
  const rules = body.schedules.map(ruleOf);
  refuseDoubles(rules);
  for (const [n, rule] of rules.entries()) {
    at(n, () => checkTemplate(rule.input_data));
    at(n, () => checkRepeatable(rule));
  }
  for (let tries = 1; tries <= TRIES; tries += 1) {
    const { changes, plan } = planOf(ctx, rules, await named(ctx), query.dry_run);
    const done = query.dry_run || plan.length === 0 || (await apply(ctx, changes));
    if (!done) continue;
    const { create, update, remove } = changes;
    const unchanged = rules.length - create.length - update.length;
    return { created: create.length, updated: update.length, deleted: remove.length, unchanged, plan };
  }
  throw new ProblemError('overloaded', 'the schedules change too fast to be replaced; try again');
}

/** Nothing of it where somebody has just made or changed one of them: then it is planned anew. */
async function apply(ctx: Ctx, changes: Changes): Promise<boolean> {
  for (const rule of [...changes.create, ...changes.update]) await limitKey(ctx, ownerOf(ctx), rule);
  try {
    return await applyChanges(ctx.db.admin, changes, 'schedule.import', actorOf(ctx));
  } catch (error) {
    if (isTaken(error)) return false;
    throw error;
  }
}

type Plan = { action: 'create' | 'update' | 'delete'; name: string; schedule_id: string | null; changes: string[] }[];

/** What has to change for the rows to be as the rules say. */
function planOf(
  ctx: Ctx,
  rules: readonly Rule[],
  rows: readonly ScheduleRow[],
  dry: boolean,
): { changes: Changes; plan: Plan } {
  const now = ctx.clock.now();
  const owner = ownerOf(ctx);
  const byName = new Map(rows.map((row) => [row.name, row]));
  const changes = { create: [], update: [], remove: [], gaps: [], seen: [] } as {
    [K in keyof Changes]: Changes[K][number][];
  };
  const plan: Plan = [];
  for (const [n, rule] of rules.entries()) {
    const name = rule.name!;
    const row = byName.get(name);
    byName.delete(name);
    if (!row) {
      const schedule_id = newId('sched');
      const first = at(n, () => checkWhen(rule, now, ctx.config.minScheduleSeconds));
      changes.create.push({ ...rule, schedule_id, owner, ...dueAt({ ...rule, schedule_id }, first) });
      plan.push({ action: 'create', name, schedule_id: dry ? null : schedule_id, changes: [] });
      continue;
    }
    const { schedule_id } = row;
    const fields = changesOf(row, rule);
    if (fields.length === 0) continue;
    changes.update.push(at(n, () => ruledBy(ctx, row, rule, now)));
    changes.seen.push(row);
    plan.push({ action: 'update', name, schedule_id, changes: fields });
  }
  for (const row of byName.values()) {
    const { schedule_id, name } = row;
    const gap = passedBy(row, now);
    changes.remove.push(schedule_id);
    changes.seen.push(row);
    if (gap) changes.gaps.push({ ...gap, schedule_id });
    plan.push({ action: 'delete', name: name!, schedule_id, changes: [] });
  }
  return { changes, plan };
}

function refuseDoubles(rules: readonly Rule[]): void {
  const seen = new Set<string | null>();
  for (const [n, { name }] of rules.entries()) {
    const [pointer, detail] = [`#/schedules/${n}/name`, `${JSON.stringify(name)} is the name of one before, too`];
    if (seen.has(name))
      throw new ProblemError('validation-failed', `${pointer} ${detail}`, { errors: [{ pointer, detail }] });
    seen.add(name);
  }
}

/** What is wrong with one of the schedules, told with its place in the file. */
function at<T>(n: number, work: () => T): T {
  try {
    return work();
  } catch (error) {
    if (!(error instanceof ProblemError) || !error.errors) throw error;
    const errors = error.errors.map(({ pointer, detail }) => ({
      pointer: pointer.replace('#', `#/schedules/${n}`),
      detail,
    }));
    throw new ProblemError(error.code, error.message.replace(/^#/, `#/schedules/${n}`), { errors });
  }
}
