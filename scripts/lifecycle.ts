import { readFile, writeFile } from 'node:fs/promises';
import { AGENT_MODE, type Machine, RUN, SCHEDULE, STANDING, states, TASK } from '@muster/shared/lifecycle';

const file = new URL('../docs/lifecycle.md', import.meta.url);
const MACHINES: Record<string, Machine> = {
  task: TASK,
  run: RUN,
  agent_mode: AGENT_MODE,
  standing: STANDING,
  schedule: SCHEDULE,
};

/** A machine as a Mermaid state diagram; states nothing leaves end in a dot. */
function diagram(machine: Machine): string {
  const arrows = states(machine).flatMap((state) => {
    const events = Object.entries(machine[state]!).flatMap(([event, to]) => to.map((next) => ({ next, event })));
    const targets = [...new Set(events.map(({ next }) => next))];
    if (targets.length === 0) return [`    ${state} --> [*]`];
    return targets.map((target) => {
      const labels = events.filter(({ next }) => next === target).map(({ event }) => event);
      return `    ${state} --> ${target}: ${labels.join(', ')}`;
    });
  });
  return ['```mermaid', 'stateDiagram-v2', `    [*] --> ${states(machine)[0]}`, ...arrows, '```'].join('\n');
}

const found = await readFile(file, 'utf8');
const wanted = found.replace(
  /(<!-- machine: (\w+) -->\n)[\s\S]*?(\n<!-- end -->)/g,
  (_, start: string, name: string, end: string) => `${start}${diagram(MACHINES[name]!)}${end}`,
);

if (!process.argv.includes('--check')) {
  await writeFile(file, wanted);
} else if (found !== wanted) {
  console.error(
    'docs/lifecycle.md is not what shared/lifecycle.ts says. Run: npx tsx --conditions=development scripts/lifecycle.ts',
  );
  process.exit(1);
}
