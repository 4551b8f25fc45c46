// What the edge costs: requests a second through everything around a verb (limits, authentication, admission, validation,
// headers) against hono alone with the same JSON, side by side. Each server answers from one process, the load comes from another.
// Usage: npm run bench:edge [-- seconds rounds]      Prints requests/s and, round by round, ratios to hono alone.
// BENCH_NODE_ARGS goes to the three processes, for example --cpu-prof.
import { fork } from 'node:child_process';
import { once } from 'node:events';
import { cpus } from 'node:os';
import { fileURLToPath } from 'node:url';

const SECONDS = Number(process.argv[2] ?? 3);
const ROUNDS = Number(process.argv[3] ?? 7);
const CONNECTIONS = 32;
/** Rounds that do not count: a server is quick only when all it does was compiled. */
const WARM_UP_ROUNDS = 3;

/** Starts a file of this folder as a process to talk to; if it ends, all do. */
const start = (name) =>
  fork(fileURLToPath(new URL(`edge-${name}.mjs`, import.meta.url)), {
    // As it is shipped: what tsx compiles as it goes is slower, and of the two sides ours alone would be.
    execArgv: process.env.BENCH_NODE_ARGS?.split(' ').filter(Boolean) ?? [],
  }).once('exit', (code) => code && process.exit(code));

const told = async (child) => (await once(child, 'message'))[0];

const ask = (child, what) => {
  child.send(what);
  return told(child);
};

/** The CPU time a process has had, in microseconds: unlike a rate it hardly depends on what else the machine does. */
const cpuOf = async (child) => {
  const { cpu } = await ask(child, 'cpu');
  return cpu.user + cpu.system;
};

const [bare, full, load] = ['bare', 'full', 'load'].map(start);
const [{ port: barePort }, { port, key, token }] = await Promise.all([told(bare), told(full)]);
const unread = { server: bare, port: barePort, credential: token };
const SUBJECTS = [
  { name: 'hono', path: '/bench', ...unread },
  { name: 'hono + schema', path: '/bench-zod', ...unread },
  { name: 'edge, API key', path: '/bench', server: full, port, credential: key },
  { name: 'edge, access token', path: '/bench', server: full, port, credential: token },
];

/** One round of one subject: requests a second, and the CPU time of its server for each in microseconds. */
async function measure({ server, ...subject }) {
  const { name: _, ...request } = subject;
  const before = await cpuOf(server);
  const { rate, count } = await ask(load, { ...request, connections: CONNECTIONS, seconds: SECONDS });
  return { rate, cpu: ((await cpuOf(server)) - before) / count };
}

const median = (values) => values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)];
const percent = (value) => `${(100 * value).toFixed(1)} %`;

const results = SUBJECTS.map(() => []);
for (let round = -WARM_UP_ROUNDS; round < ROUNDS; round += 1) {
  const measured = [];
  for (const subject of SUBJECTS) measured.push(await measure(subject));
  if (round < 0) continue;
  for (const [n, it] of measured.entries())
    results[n].push({ ...it, ratio: it.rate / measured[0].rate, cpuRatio: measured[0].cpu / it.cpu });
  console.log(
    `round ${round + 1}: ${measured.map(({ rate }, n) => `${SUBJECTS[n].name} ${Math.round(rate)}/s (${percent(rate / measured[0].rate)})`).join(', ')}`,
  );
}
console.log(
  `\nNode ${process.version}, ${cpus().length} cores, ${CONNECTIONS} connections, ${ROUNDS} rounds of ${SECONDS} s`,
);
for (const [n, { name }] of SUBJECTS.entries()) {
  const of = (what) => results[n].map((it) => it[what]);
  const ratios = of('ratio');
  console.log(
    `${name.padEnd(20)} ${Math.round(median(of('rate')))}/s, ${percent(median(ratios))} of hono ` +
      `(${percent(Math.min(...ratios))} to ${percent(Math.max(...ratios))}); ` +
      `${median(of('cpu')).toFixed(1)} us of CPU each, ${percent(median(of('cpuRatio')))} of hono`,
  );
}
for (const child of [bare, full, load]) child.disconnect();
