import { createHash } from 'node:crypto';
import { ProblemError } from '@muster/shared/errors';
import type { Sql } from '../platform/database.ts';
import * as store from './store/classes.ts';
import { type Requirements, type TaskClass, UNSAID } from './store/classes.ts';
import { EVERYBODY, listPauses, type Pause } from './store/pause.ts';

/** How many an owner may have, where no setting says so: every claim and every coordinator bears them all. */
export const MOST_CLASSES = 10_000;

/** The classes of the network, and which of them are paused. They are few and never change, so every coordinator keeps them all. */
export interface Classes {
  /** The class of a requirement, made where it is new; throws a {@link ProblemError} `conflict` where it would be one too many of its owner. */
  idOf(it: Requirements): Promise<number>;
  /** The class of a requirement as it is, or would be: then without an id (0). */
  like(it: Pick<Requirements, 'owner' | 'capability'> & Partial<Requirements>): TaskClass;
  all(): readonly TaskClass[];
  /** Those nobody has paused; the same list until that changes. */
  open(): readonly TaskClass[];
  isPaused(it: Pause): boolean;
  find(classId: number): TaskClass | undefined;
  /** Those whose tasks take several slots. */
  readonly costly: ReadonlySet<number>;
  /** Those others check the tasks of. */
  readonly verified: ReadonlySet<number>;
  /** Tells of every class as it becomes known. */
  onNew(heard: (it: TaskClass) => void): void;
  /** Tells, whenever it was looked, which classes are paused and which are not any more. */
  onPauses(heard: (paused: readonly number[], resumed: readonly number[]) => void): void;
  /** Learns classes other coordinators made, and what was paused there. */
  refresh(): Promise<void>;
}

const isEmpty = (labels: Record<string, string>): boolean => {
  for (const _ in labels) return false;
  return true;
};

/** Whether nothing is asked for besides a capability: of nearly all tasks nothing is, and each is looked at. */
const asksNothing = (it: Requirements): boolean =>
  it.slot_cost === UNSAID.slot_cost &&
  !it.verified &&
  it.min_trust === 0 &&
  it.min_integrity === 0 &&
  it.routing === UNSAID.routing &&
  isEmpty(it.labels_required) &&
  isEmpty(it.labels_preferred);

/** One text for the same labels, in whatever order they were written, and the same of what else is asked; none where that is nothing. */
function requirementsHash(it: Requirements): string {
  if (asksNothing(it)) return '';
  const { slot_cost, verified, min_trust, min_integrity, routing } = it;
  const sorted = [it.labels_required, it.labels_preferred].map((labels) =>
    Object.entries(labels).sort(([a], [b]) => (a < b ? -1 : 1)),
  );
  const more = [
    ...(slot_cost === UNSAID.slot_cost ? [] : [slot_cost]),
    ...(verified ? ['verified'] : []),
    ...(min_trust === 0 && min_integrity === 0 && routing === UNSAID.routing
      ? []
      : [{ min_trust, min_integrity, routing }]),
  ];
  return createHash('sha256')
    .update(JSON.stringify([...sorted, ...more]))
    .digest('base64url');
}

function refuse(owner: string, most: number): never {
  const detail = `owner ${owner} has tasks of ${most} different requirements already (capability, labels, slot_cost), the most there may be`;
  throw new ProblemError('conflict', detail);
}

const keyOf = (it: Requirements) => `${it.owner}\n${it.capability}\n${requirementsHash(it)}`;

const pausedBy = (set: Set<string>, { owner, capability }: Pause) =>
  set.size > 0 && (set.has(`${EVERYBODY}\n${capability}`) || set.has(`${owner}\n${capability}`));

export function createClasses(sql: Sql, most = MOST_CLASSES): Classes {
  const known = new Map<number, TaskClass>();
  const [costly, verified] = [new Set<number>(), new Set<number>()];
  const list: TaskClass[] = [];
  const heard: ((it: TaskClass) => void)[] = [];
  const ids = new Map<string, number>();
  const pending = new Map<string, Promise<number>>();
  const heardPauses: Parameters<Classes['onPauses']>[0][] = [];
  let pauses = new Set<string>();
  let open: TaskClass[] | undefined;
  let [asked, answered] = [0, 0];
  const learn = (rows: TaskClass[]) => {
    for (const row of rows) {
      if (known.has(row.class_id)) continue;
      ids.set(keyOf(row), row.class_id);
      known.set(row.class_id, row);
      list.push(row);
      if (row.slot_cost > 1) costly.add(row.class_id);
      if (row.verified) verified.add(row.class_id);
      open = undefined;
      for (const hear of heard) hear(row);
    }
  };
  const learnPauses = (found: Pause[]) => {
    const before = pauses;
    pauses = new Set(found.map(({ owner, capability }) => `${owner}\n${capability}`));
    if (before.size + pauses.size === 0) return;
    // The same list as long as the pauses are the same: what was matched by it is remembered.
    if (before.size !== pauses.size || [...pauses].some((it) => !before.has(it))) open = undefined;
    const paused = list.filter((it) => pausedBy(pauses, it)).map((it) => it.class_id);
    const resumed = list.filter((it) => pausedBy(before, it) && !pausedBy(pauses, it)).map((it) => it.class_id);
    for (const hear of heardPauses) hear(paused, resumed);
  };
  const make = async (it: Requirements) => {
    const row = (await store.ensureClass(sql, it, requirementsHash(it), most)) ?? refuse(it.owner, most);
    learn([row]);
    return row.class_id;
  };
  return {
    async idOf(it) {
      const key = keyOf(it);
      const id = ids.get(key);
      if (id !== undefined) return id;
      const making = pending.get(key) ?? make(it).finally(() => pending.delete(key));
      pending.set(key, making);
      return making;
    },
    like: (it) => known.get(ids.get(keyOf({ ...UNSAID, ...it })) ?? 0) ?? { ...UNSAID, ...it, class_id: 0 },
    all: () => list,
    find: (classId) => known.get(classId),
    costly,
    verified,
    onNew: (hear) => void heard.push(hear),
    open() {
      open ??= list.filter((it) => !pausedBy(pauses, it));
      return open;
    },
    isPaused: (it) => pausedBy(pauses, it),
    onPauses: (hear) => void heardPauses.push(hear),
    async refresh() {
      asked += 1;
      const turn = asked;
      const [rows, found] = await Promise.all([store.listClasses(sql, list.length), listPauses(sql)]);
      learn(rows);
      // What was asked before is older than what is known.
      if (turn > answered) {
        answered = turn;
        learnPauses(found);
      }
    },
  };
}
