// The same build, but what a run shows of its agent is not folded into its trust: what folding costs is what this saves.
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const SERVER = fileURLToPath(new URL('../../server', import.meta.url));

/** What stands for the parts of the statements that fold: as many rows as they leave, and nothing done. */
const INSTEAD = {
  foldTrust: '(from) => "folded_runs as materialized (select fence, null::bigint as fold_seq from " + from + ")"',
  foldCompleted:
    '(from) => "folded as materialized (select agent_id, capability, null::bigint as before from " + from + " group by 1, 2)"',
  foldOne: '(from) => "select null::bigint as fold_seq from " + from',
};

/** Copies the build beside itself, without folding; the copy goes with this process. Answers the name of its folder. */
export function unfolded() {
  const copy = mkdtempSync(join(SERVER, 'dist-unfolded-'));
  process.once('exit', () => rmSync(copy, { recursive: true, force: true }));
  cpSync(join(SERVER, 'dist'), copy, { recursive: true });
  const file = join(copy, 'trust', 'fold.js');
  let text = readFileSync(file, 'utf8');
  for (const [name, instead] of Object.entries(INSTEAD)) {
    const declared = `export const ${name} =`;
    if (!text.includes(declared)) throw new Error(`${file} does not say ${declared}`);
    text = `${text.replace(declared, `const ${name}_left_out =`)}\nexport const ${name} = ${instead};\n`;
  }
  writeFileSync(file, text);
  return basename(copy);
}
