import type { LoopSpec } from '../platform/loop.ts';
import { TO_CHECK } from './store/due.ts';
import type { Verification } from './verifier.ts';

/** Looks at checks whose answers have come in, or whose time has come. Whoever brings an answer says so at once; this is for a coordinator that died before it could. */
export const judgeLoop = ({ check }: Pick<Verification, 'check'>): LoopSpec => ({
  name: 'verification.judge',
  intervalMs: 250,
  due: TO_CHECK,
  tick: check,
});
