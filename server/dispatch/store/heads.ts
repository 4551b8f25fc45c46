/** A class as a claim sees it. */
export interface Lane {
  class_id: number;
  owner: string;
  capability: string;
  slot_cost: number;
  /** A limit concerns it. */
  limited: boolean;
  /** Where its owner's next task stands in the order of all owners' tasks, and how far behind it each further one (dispatch/fairness.ts). */
  begins: number;
  stride: number;
}

/**
 * How a claim finds its tasks: CTEs that end in `heads`, the rows of `ready` it has locked, at most as many as `turns` says.
 * They read `clock`, `asking` and `turns`; the columns of the lanes are arrays from `$4` on.
 */
export interface HeadsOf {
  columns: readonly (keyof Lane)[];
  parts: string;
  order: string;
  /** Of a row `z` of what is claimed: how many slots it takes. */
  cost: string;
  /** Whether others had some of the tasks in hand, so that there may be more. */
  missed: string;
  /** More CTEs, that read `claimed`. */
  also: string;
}

const RANKED = 'rank, task_id, replica';

/** One class: the index is walked past what others have locked. */
const single: HeadsOf = {
  columns: ['class_id'],
  parts: `
heads as materialized (
  select r.* from unnest($4::text::bigint[]) as c(class_id) cross join lateral (
    select ctid as place, class_id, rank, task_id, replica, attempt, failures from ready where ready.class_id = c.class_id
    order by ${RANKED} limit (select n from turns) for update skip locked
  ) r
)`,
  order: RANKED,
  cost: '1::smallint',
  missed: 'false',
  also: '',
};

const TYPES = {
  class_id: 'bigint',
  owner: 'text',
  begins: 'float8',
  stride: 'float8',
  capability: 'text',
  slot_cost: 'smallint',
  from_rank: 'timestamptz',
  from_task: 'text',
};
/** Classes as rows, from `$4` on. */
export const lanes = (columns: readonly (keyof typeof TYPES)[]): string => `
lanes as materialized (
  select * from unnest(${columns.map((name, n) => `$${n + 4}::text::${TYPES[name]}[]`).join(', ')}) as c(${columns.join(', ')})
)`;

/** Locks the best of `from`, in `order`, as many as are wanted: what is read without a lock may have gone by then, or be in another's hand. */
const locked = (from: string, order: string, most: string): string => `
heads as materialized (
  select l.*, r.attempt, r.failures from (select * from ${from} order by ${order}) l
  cross join lateral (select attempt, failures from ready where ready.ctid = l.place for update skip locked) r limit ${most}
)`;
const missedOf = (from: string, most: string): string =>
  `(select count(*) from heads) < least((select count(*) from ${from}), ${most})`;

/** The heads of a class, unlocked. */
const headsOfClass = (most: string): string => `
  cross join lateral (select ctid as place, ${RANKED} from ready where ready.class_id = c.class_id order by ${RANKED} limit ${most}) r`;

const ALL = '(select n from turns)';

/** Several classes of one owner, by rank. No more rows are locked than are wanted. */
const merged: HeadsOf = {
  columns: ['class_id'],
  parts: `${lanes(['class_id'])},
line as materialized (select c.class_id, r.* from lanes c ${headsOfClass(ALL)}),
${locked('line', RANKED, ALL)}`,
  order: RANKED,
  cost: '1::smallint',
  missed: missedOf('line', ALL),
  also: '',
};

const FAIR = ['class_id', 'owner', 'begins', 'stride'] as const;
const IN_TURN = `due, ${RANKED}`;

/** Several owners: in their turns, and of one owner by rank. */
const fair: HeadsOf = {
  ...merged,
  columns: FAIR,
  parts: `${lanes(FAIR)},
line as materialized (
  select c.class_id, r.*, begins + stride * (row_number() over (partition by owner order by ${RANKED}) - 1) as due from lanes c ${headsOfClass(ALL)}
),
${locked('line', IN_TURN, ALL)}`,
  order: IN_TURN,
};

export const LIMITED = [...FAIR, 'capability', 'slot_cost'] as const;
export const CONCERNS = `(r.scope = 'global' or r.scope = 'owner' and r.name = c.owner or r.scope = 'capability' and r.name = c.capability)`;

/**
 * The rows of the limits that concern the classes are locked, after the agents and in order: claims under one limit go one by one,
 * wherever they come from. So `limit_held` counts what runs without anybody adding to it meanwhile. `level`: starts saved up, for a tenth of a second at most.
 */
export const ROOMS = `
limited as materialized (
  select l.* from (
    select distinct s.scope, s.name from lanes cross join lateral (values ('capability', capability), ('global', '*'), ('owner', owner)) as s(scope, name) order by 1, 2
  ) k cross join lateral (
    select scope, name, max_running, starts_per_second, tokens, refilled_at from limits
    where limits.scope = k.scope and limits.name = k.name and (max_running is not null or starts_per_second is not null) and ${ALL} > 0 for no key update
  ) l
),
rooms as materialized (
  select scope, name, max_running, starts_per_second, level,
    least(max_running - case when max_running is not null then limit_held(scope, name, max_running, n) end, floor(level))::int as room
  from (
    select l.*, n, case when starts_per_second is not null then
      least(greatest(1, starts_per_second / 10), tokens + starts_per_second * greatest(0, extract(epoch from now - refilled_at))) end as level
    from limited l, clock, turns
  ) l
),
many as materialized (select greatest(0, least(${ALL}, (select room from rooms where scope = 'global'))) as n),
open as materialized (
  select c.*, o.room as owner_room, p.room as capability_room, least(m.n, o.room, p.room) as room
  from many m, lanes c left join rooms o on o.scope = 'owner' and o.name = c.owner left join rooms p on p.scope = 'capability' and p.name = c.capability
  where least(m.n, o.room, p.room) > 0
)`;

/** No more of an owner or a capability than there is room for. `first` comes before all else. */
const lineOf = (first: string, where: string): string => `
line as materialized (
  select *, row_number() over (order by ${first} due, ${RANKED}) as nth from (
    select *, row_number() over (partition by capability order by ${first} due, ${RANKED}) as of_capability from (
      select c.*, r.*, ${first} begins + stride * (row_number() over w - 1) as due, row_number() over w as of_owner
      from open c ${headsOfClass('c.room')} ${where} window w as (partition by owner order by ${first} ${RANKED})
    ) o where (of_owner > owner_room) is not true
  ) p where (of_capability > capability_room) is not true
)`;

/** Runs that were begun of classes that a limit concerns count towards it. `concerns`: of a run `z` and a room `r`, whether that is so. */
export const counting = (concerns = CONCERNS): string => `
counted as (
  insert into limit_holds (scope, name, fence)
  select r.scope, r.name, z.fence from claimed z join lanes c on c.class_id = z.class_id join rooms r on r.max_running is not null and ${concerns}
),
started as (
  update limits set tokens = g.level - g.n, refilled_at = greatest(limits.refilled_at, (select now from clock)) from (
    select r.scope, r.name, r.level, count(*) as n from claimed z join lanes c on c.class_id = z.class_id
    join rooms r on r.starts_per_second is not null and ${concerns} group by 1, 2, 3
  ) g where limits.scope = g.scope and limits.name = g.name
),`;

const MANY = '(select n from many)';

/** Classes that a limit concerns. */
const limited: HeadsOf = {
  columns: LIMITED,
  parts: `${lanes(LIMITED)},
${ROOMS},
${lineOf('', '')},
${locked('line', 'nth', MANY)}`,
  order: 'nth',
  cost: '1::smallint',
  missed: missedOf('line', MANY),
  also: counting(),
};

const FREE = '(select free from asking)';

/**
 * Tasks of which some take several slots of the one agent that asks: whatever fits, in order. One that does not fit is passed over, until it has waited
 * for a minute beyond its time: from then on agents keep their free slots for it, one more of them each minute, and it goes before all else.
 */
const costly: HeadsOf = {
  columns: LIMITED,
  parts: `${lanes(LIMITED)},
${ROOMS},
late as materialized (
  select c.class_id, c.slot_cost, q.task_id, w.minutes from open c
  cross join lateral (select task_id from ready where ready.class_id = c.class_id order by ${RANKED} limit 1) q
  cross join lateral (select floor(extract(epoch from (select now from clock) - run_at) / 60) as minutes from tasks where tasks.task_id = q.task_id offset 0) w
  where c.slot_cost > 1 and w.minutes >= 1
),
saved_for as materialized (
  select l.task_id, a.agent_id, l.minutes, (select count(*) from slot_savers s where s.task_id = l.task_id) as savers,
    exists (select from slot_savers s where s.task_id = l.task_id and s.agent_id = a.agent_id) as saves
  from late l, asking a where l.slot_cost > a.free and a.n > 0
),
saving as (
  insert into slot_savers (task_id, agent_id, since) select task_id, agent_id, now from saved_for, clock where not saves and savers < minutes
  on conflict do nothing returning task_id
),
kept as materialized (select exists (select from saving) or exists (select from saved_for where saves) as free_slots),
${lineOf('later,', `cross join lateral (select (c.class_id in (select class_id from late)) is not true as later) f where c.slot_cost <= ${FREE} and not (select free_slots from kept)`)},
costs as materialized (select array_agg(slot_cost order by nth) as of_line, count(*) as n from line),
pack(nth, runs, free, fits) as (
  select 0::bigint, ${MANY}::bigint, ${FREE}::int, false
  union all
  select p.nth + 1, p.runs - f.fits::int, case when f.fits then p.free - f.cost else p.free end, f.fits
  from pack p cross join lateral (select cost, cost <= p.free as fits from (select (select of_line from costs)[p.nth + 1] as cost) c) f
  where p.runs > 0 and p.free > 0 and p.nth < (select n from costs)
),
chosen as materialized (select l.* from line l join pack p on p.nth = l.nth where p.fits),
${locked('chosen', 'nth', MANY)},
begun as (delete from slot_savers where task_id in (select task_id from heads))`,
  order: 'nth',
  cost: '(select c.slot_cost from lanes c where c.class_id = z.class_id)',
  missed: missedOf('chosen', MANY),
  also: counting(),
};

export const headsOf = { single, merged, fair, limited, costly };
