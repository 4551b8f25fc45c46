import type { Verified } from '@muster/shared/contract/verification';
import type { Random } from '../trust/draw.ts';
import { judge, type Ruling, type Vote } from '../trust/judge.ts';
import { DEFAULTS, type Parameters } from '../trust/parameters.ts';
import { auditProbability, type Known, replicationProbability } from '../trust/scrutiny.ts';
import type { Asked, Checking, Kind } from './store/due.ts';

/** What is known when a check is looked at: of each answer who gave it. */
export interface Facts extends Comparison {
  known: readonly Known[];
  random: Random;
}

/** How answers compare: for each the first that is equal to it; undefined as long as a checker has not said so. `vain`: how many that were to came to nothing. */
export interface Comparison {
  equal: readonly number[] | undefined;
  vain: number;
}

/** What becomes of a check. Moments are milliseconds. */
export type Step =
  | { do: 'postpone'; until: number | null; note: string | null }
  /** What was wanted of somebody trusted is wanted of anybody. */
  | { do: 'relax'; until: number }
  /** It is waited for anybody, be it who has had it and gave no answer. */
  | { do: 'readmit'; note: string }
  | { do: 'ask'; kind: Kind; count: number; audited: boolean | null }
  | {
      do: 'settle';
      winner: number;
      finality: 'provisional' | 'verified';
      note: string | null;
      verdicts: Verdicts;
      audited: boolean | null;
    }
  | Review
  | { do: 'dispute'; code: 'disputed' | 'unverified'; reason: string }
  | { do: 'forget' };

/** What a look at a result comes to. `clean`: the answer of the agent that was caught stood. */
export interface Review {
  do: 'review';
  winner: number;
  finality: 'provisional' | 'verified';
  note: string | null;
  verdicts: Verdicts;
  clean: boolean;
}

type Verdicts = Extract<Ruling<number>, { is: 'DECIDED' }>['verdicts'];

/** How many runs may come to nothing for each that was to come to something; of checkers for each set of answers. */
const VAIN = 3;

/** How many others are asked when a task is claimed: none where the answer is taken at the agent's word. */
export function partnersOf(
  { policy, quorum }: Verified,
  agent: Known,
  random: Random,
  p: Parameters = DEFAULTS,
): number {
  if (policy === 'quorum') return quorum - 1;
  return policy === 'always' || random() < replicationProbability(agent, p) ? 1 : 0;
}

const quorumOf = ({ policy, quorum }: Verified, p: Parameters): number => (policy === 'quorum' ? quorum : p.quorum);

/** What is to be done about a check, as it stands now. */
export function plan(it: Checking, facts: Facts, p: Parameters = DEFAULTS): Step {
  if (it.state === 'ENDED' || (it.ended && it.state !== 'REVIEWING')) return { do: 'forget' };
  if (it.open.length > 0) return waiting(it, facts, p);
  if (it.state === 'REVIEWING') return review(it, facts, p);
  if (it.state !== 'VERIFYING') return { do: 'postpone', until: null, note: it.note };
  return decide(it, facts, p);
}

/** Somebody trusted is waited for until half of the time is over, then anybody until the end. What runs ends by itself. */
function waiting(it: Checking, facts: Facts, p: Parameters): Step {
  const wanted = it.open.filter(({ live }) => !live);
  if (wanted.length === 0) return { do: 'postpone', until: null, note: it.note };
  const end = deadlineOf(wanted, it.verification);
  const half = end - it.verification.deadline_seconds * 500;
  if (it.now < half) return { do: 'postpone', until: half, note: it.note };
  if (wanted.some(({ trusted }) => trusted)) return { do: 'relax', until: end };
  const last = it.state === 'REVIEWING' ? end + LOOK_BACK_MS : end;
  if (it.now < last) return { do: 'postpone', until: last, note: it.note };
  if (wanted.length < it.open.length) return { do: 'postpone', until: null, note: it.note };
  if (it.state === 'REVIEWING') return unreviewed(it, UNSEEN);
  return it.state === 'VERIFYING' ? otherwise(it, facts, p) : { do: 'postpone', until: null, note: it.note };
}

const deadlineOf = (wanted: readonly Asked[], { deadline_seconds }: Verified): number =>
  Math.max(...wanted.map(({ since }) => since)) + deadline_seconds * 1_000;

/** So much longer than for the check of an answer somebody is waited for to look at a result again: nobody else waits for that. */
const LOOK_BACK_MS = 86_400_000;

const NOBODY = 'no agent that may check it came within its deadline';

/** Nobody has come. What is agreed needs no third; what is contradicted is never accepted. */
function otherwise(it: Checking, facts: Facts, p: Parameters): Step {
  const { verification } = it;
  const ruling = rule(it, facts, p);
  if (ruling?.is === 'DECIDED') return settled(it, ruling, it.audited);
  if (verification.otherwise === 'wait') return { do: 'readmit', note: NOBODY };
  // What nobody has compared may differ.
  if (!areOne(facts)) return { do: 'dispute', code: 'disputed', reason: `the answers differ, and ${NOBODY}` };
  if (verification.otherwise === 'fail') return { do: 'dispute', code: 'unverified', reason: NOBODY };
  return {
    do: 'settle',
    winner: it.answers[0]!.fence,
    finality: 'provisional',
    note: NOBODY,
    verdicts: [],
    audited: it.audited,
  };
}

const areOne = ({ equal }: Facts): boolean => equal?.every((first) => first === 0) ?? false;

function decide(it: Checking, facts: Facts, p: Parameters): Step {
  const { answers, verification, audited } = it;
  const ask = (kind: Kind, count = 1, audit = audited): Step =>
    it.asked < VAIN * verification.max_runs
      ? { do: 'ask', kind, count, audited: audit }
      : { do: 'dispute', code: 'unverified', reason: `${it.asked} runs that were to check it left it open` };
  const missing = quorumOf(verification, p) - answers.length;
  if (missing > 0) {
    // Nobody drew: the coordinator died that should have, or another agent had it then.
    const alone = it.asked === 0 && partnersOf(verification, facts.known[0]!, facts.random, p) === 0;
    if (!alone) return ask('replica', missing);
    return { do: 'settle', winner: answers[0]!.fence, finality: 'provisional', note: null, verdicts: [], audited };
  }
  const ruling = rule(it, facts, p);
  if (!ruling)
    return facts.vain < VAIN
      ? ask('checker')
      : { do: 'dispute', code: 'disputed', reason: `the answers differ, and ${vainly(facts)}` };
  if (ruling.is === 'ASK') return ask('judge');
  if (ruling.is === 'DISPUTED')
    return {
      do: 'dispute',
      code: 'disputed',
      reason: `${answers.length} answers, and no ${quorumOf(verification, p)} that outweigh the others`,
    };
  if (!areOne(facts)) return settled(it, ruling, audited);
  const audit = audited ?? facts.random() < auditProbability(p);
  if (audit && !answers.some(({ kind }) => kind === 'audit')) return ask('audit', 1, true);
  return settled(it, ruling, audit);
}

const vainly = ({ vain }: Facts) => `${vain} runs of its checker did not say which are one`;

/** A result that is looked at again takes another answer; what nobody can decide between stays as it is. */
function review(it: Checking, facts: Facts, p: Parameters): Step {
  const { answers, fence, suspect } = it;
  const ask = (kind: Kind): Step => ({ do: 'ask', kind, count: 1, audited: it.audited });
  const open = it.asked < VAIN * it.verification.max_runs;
  if (open && !answers.some(({ kind }) => kind === 'look_back')) return ask('look_back');
  const ruling = rule(it, facts, p);
  if (open && !ruling && facts.vain < VAIN) return ask('checker');
  if (open && ruling?.is === 'ASK') return ask('judge');
  if (ruling?.is !== 'DECIDED') return unreviewed(it, UNDECIDED);
  const isRight = (n: number) => facts.equal![n] === ruling.answer;
  const now = answers.findIndex((answer) => answer.fence === fence);
  const own = answers.findIndex(({ agent_id }) => agent_id === suspect);
  return {
    do: 'review',
    winner: isRight(now) ? fence! : answers[ruling.answer]!.fence,
    finality: 'verified',
    note: null,
    verdicts: ruling.verdicts,
    clean: isRight(own),
  };
}

const UNSEEN = `its agent was caught, and ${NOBODY}`;
const UNDECIDED = 'its agent was caught, and those who looked at its answer again could not decide';

/** Its result stays, at the word of an agent that was caught. */
const unreviewed = ({ fence }: Checking, note: string): Review => ({
  do: 'review',
  winner: fence!,
  finality: 'provisional',
  note,
  verdicts: [],
  clean: false,
});

/** How the answers are judged; undefined where there are none to judge between, or nobody has compared them. */
function rule({ answers, verification }: Checking, { known, equal }: Facts, p: Parameters): Ruling<number> | undefined {
  if (answers.length === 0 || !equal) return undefined;
  const votes = answers.map(
    ({ kind }, n): Vote<number> => ({
      agent: known[n]!,
      answer: equal[n]!,
      judge: kind !== null && kind !== 'replica',
    }),
  );
  return judge(votes, quorumOf(verification, p), { ...p, most_votes: verification.max_runs });
}

const settled = (
  { answers }: Checking,
  { answer, verdicts }: Extract<Ruling<number>, { is: 'DECIDED' }>,
  audited: boolean | null,
): Step => ({ do: 'settle', winner: answers[answer]!.fence, finality: 'verified', note: null, verdicts, audited });
