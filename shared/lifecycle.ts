/** Every state machine of Muster as data: state -> event -> states it may lead to. SQL guards, the tests of CHECK constraints and the docs read these tables. */
export type Machine = Record<string, Record<string, readonly string[]>>;

/**
 * A task. It is never written on its normal path: the state is read off where its rows are.
 * BLOCKED: a row in `blocked`; PENDING: a row in `ready` or `delayed`; ASSIGNED, RUNNING: a row in `leases`; VERIFYING: a row in `verifications` that
 * says so; the others: the final run, or `closed_status`.
 */
export const TASK = {
  BLOCKED: {
    unblock: ['PENDING'],
    cancel: ['CANCELLED'],
    expire: ['EXPIRED', 'TIMED_OUT'],
    dependency_failed: ['FAILED', 'SKIPPED'],
  },
  PENDING: { claim: ['ASSIGNED'], cancel: ['CANCELLED'], expire: ['EXPIRED', 'TIMED_OUT'] },
  ASSIGNED: {
    start: ['RUNNING'],
    complete: ['COMPLETED'],
    verify: ['VERIFYING'],
    fail: ['FAILED', 'PENDING'],
    time_out: ['TIMED_OUT', 'PENDING'],
    requeue: ['PENDING', 'FAILED'],
    cancel: ['CANCELLED'],
  },
  RUNNING: {
    complete: ['COMPLETED'],
    verify: ['VERIFYING'],
    fail: ['FAILED', 'PENDING'],
    time_out: ['TIMED_OUT', 'PENDING'],
    requeue: ['PENDING', 'FAILED'],
    cancel: ['CANCELLED'],
  },
  VERIFYING: {
    agree: ['COMPLETED'],
    accept: ['COMPLETED'],
    dispute: ['FAILED'],
    cancel: ['CANCELLED'],
    time_out: ['TIMED_OUT'],
  },
  COMPLETED: {},
  FAILED: { retry: ['PENDING'] },
  TIMED_OUT: { retry: ['PENDING'] },
  CANCELLED: { retry: ['PENDING'] },
  EXPIRED: { retry: ['PENDING'] },
  SKIPPED: {},
} as const satisfies Machine;

/** One attempt of a task by one agent. `start` may be left out. */
export const RUN = {
  ASSIGNED: {
    start: ['RUNNING'],
    complete: ['COMPLETED'],
    fail: ['FAILED'],
    time_out: ['TIMED_OUT'],
    cancel: ['CANCELLED'],
    return: ['RETURNED'],
    lose: ['LOST'],
  },
  RUNNING: {
    complete: ['COMPLETED'],
    fail: ['FAILED'],
    time_out: ['TIMED_OUT'],
    cancel: ['CANCELLED'],
    return: ['RETURNED'],
    lose: ['LOST'],
  },
  COMPLETED: {},
  FAILED: {},
  TIMED_OUT: {},
  CANCELLED: {},
  RETURNED: {},
  LOST: {},
} as const satisfies Machine;

/** What an admin lets an agent do. Whether it is alive (status) is read off its last beat. */
export const AGENT_MODE = {
  OPEN: { cordon: ['CORDONED'], drain: ['DRAINING'], revoke: ['REVOKED'] },
  CORDONED: { uncordon: ['OPEN'], drain: ['DRAINING'], revoke: ['REVOKED'] },
  DRAINING: { uncordon: ['OPEN'], cordon: ['CORDONED'], revoke: ['REVOKED'] },
  REVOKED: {},
} as const satisfies Machine;

/** How far an agent's work in a capability is believed. */
export const STANDING = {
  NEWCOMER: { promote: ['TRUSTED'], refute: ['PROBATION'], quarantine: ['QUARANTINED', 'BANNED'], ban: ['BANNED'] },
  TRUSTED: { refute: ['PROBATION'], quarantine: ['QUARANTINED', 'BANNED'], ban: ['BANNED'] },
  PROBATION: { promote: ['TRUSTED'], quarantine: ['QUARANTINED', 'BANNED'], ban: ['BANNED'] },
  QUARANTINED: { return: ['PROBATION'], release: ['PROBATION'], ban: ['BANNED'] },
  BANNED: { release: ['PROBATION'] },
} as const satisfies Machine;

/** A rule of when. */
export const SCHEDULE = {
  ACTIVE: { pause: ['PAUSED'], delete: ['DELETED'], end: ['ENDED'] },
  PAUSED: { resume: ['ACTIVE', 'ENDED'], delete: ['DELETED'] },
  ENDED: { update: ['ACTIVE'], delete: ['DELETED'] },
  DELETED: {},
} as const satisfies Machine;

export type TaskStatus = keyof typeof TASK;
export type RunStatus = keyof typeof RUN;
export type AgentMode = keyof typeof AGENT_MODE;
export type Standing = keyof typeof STANDING;
export type ScheduleStatus = keyof typeof SCHEDULE;

/** Whether an agent lives: beats come; a beat is two intervals late; its lease ended or it left. */
export const AGENT_STATUSES = ['ACTIVE', 'STALE', 'OFFLINE'] as const;
export type AgentStatus = (typeof AGENT_STATUSES)[number];

/** What an agent may say of a run. */
export const OUTCOMES = ['COMPLETED', 'FAILED', 'TIMED_OUT', 'CANCELLED', 'RETURNED'] as const;
export type Outcome = (typeof OUTCOMES)[number];

export const states = <M extends Machine>(machine: M): [keyof M & string, ...(keyof M & string)[]] =>
  Object.keys(machine) as [keyof M & string, ...(keyof M & string)[]];

/** The states from which an event is allowed: what a transition's WHERE guards on. */
export const statesAllowing = <M extends Machine>(machine: M, event: string): (keyof M & string)[] =>
  states(machine).filter((state) => machine[state]?.[event]);

/** States nothing but a person moves a thing out of. */
export const isTerminal = (status: TaskStatus): boolean =>
  Object.keys(TASK[status]).every((event) => event === 'retry');
