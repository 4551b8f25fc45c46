import type { Entry } from '../history.ts';

/** A history of calls one after another, each `[process, op, asked, phase, answered]`, for the tests of checkers. */
export const history = (...calls: [string, string, unknown, Entry['phase'] | 'silence', unknown?][]): Entry[] =>
  calls.flatMap(([process, op, value, phase, answer], n): Entry[] => {
    const asked: Entry = { at: 2 * n, call: n, process, op, phase: 'invoke', value };
    return phase === 'silence' ? [asked] : [asked, { at: 2 * n + 1, call: n, process, op, phase, value: answer }];
  });
