import type { Sql } from '../platform/database.ts';
import * as store from './store/classes.ts';

/** The distinct requirements of tasks: what an agent must be and do to be given one. */
export interface TaskClass {
  class_id: number;
  owner: string;
  capability: string;
}

/** The classes of the network. They are few and never change, so every coordinator keeps them all. */
export interface Classes {
  /** The class of a requirement, made where it is new. */
  idOf(owner: string, capability: string): Promise<number>;
  all(): readonly TaskClass[];
  /** Learns classes other coordinators made. */
  refresh(): Promise<void>;
}

export function createClasses(sql: Sql): Classes {
  const known: TaskClass[] = [];
  const ids = new Map<string, number>();
  const pending = new Map<string, Promise<number>>();
  const keyOf = (owner: string, capability: string) => `${owner}\n${capability}`;
  const learn = (rows: TaskClass[]) => {
    for (const row of rows) {
      if (ids.has(keyOf(row.owner, row.capability))) continue;
      ids.set(keyOf(row.owner, row.capability), row.class_id);
      known.push(row);
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
    async refresh() {
      learn(await store.listClasses(sql, known.length));
    },
  };
}
