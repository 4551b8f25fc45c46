/** The Muster test kit: real coordinators on a clock that can be moved, real processes, and what goes wrong with them. */
export { type AdvanceOptions, type TestClock, testClock } from './clock.ts';
export { startCoordinator, type TestCoordinator, type TestCoordinatorOptions } from './coordinator.ts';
export { type EventuallyOptions, eventually } from './eventually.ts';
export { KillablePostgres } from './killable-postgres.ts';
export { createDatabase, type PostgresMajor, type TestDatabase, testPostgres } from './postgres.ts';
export { type Line, type ProcessSpec, TestProcess } from './process.ts';
export { startProxy, type TestProxy } from './proxy.ts';
export { type AgentProcessOptions, type CoordinatorProcess, createSupervisor, type Supervisor } from './supervisor.ts';
