/** The Muster test kit: real coordinators on a clock that can be moved, fleets, real processes, what goes wrong with them, and what was promised. */

export { checkAnswers, checkBatches, checkOnce, checkPages, checkReplays, checkTimes } from './checkers/answers.ts';
export { checkCaps, checkFences, checkNeeds, checkReruns } from './checkers/order.ts';
export { checkTicks } from './checkers/ticks.ts';
export { assertFindings, checkCancels, checkClaims, checkResults, checkSubmits, type Finding } from './checkers.ts';
export { type AdvanceOptions, type RunOptions, type TestClock, testClock } from './clock.ts';
export { startCoordinator, type TestCoordinator, type TestCoordinatorOptions } from './coordinator.ts';
export { type EventuallyOptions, eventually } from './eventually.ts';
export { type Fleet, type FleetOptions, startFleet } from './fleet/fleet.ts';
export { PERSONAS, type Persona, type PersonaInput } from './fleet/persona.ts';
export { type FleetReport, reportText } from './fleet/report.ts';
export { type Entry, History } from './history.ts';
export { type Exchange, type Fault, type HttpProxy, startHttpProxy } from './http-proxy.ts';
export { KillablePostgres } from './killable-postgres.ts';
export { createDatabase, type PostgresMajor, type TestDatabase, testPostgres } from './postgres.ts';
export { type Line, type ProcessSpec, TestProcess } from './process.ts';
export { startProxy, type TestProxy } from './proxy.ts';
export { type AgentProcessOptions, type CoordinatorProcess, createSupervisor, type Supervisor } from './supervisor.ts';
