import { type BatchTask, batchTask } from '@muster/shared/contract/batches';
import { notRepeatable } from '@muster/shared/contract/verification';
import { type FieldError, ProblemError } from '@muster/shared/errors';
import { newId } from '@muster/shared/ids';
import { invalid, named, pointerPart } from '../platform/errors.ts';
import { quickParse } from '../platform/quick-parse.ts';

/** One task of a batch on its way. It has a problem, or an open task of its unique key stands for it, or it will be made. */
export interface Member {
  index: number;
  /** Ids come in the order of the indexes, and tasks of equal rank run in the order of their ids. */
  task_id: string;
  task: BatchTask;
  /** The members it waits for. */
  needs: Member[];
  problem?: ProblemError;
}

/** The members of a batch, each judged by itself and by what it says of the others. */
export function membersOf(tasks: readonly unknown[]): Member[] {
  const members = tasks.map(memberOf);
  const byRef = new Map<string, Member>();
  for (const [index, member] of members.entries()) {
    // One that is refused for something else is there all the same.
    const ref = (tasks[index] as { ref?: unknown } | null)?.ref;
    if (typeof ref !== 'string') continue;
    const other = byRef.get(ref);
    if (other) refuse(member, 'ref', `${quoted(ref)} is the ref of #/tasks/${other.index} too`);
    else byRef.set(ref, member);
  }
  if (byRef.size > 0 || members.some(({ task }) => task?.depends_on_refs)) resolve(members, byRef);
  return members;
}

const parse = quickParse(batchTask);

function memberOf(task: unknown, index: number): Member {
  const parsed = parse(task);
  const task_id = newId('task');
  if (parsed.success) return repeatable({ index, task_id, task: parsed.data, needs: [] });
  const problem = invalid(`#/tasks/${index}`, parsed.error.issues);
  return { index, task_id, task: {} as BatchTask, needs: [], problem };
}

function repeatable(member: Member): Member {
  const detail = notRepeatable(member.task);
  if (detail !== undefined) refuse(member, 'verification', detail);
  return member;
}

function resolve(members: readonly Member[], byRef: ReadonlyMap<string, Member>): void {
  for (const member of members) {
    for (const [n, ref] of (member.task.depends_on_refs ?? []).entries()) {
      const needed = byRef.get(ref);
      if (needed) member.needs.push(needed);
      else refuse(member, `depends_on_refs/${n}`, `no task of this batch has the ref ${quoted(ref)}`);
    }
  }
  refuseCircles(members);
}

/** Who waits for each member; a member that names one twice is there twice. */
function waitersOf(members: readonly Member[]): Map<Member, Member[]> {
  const waiters = new Map<Member, Member[]>(members.map((member) => [member, []]));
  for (const member of members) for (const needed of member.needs) waiters.get(needed)!.push(member);
  return waiters;
}

/** Takes away who waits for nobody, then who waited for those only, and so on: what is left waits for itself, or for somebody who does. */
function refuseCircles(members: readonly Member[]): void {
  const open = new Map(members.map((member) => [member, member.needs.length]));
  const waiters = waitersOf(members);
  const free = members.filter(({ needs }) => needs.length === 0);
  for (const member of free) {
    open.delete(member);
    for (const waiter of waiters.get(member)!) {
      open.set(waiter, open.get(waiter)! - 1);
      if (open.get(waiter) === 0) free.push(waiter);
    }
  }
  for (const [member, circle] of circlesOf(open)) refuse(member, 'depends_on_refs', `waits for itself: ${circle}`);
}

/** For each of these the circle that one comes to by always going to the first that it still waits for. */
function circlesOf(open: ReadonlyMap<Member, number>): Map<Member, string> {
  const circles = new Map<Member, string>();
  for (const member of open.keys()) {
    const path = new Set<Member>();
    let at = member;
    for (; !path.has(at) && !circles.has(at); at = at.needs.find((it) => open.has(it))!) path.add(at);
    const circle = circles.get(at) ?? pathOf([...path].slice([...path].indexOf(at)));
    for (const one of path) circles.set(one, circle);
  }
  return circles;
}

/** How many members of a circle are named. */
const NAMED_IN_CIRCLE = 20;

const pathOf = (circle: readonly Member[]): string => {
  const names = circle.slice(0, NAMED_IN_CIRCLE).map(({ task }) => quoted(task.ref ?? ''));
  return [...names, circle.length > NAMED_IN_CIRCLE ? '…' : names[0]].join(' -> ');
};

/** Says what is wrong with a field of a member; what was wrong first stays. */
export function refuse(
  member: Member,
  field: string,
  detail: string,
  code: 'validation-failed' | 'conflict' = 'validation-failed',
): void {
  const pointer = `#/tasks/${member.index}/${field}`;
  member.problem ??= new ProblemError(code, `${pointer} ${detail}`, { errors: [{ pointer, detail }] });
}

/** Refuses whoever waits for a member that is refused. Answers whether there was any. */
export function refuseFollowers(members: readonly Member[]): boolean {
  const refused = members.filter(({ problem }) => problem);
  const before = refused.length;
  if (before === 0) return false;
  const waiters = waitersOf(members);
  for (const member of refused) {
    for (const waiter of waiters.get(member)!) {
      if (waiter.problem) continue;
      refuse(waiter, 'depends_on_refs', `waits for #/tasks/${member.index}, which is refused`);
      refused.push(waiter);
    }
  }
  return refused.length > before;
}

/** The one problem of a batch that is made as a whole or not at all: it names every member that is refused. */
export function refusalOf(members: readonly Member[]): ProblemError | undefined {
  const problems = members.flatMap(({ problem }) => problem ?? []);
  const [first] = problems;
  if (!first) return undefined;
  const code = problems.find((it) => it.code !== 'conflict')?.code ?? 'conflict';
  const which = rangesOf(members.filter(({ problem }) => problem).map(({ index }) => index));
  const errors = problems.flatMap((it): readonly FieldError[] => it.errors ?? []);
  return new ProblemError(
    code,
    `${problems.length} of ${members.length} tasks are refused, at ${which}: ${first.message}`,
    {
      errors: named(errors),
    },
  );
}

/** `0, 4-6, 9`. */
function rangesOf(indexes: readonly number[]): string {
  const ranges: [number, number][] = [];
  for (const index of indexes) {
    const last = ranges.at(-1);
    if (last && last[1] === index - 1) last[1] = index;
    else ranges.push([index, index]);
  }
  return ranges.map(([from, to]) => (from === to ? `${from}` : `${from}-${to}`)).join(', ');
}

const quoted = (ref: string) => JSON.stringify(pointerPart(ref));
