/** One thing a conformant program does, and a way to see it. */
export interface Check<Stage> {
  name: string;
  /** How long it takes about, in seconds, where that is more than a few. */
  seconds?: number;
  /** Throws where it is otherwise. */
  run(stage: Stage): Promise<void>;
}

export interface CheckResult {
  name: string;
  ok: boolean;
  seconds: number;
  /** What was seen instead. */
  why?: string;
}

/** Runs checks one after the other, each on a stage of its own. */
export async function runChecks<Stage extends AsyncDisposable>(
  checks: readonly Check<Stage>[],
  open: () => Promise<Stage>,
  onResult: (result: CheckResult) => void = () => {},
): Promise<CheckResult[]> {
  const results: CheckResult[] = [];
  for (const check of checks) {
    const began = performance.now();
    const why = await faultOf(check, open);
    const seconds = (performance.now() - began) / 1_000;
    const result = { name: check.name, ok: why === undefined, seconds, ...(why === undefined ? {} : { why }) };
    results.push(result);
    onResult(result);
  }
  return results;
}

async function faultOf<Stage extends AsyncDisposable>(
  { run }: Check<Stage>,
  open: () => Promise<Stage>,
): Promise<string | undefined> {
  try {
    await using stage = await open();
    await run(stage);
    return undefined;
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
}

/** Says no where something is not so. */
export function must(so: unknown, otherwise: string): asserts so {
  if (!so) throw new Error(otherwise);
}
