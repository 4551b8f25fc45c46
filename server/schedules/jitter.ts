import { createHash } from 'node:crypto';

/**
 * How much later than its due time a schedule fires, in whole milliseconds from 0 up to below `jitterSeconds` seconds:
 * the same for a due time whoever fires it, and spread evenly over schedules and over times.
 */
export function jitterMs(scheduleId: string, due: Date, jitterSeconds: number): number {
  if (jitterSeconds === 0) return 0;
  const hash = createHash('sha1').update(`${scheduleId}/${due.getTime()}`).digest();
  return hash.readUIntBE(0, 6) % (jitterSeconds * 1_000);
}
