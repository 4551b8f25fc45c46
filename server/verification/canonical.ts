import type { Json } from '@muster/shared/contract/fields';

/** JSON in the one form that RFC 8785 gives it: names sorted by their UTF-16 code units, numbers and texts as ECMAScript writes them. */
export function canonical(value: Json): string {
  if (typeof value !== 'object' || value === null) return JSON.stringify(value);
  if (Array.isArray(value)) return `[${value.map(canonical).join()}]`;
  const names = Object.keys(value).sort();
  return `{${names.map((name) => `${JSON.stringify(name)}:${canonical(value[name]!)}`).join()}}`;
}
