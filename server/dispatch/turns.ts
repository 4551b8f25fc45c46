/** Of a class so many agents are remembered: who is not was not given a task of it for long, and is as good as new. */
const KEPT = 10_000;

/** When each agent was last given a task of a class, counted in tasks. Each coordinator counts its own. */
export class Turns {
  private given = 0;
  private readonly last = new Map<number, Map<string, number>>();

  gave(classId: number, agentId: string): void {
    const of = this.last.get(classId) ?? new Map<string, number>();
    this.last.set(classId, of);
    this.given += 1;
    // They stand in the order of their turns.
    of.delete(agentId);
    of.set(agentId, this.given);
    const [first] = of.keys();
    if (of.size > KEPT) of.delete(first!);
  }

  /** 0 where it never was. */
  of(classId: number, agentId: string): number {
    return this.last.get(classId)?.get(agentId) ?? 0;
  }
}
