/** What is to be undone at the end. (Node 20 has no AsyncDisposableStack yet.) */
export interface Undo {
  /** Adds a step. */
  push(step: () => unknown): void;
  /** Takes the steps, the last first; each is tried whatever became of the others, and the first failure is thrown. */
  all(): Promise<void>;
}

/** A list of nothing to undo yet. */
export function createUndo(): Undo {
  const steps: (() => unknown)[] = [];
  return {
    push: (step) => void steps.push(step),
    async all() {
      const failures: unknown[] = [];
      for (let step = steps.pop(); step; step = steps.pop()) {
        try {
          await step();
        } catch (failure) {
          failures.push(failure);
        }
      }
      if (failures.length > 0) throw failures[0];
    },
  };
}
