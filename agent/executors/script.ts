import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Usage } from '@muster/shared/contract/fields';
import { z } from 'zod';
import { type Handler, type RunContext, TaskError } from '../handler.ts';
import { RESULT_LIMIT_BYTES } from '../work/outcome.ts';
import { invalidInput, parseInput } from './input.ts';
import { fit, Output } from './output.ts';
import { runInGroup } from './process-group.ts';
import { together } from './usage.ts';

/** Nothing to be told yet; the object says that scripts are allowed. */
export type ScriptOptions = Record<never, never>;

/** What of the agent's own environment a script sees; never the agent's tokens. */
const INHERITED = ['PATH', 'HOME', 'LANG', 'TMPDIR', 'TZ'];
/** Variables that make a program load other code. */
const LOADERS =
  /^(LD_.*|DYLD_.*|NODE_OPTIONS|NODE_PATH|BASH_ENV|ENV|PYTHONSTARTUP|PYTHONPATH|PERL5OPT|PERL5LIB|RUBYOPT)$/;
/** Room for everything else a result says. */
const OUTPUT_ROOM_BYTES = RESULT_LIMIT_BYTES - 64 * 1024;

const text = z
  .string()
  .min(1)
  .max(256 * 1024);
const rest = {
  shell: z
    .string()
    .regex(/^[A-Za-z0-9._/-]+$/, { error: 'must be the name or path of a shell' })
    .default('/bin/sh'),
  env: z.record(z.string().regex(/^[A-Za-z_][A-Za-z0-9_]*$/), z.string().max(32_768)).default({}),
  working_dir: z.string().min(1).optional(),
  stdin: z.string().default(''),
};
const scriptInput = z.union([
  z.strictObject({ script: text, ...rest }),
  z.strictObject({ commands: z.array(text).min(1).max(100), ...rest }),
]);

interface Step {
  command: string;
  exit_code: number;
  duration_ms: number;
}

/**
 * `script`: runs commands one after the other, each in a shell of its own, up to the first that fails. They share folder
 * and environment; `stdin` goes to the first. The folder is a fresh one, removed afterwards, unless one is named.
 */
export const scriptExecutor =
  (_options: ScriptOptions): Handler =>
  async (context) => {
    const input = parseInput(scriptInput, context.input_data);
    const forbidden = Object.keys(input.env).find((name) => LOADERS.test(name));
    if (forbidden) throw invalidInput(`env may not set ${forbidden}: it makes programs load other code`);
    if (input.working_dir) return runSteps(input, input.working_dir, context);
    const folder = await mkdtemp(join(tmpdir(), 'muster-run-'));
    try {
      return await runSteps(input, folder, context);
    } finally {
      await rm(folder, { recursive: true, force: true });
    }
  };

async function runSteps(
  input: z.output<typeof scriptInput>,
  cwd: string,
  { signal, usage }: RunContext,
): Promise<unknown> {
  const commands = 'script' in input ? [input.script] : input.commands;
  const env = { ...inherited(), ...input.env };
  const [stdout, stderr] = [new Output(), new Output()];
  const steps: Step[] = [];
  const taken: Usage[] = [];
  for (const [index, command] of commands.entries()) {
    const startedAt = performance.now();
    const { exit_code, ...step } = await runInGroup({
      argv: [input.shell, '-c', command],
      cwd,
      env,
      signal,
      stdin: index === 0 ? input.stdin : '',
      onStdout: (chunk) => stdout.write(chunk),
      onStderr: (chunk) => stderr.write(chunk),
    }).catch((error) => {
      throw invalidInput(`${input.shell} could not be started in ${cwd}: ${error.message}`);
    });
    steps.push({ command: command.slice(0, 200), exit_code, duration_ms: Math.round(performance.now() - startedAt) });
    taken.push(step);
    if (exit_code !== 0 || signal.aborted) break;
  }
  usage(together(taken));
  return judge(resultOf(steps, stdout, stderr), signal);
}

function resultOf(steps: Step[], stdout: Output, stderr: Output) {
  const { one, other, cut } = fit(stdout.text, stderr.text, OUTPUT_ROOM_BYTES);
  const truncated = stdout.truncated || stderr.truncated || cut;
  return { exit_code: steps.at(-1)?.exit_code ?? 0, stdout: one, stderr: other, steps, truncated };
}

function judge(result: ReturnType<typeof resultOf>, signal: AbortSignal): unknown {
  if (signal.aborted) throw new TaskError('the script was killed', { code: 'killed', result_data: result });
  if (result.exit_code === 0) return result;
  const failed = result.steps.at(-1)!;
  throw new TaskError(`step ${result.steps.length} exited with ${failed.exit_code}: ${failed.command}`, {
    code: 'exit-code',
    fault: 'task',
    result_data: result,
  });
}

const inherited = (): Record<string, string> =>
  Object.fromEntries(INHERITED.flatMap((name) => (process.env[name] ? [[name, process.env[name]]] : [])));
