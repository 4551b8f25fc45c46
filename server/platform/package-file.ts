import { existsSync } from 'node:fs';

/** A file the package carries: beside the sources in a checkout, beside `dist/` once packed. */
export function packageFile(name: string): URL {
  const candidates = ['../../', '../', '../../../'].map((up) => new URL(up + name, import.meta.url));
  return candidates.find((url) => existsSync(url)) ?? candidates[0]!;
}
