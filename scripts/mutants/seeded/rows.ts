import type { Mutant } from '../mutant.ts';

/** What goes wrong where rows are written that belong together. */
export const ROWS: readonly Mutant[] = [
  {
    name: 'ack before commit',
    why: 'a submit is answered when its row is on its way, not when it is there',
    edits: [
      {
        file: 'server/tasks/submit.ts',
        find: '      return insertOne(submission);',
        replace: `      void insertOne(submission).catch(() => {});
      return { task: submission, status: 'PENDING', refused: false, now: new Date() };`,
      },
    ],
    caughtBy: [
      {
        file: 'e2e/invariants/acknowledged.test.ts',
        test: 'what was asked is not acknowledged before its rows are there',
      },
    ],
  },
  {
    name: 'mark-then-insert tick',
    why: 'a schedule moves on in one statement, its execution and task are made in the next',
    edits: [
      {
        file: 'server/schedules/tick.ts',
        find: '  const fired = plans.length > 0 ? await carryOut(db.loops, plans, by) : [];',
        replace: `  const marked: Plan[] = [];
  for (const plan of by ? [] : plans) {
    const { seen, becomes, schedule_id } = plan;
    const rows = await db.loops\`
      update schedules set next_run_at = \${becomes.next_run_at} where schedule_id = \${schedule_id} and status = \${seen.status} and version = \${seen.version}
        and total_runs = \${seen.total_runs} and next_run_at is not distinct from \${seen.next_run_at} and \${becomes.next_run_at !== null}\`;
    if (rows.count > 0 || becomes.next_run_at === null) marked.push({ ...plan, seen: { ...seen, next_run_at: becomes.next_run_at ?? seen.next_run_at } });
  }
  const planned = by ? plans : marked;
  const fired = planned.length > 0 ? await carryOut(db.loops, planned, by) : [];`,
      },
    ],
    caughtBy: [
      {
        file: 'server/schedules/store/tick.test.ts',
        of: 'on Postgres 18',
        test: 'a tick that is cut off when it makes executions has not moved the schedule on: the next one makes them',
      },
    ],
  },
  {
    name: 'evidence without unique key',
    why: 'a verdict on a run that is said twice is two pieces of evidence',
    edits: [
      {
        file: 'drizzle/0016_evidence_ledger.sql',
        find: 'CREATE UNIQUE INDEX "verdicts_once"',
        replace: 'CREATE INDEX "verdicts_once"',
      },
      {
        file: 'server/trust/store/verdicts.ts',
        find: '\n  on conflict (fence, kind) do nothing',
        replace: '',
      },
    ],
    caughtBy: [
      {
        file: 'server/trust/lane.test.ts',
        of: 'on Postgres 18',
        test: 'a run is judged once by each kind of judge, and a verdict said twice counts once',
      },
    ],
  },
  {
    name: 'event outside the statement',
    why: 'the end of a run is told in a statement of its own, after the commit',
    edits: [
      {
        file: 'server/dispatch/store/completed.ts',
        find: `where agents.agent_id = (select agent_id from gone)),
finished as (
  insert into events (tx, at, kind, fences) select pg_current_xact_id(), now, 'run.finished', array[fence] from gone
)`,
        replace: 'where agents.agent_id = (select agent_id from gone))',
      },
      {
        file: 'server/dispatch/store/results.ts',
        find: '  const classOf = new Map<number, number>();',
        replace: `  if (results.length === 1 && rows.length === 1)
    void hot
      .unsafe(
        "insert into events (tx, at, kind, fences) select pg_current_xact_id(), muster_now(), 'run.finished', array[$1::bigint]",
        [String(fence)],
      )
      .catch(() => {});
  const classOf = new Map<number, number>();`,
      },
    ],
    caughtBy: [
      {
        file: 'e2e/invariants/outbox.test.ts',
        test: 'what cannot be told does not happen: where the outbox takes no event, nothing else changes',
      },
    ],
  },
  {
    name: 'retention that eats a live row',
    why: 'what ended long ago is forgotten though a run of it goes on',
    edits: [
      {
        file: 'server/runs/store/delete.ts',
        find: '\n      and (select count(*) from leases l where l.task_id = t.task_id) = 0',
        replace: '',
      },
    ],
    caughtBy: [
      {
        file: 'server/runs/retention.test.ts',
        of: 'retention on Postgres 18',
        test: 'exactly what ended long ago goes, whole, and nothing else changes',
      },
    ],
  },
];
