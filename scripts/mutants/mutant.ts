import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

/** A piece of a file, which must be there once, and what stands in its place. */
export interface Edit {
  file: string;
  find: string;
  replace: string;
}

/** A test by its file and its name, or a part of that which is in the file as it stands. */
export interface Named {
  file: string;
  test: string;
  /** What comes before that in its full name, where several have it. */
  of?: string;
}

/** A bug that somebody might make one day, seeded into a copy of the tree. */
export interface Mutant {
  name: string;
  /** What is wrong with the product that has it. */
  why: string;
  edits: readonly Edit[];
  /** Each of these fails where the bug is, and passes where it is not. */
  caughtBy: readonly Named[];
}

/** Puts a mutant's edits into the tree at `root`; the returned function takes them out again. Throws, with nothing changed, where a piece is not there exactly once. */
export function mutate(root: string, mutant: Mutant): () => void {
  const before = new Map<string, string>();
  const after = new Map<string, string>();
  for (const edit of mutant.edits) {
    const text = after.get(edit.file) ?? readFileSync(join(root, edit.file), 'utf8');
    if (!before.has(edit.file)) before.set(edit.file, text);
    after.set(edit.file, edited(text, edit, mutant.name));
  }
  const write = (texts: ReadonlyMap<string, string>) => {
    for (const [file, text] of texts) writeFileSync(join(root, file), text);
  };
  write(after);
  return () => write(before);
}

/** The text with the edit in it. */
export function edited(text: string, { file, find, replace }: Edit, mutant: string): string {
  const [head, ...tails] = text.split(find);
  if (tails.length === 1) return head + replace + tails[0];
  const times = tails.length === 0 ? 'not there any more' : `there ${tails.length} times`;
  throw new Error(`mutant "${mutant}": in ${file} this is ${times}, it must be there once:\n${find}`);
}
