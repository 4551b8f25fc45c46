// Numbers of several rounds as one line.

const sorted = (values) => values.toSorted((a, b) => a - b);

export const percentile = (values, part) => {
  const all = sorted(values);
  return all[Math.min(all.length - 1, Math.floor(all.length * part))];
};
export const median = (values) => percentile(values, 0.5);

/** A number with three digits or more, `81.2k` where it is large. */
export function short(value) {
  if (!Number.isFinite(value)) return '-';
  if (value >= 10_000) return `${(value / 1_000).toFixed(1)}k`;
  return value >= 100 ? value.toFixed(0) : value.toFixed(2);
}

/** `median [min..max]`. */
export const spread = (values) =>
  `${short(median(values))} [${short(Math.min(...values))}..${short(Math.max(...values))}]`;
