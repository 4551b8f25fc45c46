import { readFile, writeFile } from 'node:fs/promises';

/** Writes tables into a document, by name, between `<!-- table: name -->` and `<!-- end -->`; those of other names stay. */
export async function writeTables(file: URL, tables: Record<string, string>): Promise<void> {
  const found = await readFile(file, 'utf8');
  const written = found.replace(
    /(<!-- table: (\w+) -->\n)[\s\S]*?(<!-- end -->)/g,
    (old, start: string, name: string, end: string) => (tables[name] ? `${start}${tables[name]}\n${end}` : old),
  );
  await writeFile(file, written);
}
