import type { Sql } from '../platform/database.ts';
import type { TaskClass } from './store/classes.ts';
import * as store from './store/classes.ts';

/** The classes of the network. They are few and never change, so every coordinator keeps them all. */
export interface Classes {
  /** The class of a requirement, made where it is new. */
  idOf(owner: string, capability: string): Promise<number>;
  all(): readonly TaskClass[];
  /** Tells of every class as it becomes known. */
  onNew(heard: (it: TaskClass) => void): void;
  /** Learns classes other coordinators made. */
  refresh(): Promise<void>;
}

export function createClasses(sql: Sql): Classes {
  const known: TaskClass[] = [];
  const heard: ((it: TaskClass) => void)[] = [];
  const ids = new Map<string, number>();
  const pending = new Map<string, Promise<number>>();
  const keyOf = (owner: string, capability: string) => `${owner}\n${capability}`;
  const learn = (rows: TaskClass[]) => {
    for (const row of rows) {
      if (ids.has(keyOf(row.owner, row.capability))) continue;
      ids.set(keyOf(row.owner, row.capability), row.class_id);
      known.push(row);
      for (const hear of heard) hear(row);
    }
  };
  const make = async (owner: string, capability: string) => {
    const row = (await store.findClass(sql, owner, capability)) ?? (await store.insertClass(sql, owner, capability));
    learn([row]);
    return row.class_id;
  };
  return {
    async idOf(owner, capability) {
      const key = keyOf(owner, capability);
      const id = ids.get(key);
      if (id !== undefined) return id;
      const making = pending.get(key) ?? make(owner, capability).finally(() => pending.delete(key));
      pending.set(key, making);
      return making;
    },
    all: () => known,
    onNew: (hear) => void heard.push(hear),
    async refresh() {
      learn(await store.listClasses(sql, known.length));
    },
  };
}
