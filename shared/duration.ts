const UNITS = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 } as const;
const PART = /(\d+(?:\.\d+)?)(ms|s|m|h|d)/g;

/** Milliseconds of a duration as a person writes it: `3d`, `12h`, `1h30m`, `2.5s`, `250ms`. A number is milliseconds already. */
export function durationMs(duration: string | number): number {
  if (typeof duration === 'number') return duration;
  const parts = [...duration.matchAll(PART)];
  if (parts.length === 0 || parts.map(([part]) => part).join('') !== duration) {
    throw new RangeError(`${JSON.stringify(duration)} is not a duration: write it like 3d, 12h, 1h30m, 30s or 250ms`);
  }
  return parts.reduce((sum, [, count, unit]) => sum + Number(count) * UNITS[unit as keyof typeof UNITS], 0);
}

/** The shortest text `durationMs` reads back as the same whole number of milliseconds: `1h30m`, `250ms`, `0ms`. */
export function formatDuration(ms: number): string {
  let rest = Math.round(ms);
  let text = '';
  for (const unit of ['d', 'h', 'm', 's', 'ms'] as const) {
    const count = Math.floor(rest / UNITS[unit]);
    if (count > 0) text += `${count}${unit}`;
    rest -= count * UNITS[unit];
  }
  return text || '0ms';
}
