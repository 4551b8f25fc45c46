/** Where an owner stands: the virtual time at which its next task begins, and how much later each further one does. */
export interface Turn {
  begins: number;
  stride: number;
}

/** More owners than this are looked through for those that have no lead any more. */
const KEPT = 1_000;

/**
 * Start-time fair queueing between owners (Goyal, Vin and Cheng, 1996): a task begins where its owner's last one ended, but not before the
 * virtual time, which is where the task stood that was begun last. So whoever had nothing to do saves nothing up, a long
 * queue does not delay a short one, and tasks go by weight. Each coordinator keeps its own time.
 */
export class Fairness {
  private now = 0;
  private readonly ends = new Map<string, number>();
  private readonly weightOf: (owner: string) => number;

  /** `weightOf`: 1 unless somebody said otherwise; one of 3 has three tasks begun for each of one of 1. */
  constructor(weightOf: (owner: string) => number) {
    this.weightOf = weightOf;
  }

  turnOf(owner: string): Turn {
    return { begins: Math.max(this.now, this.ends.get(owner) ?? 0), stride: 1 / this.weightOf(owner) };
  }

  /** Tasks of an owner were begun, in the turn it had. */
  took(owner: string, { begins, stride }: Turn, n: number): void {
    // Another claim may have moved it meanwhile.
    this.ends.set(owner, Math.max(begins, this.ends.get(owner) ?? 0) + n * stride);
    this.now = Math.max(this.now, begins + (n - 1) * stride);
    if (this.ends.size <= KEPT) return;
    for (const [name, end] of this.ends) if (end <= this.now) this.ends.delete(name);
  }
}
