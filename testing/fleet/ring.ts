/** What those of a ring tell each other: who has which task, and what of it they said. */
export class Ring {
  readonly #having = new Map<string, Set<string>>();
  readonly #lied = new Map<string, boolean>();

  join(taskId: string, name: string): void {
    const having = this.#having.get(taskId) ?? new Set();
    this.#having.set(taskId, having.add(name));
  }

  /** Whether its lie is told of a task: whoever answers first sets the tune for all. */
  lies(taskId: string, when: 'together' | 'always'): boolean {
    const lies = this.#lied.get(taskId) ?? (when === 'always' || (this.#having.get(taskId)?.size ?? 0) > 1);
    this.#lied.set(taskId, lies);
    return lies;
  }
}
