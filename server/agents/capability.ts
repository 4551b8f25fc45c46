/** Whether a capability an agent has meets one a task requires: an unversioned requirement takes any version. */
export const meets = (has: string, required: string): boolean =>
  has === required || (!required.includes(':') && has.startsWith(`${required}:`));
