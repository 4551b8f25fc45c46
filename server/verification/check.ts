import { ProblemError } from '@muster/shared/errors';
import type { Deps } from '../platform/ctx.ts';
import type { Classes } from '../tasks/classes.ts';
import { unblock } from '../tasks/unblock.ts';
import type { Random } from '../trust/draw.ts';
import { foldVerdicts } from '../trust/lane.ts';
import { type Known, vouches } from '../trust/scrutiny.ts';
import { findKnown, keyOf } from '../trust/store/integrity.ts';
import type { NewVerdict } from '../trust/store/verdicts.ts';
import { checkCanary } from './canary.ts';
import { checkersClass, compareAnswers } from './checker.ts';
import { apartIn, type FieldOf, vouchedIn } from './field.ts';
import { type Facts, plan, type Step } from './plan.ts';
import * as store from './store/decide.ts';
import { type Checking, listDue } from './store/due.ts';
import { reviewTask, takeResults } from './store/review.ts';

/** How many checks are looked at together. */
const BATCH = 100;

/** So long after it could not be looked at a check is looked at again. */
const AGAIN_MS = 10_000;

type Parts = Pick<Deps, 'db' | 'notifier' | 'log'>;

/** What a look at checks needs besides the coordinator's parts. */
export interface Looking {
  fieldOf: FieldOf;
  classes: Pick<Classes, 'idOf'>;
  random: Random;
}

/** How many agents that were caught are seen to together. */
const AGENTS = 20;

/** Has earlier results of agents that were caught looked at again. Answers how many. */
export const lookBack = ({ db }: Pick<Parts, 'db'>): Promise<number> => takeResults(db.loops, AGENTS);

/** Looks at the checks that are due, and does about each what is to be done. Answers how many moved. */
export async function checkDue(deps: Parts, looking: Looking): Promise<number> {
  let moved = 0;
  for (let due = await listDue(deps.db.loops, BATCH); due.length > 0; due = await listDue(deps.db.loops, BATCH)) {
    const known = await knownOf(deps, due);
    const done = await Promise.all(due.map((it) => checkOrPostpone(deps, looking, it, known)));
    const judged = [...new Set(done.flatMap((it) => it.judged))];
    if (judged.length > 0) await foldVerdicts(deps, { agentIds: judged });
    if (done.some(({ awaited }) => awaited)) void unblock(deps).catch(() => {});
    const progress = done.filter((it) => it.moved).length;
    moved += progress;
    // Others have them in hand.
    if (progress === 0 || due.length < BATCH) break;
  }
  return moved;
}

type KnownOf = (it: Checking, agentId: string) => Known;

async function knownOf({ db }: Parts, due: readonly Checking[]): Promise<KnownOf> {
  const pairs = due.flatMap(({ capability, answers }) => answers.map(({ agent_id }) => ({ agent_id, capability })));
  const known = await findKnown(db.loops, pairs);
  return ({ capability }, agent_id) => known.get(keyOf({ agent_id, capability }))!;
}

interface Done {
  moved: boolean;
  awaited: boolean;
  /** Whose work was judged. */
  judged: string[];
}

/** One that cannot be looked at keeps no other from it. What a person may see to is said of its task. */
async function checkOrPostpone(deps: Parts, looking: Looking, it: Checking, known: KnownOf): Promise<Done> {
  try {
    return await checkOne(deps, looking, it, known);
  } catch (error) {
    const { task_id, now } = it;
    const note = error instanceof ProblemError ? error.message : it.note;
    deps.log.warn({ err: error, task_id }, 'a check could not be looked at');
    const moved = await store.postpone(deps.db.loops, it, { until: now + AGAIN_MS, note });
    return { moved, awaited: false, judged: [] };
  }
}

async function checkOne(deps: Parts, looking: Looking, it: Checking, knownOf: KnownOf): Promise<Done> {
  if (it.state === 'AGREED') return { ...(await checkCanary(deps, it)), awaited: false };
  const known = it.answers.map(({ agent_id }) => knownOf(it, agent_id));
  const facts = { known, ...(await compareAnswers(deps.db.loops, it)), random: looking.random };
  return carryOut(deps, looking, it, facts, plan(it, facts));
}

async function carryOut(
  { db, notifier }: Parts,
  looking: Looking,
  it: Checking,
  facts: Facts,
  step: Step,
): Promise<Done> {
  const { loops: sql } = db;
  const done = (moved: boolean, ended?: { awaited: boolean }, judged: string[] = []): Done => ({
    moved,
    awaited: ended?.awaited ?? false,
    judged,
  });
  switch (step.do) {
    case 'postpone':
      return done(await store.postpone(sql, it, step));
    case 'relax':
      notifier.tell('wanted', await store.relaxWanted(sql, it, step.until));
      return done(true);
    case 'readmit': {
      const classIds = await store.readmitParties(sql, it, step.note);
      notifier.tell('wanted', classIds);
      return done(classIds.length > 0);
    }
    case 'ask': {
      const classIds = await store.askMore(sql, it, await moreOf(looking, it, facts, step));
      notifier.tell('wanted', classIds);
      return done(classIds.length > 0);
    }
    case 'settle': {
      const verdicts = verdictsOf(it, facts, step);
      const settled = await store.settleTask(sql, it, { ...step, verdicts });
      return done(settled !== undefined, settled, settled && verdicts.map(({ agent_id }) => agent_id));
    }
    case 'review': {
      const verdicts = verdictsOf(it, facts, step);
      const reviewed = await reviewTask(sql, it, { ...step, verdicts });
      return done(reviewed, undefined, reviewed ? verdicts.map(({ agent_id }) => agent_id) : []);
    }
    case 'dispute': {
      const ended = await store.disputeTask(sql, it, step);
      return done(ended !== undefined, ended);
    }
    case 'forget':
      return done(await store.forgetCheck(sql, it));
  }
}

/** Who is not trusted is paired with somebody who is, and a judge is, wherever there is one. */
async function moreOf(
  { fieldOf, classes }: Looking,
  it: Checking,
  { known }: Facts,
  { kind, count, audited }: Extract<Step, { do: 'ask' }>,
): Promise<store.More> {
  const { parties, now, verification } = it;
  const class_id = kind === 'checker' ? await checkersClass(classes, it) : it.class_id;
  const field = await fieldOf(class_id);
  // Where all checkers have one owner, others may have given the answers.
  const apart = kind === 'checker' ? it.apart : apartIn(field);
  const trusted = !(kind === 'replica' && known.some(vouches)) && vouchedIn(field, parties, apart);
  const compares = kind === 'checker' ? it.answers.map(({ fence }) => fence) : null;
  return {
    kind,
    class_id,
    compares,
    count,
    audited,
    apart,
    trusted,
    until: now + verification.deadline_seconds * (trusted ? 500 : 1_000),
  };
}

/** What found it: what the runs were asked for, of which the last word counts. */
const KINDS = ['look_back', 'audit', 'judge'] as const;

function verdictsOf(
  { task_id, capability, answers }: Checking,
  { equal }: Facts,
  { winner, verdicts }: Pick<Extract<Step, { do: 'settle' }>, 'winner' | 'verdicts'>,
): NewVerdict[] {
  const kind = KINDS.find((name) => answers.some((it) => it.kind === name)) ?? 'quorum';
  const first = equal?.[answers.findIndex(({ fence }) => fence === winner)];
  const right = answers.filter((_, n) => equal?.[n] === first).map(({ agent_id }) => agent_id);
  return verdicts.map((verdict, n) => {
    const { fence, agent_id } = answers[n]!;
    return {
      fence,
      kind,
      task_id,
      agent_id,
      capability,
      found: verdict.found,
      vouched: verdict.found === 'RIGHT' && verdict.vouched,
      judge: right.filter((it) => it !== agent_id).join(),
    };
  });
}
