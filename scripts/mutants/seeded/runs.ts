import type { Mutant } from '../mutant.ts';

const ZOMBIES = {
  file: 'e2e/invariants/zombies.test.ts',
  test: 'agents that were silent for 45 s and go on as before change nothing, while others run their tasks and after',
};
const LATE = {
  file: 'e2e/lost-agent.test.ts',
  test: 'the task of an agent killed with SIGKILL is finished by another, and the dead one’s late result is refused and moves no trust',
};

const APPLY_RESULTS =
  'export async function applyResults(hot: Sql, results: readonly NewResult[]): Promise<AppliedResult[]> {';

/** What goes wrong between agents that want the same run. */
export const RUNS: readonly Mutant[] = [
  {
    name: 'no fence',
    why: 'a result is of the run that is named, whatever has become of that meanwhile',
    edits: [
      {
        file: 'server/dispatch/store/results.ts',
        find: APPLY_RESULTS,
        replace: `${APPLY_RESULTS}
  const applied = await applyHeld(hot, results);
  const late = results.map((it, position) => ({ ...it, position })).filter(({ position }) => !applied.some((it) => it.position === position));
  const taken = await hot.unsafe<{ fence: string }[]>(
    \`with x as (select * from unnest($1::text::bigint[], $2::text::text[], $3::text::text[]) as x(fence, status, result_data)),
     over as (
       update runs r set status = x.status, final = true, result_data = x.result_data::json from x where r.fence = x.fence returning r.fence, r.task_id
     ),
     gone as (delete from ready where task_id in (select task_id from over))
     select fence from over\`,
    [arrayLiteral(late.map((it) => it.fence)), arrayLiteral(late.map((it) => it.status)), arrayLiteral(late.map((it) => it.result_data))],
  );
  const fences = new Set(taken.map(({ fence }) => Number(fence)));
  return [
    ...applied,
    ...late.filter(({ fence }) => fences.has(fence)).map(({ position, status }) => (
      { position, next: 'final' as const, run_status: status, class_id: 0, awaited: false })),
  ];
}

async function applyHeld(hot: Sql, results: readonly NewResult[]): Promise<AppliedResult[]> {`,
      },
    ],
    caughtBy: [ZOMBIES, LATE],
  },
  {
    name: 'state-only fence',
    why: 'a result counts if its task is running, whichever attempt that is',
    edits: [
      {
        file: 'server/dispatch/store/results.ts',
        find: APPLY_RESULTS,
        replace: `${APPLY_RESULTS}
  const live = await hot.unsafe<{ fence: string; live: string; agent_id: string; boot_id: string }[]>(
    \`select r.fence, l.fence as live, l.agent_id, a.boot_id from runs r join leases l using (task_id) join agents a on a.agent_id = l.agent_id
     where r.fence = any($1::text::bigint[])\`,
    [arrayLiteral(results.map((it) => it.fence))],
  );
  const now = new Map(live.map(({ fence, live, ...life }) => [Number(fence), { fence: Number(live), ...life }]));
  return applyHeld(hot, results.map((it) => ({ ...it, ...now.get(it.fence) })));
}

async function applyHeld(hot: Sql, results: readonly NewResult[]): Promise<AppliedResult[]> {`,
      },
    ],
    caughtBy: [ZOMBIES],
  },
  {
    name: 'no recheck after SKIP LOCKED',
    why: 'a claim takes what it read before it had the lock, without a look whether it is still there',
    edits: [
      {
        file: 'server/dispatch/store/heads.ts',
        find: 'where ready.ctid = l.place for update skip locked) r',
        replace: 'where ready.ctid = l.place) r',
      },
    ],
    caughtBy: [
      {
        file: 'server/dispatch/store/contention.test.ts',
        of: 'two coordinators on Postgres 18',
        test: 'sixty-four claimers take thousands of tasks, each once, and fences only rise',
      },
    ],
  },
  {
    name: 'reaper on the process clock',
    why: "a lease has ended when the coordinator's own clock says so",
    edits: [
      {
        file: 'server/dispatch/store/reap.ts',
        find: 'export const reapLeases = (sql: Sql, limit: number) => reap(sql, LOSE, limit);',
        replace: `export const reapLeases = (sql: Sql, limit: number) =>
  reap(sql, LOSE.replace('p.lease_expires_at < (select now from clock)', \`p.lease_expires_at < '\${new Date().toISOString()}'\`), limit);`,
      },
    ],
    caughtBy: [
      {
        file: 'server/dispatch/store/lives.test.ts',
        of: 'on Postgres 18 the reaper',
        test: 'queues what a dead agent held, counted as an attempt and a failure, with the reason',
      },
    ],
  },
  {
    name: 'limit checked outside',
    why: 'what runs under a limit is counted by a statement before the one that claims',
    edits: [
      {
        file: 'server/dispatch/store/claim.ts',
        find: '  const rows = await (first && claimants.length === 1',
        replace: `  const counted = await hot.unsafe<{ key: string; n: number }[]>(
    "select scope || ':' || name as key, count(*)::int as n from limit_holds h where exists (select from leases l where l.fence = h.fence) group by 1",
  );
  const held = JSON.stringify(Object.fromEntries(counted.map(({ key, n }) => [key, n]))).replaceAll("'", "''");
  const rows = await (first && claimants.length === 1`,
      },
      {
        file: 'server/dispatch/store/claim.ts',
        find: '(claimants.length === 1 ? SOLE : SHARED)[form]!,',
        replace: `(claimants.length === 1 ? SOLE : SHARED)[form]!.replace(
          'limit_held(scope, name, max_running, n)', \`coalesce(('\${held}'::jsonb ->> (scope || ':' || name))::int, 0)\`),`,
      },
    ],
    caughtBy: [
      {
        file: 'server/dispatch/store/limits.test.ts',
        of: 'limits on Postgres 18',
        test: 'however many coordinators claim, no limit is exceeded and none is left unused',
      },
    ],
  },
  {
    name: 'double hand-off',
    why: 'a task that was handed to a waiting poll is queued as well',
    edits: [
      {
        file: 'server/tasks/store/insert.ts',
        find: "queuedTasks('not exists (select from willing)')",
        replace: "queuedTasks('true')",
      },
    ],
    caughtBy: [
      {
        file: 'server/tasks/store/submit.test.ts',
        of: 'on Postgres 18',
        test: 'a task that comes alone is leased or queued, and not both',
      },
    ],
  },
];
