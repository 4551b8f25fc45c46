/** What an API key can be for. `admin` is for everything, of every owner; none of the others implies another. */
export const SCOPES = [
  'tasks:read',
  'tasks:write',
  'schedules:read',
  'schedules:write',
  'agents:read',
  'agents:admin',
  'trust:admin',
  'keys:admin',
  'audit:read',
  'admin',
] as const;

export type Scope = (typeof SCOPES)[number];
