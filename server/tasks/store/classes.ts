import type { Sql } from '../../platform/database.ts';

/** The distinct requirements of tasks: what an agent must be and do to be given one. */
export interface TaskClass {
  class_id: number;
  owner: string;
  capability: string;
}

export async function findClass(sql: Sql, owner: string, capability: string): Promise<TaskClass | undefined> {
  const [row] = await sql<TaskClass[]>`
    select class_id::int, owner, capability from classes where owner = ${owner} and capability = ${capability}`;
  return row;
}

/** Makes a class; when another coordinator makes it at the same moment, both get the one. */
export async function insertClass(sql: Sql, owner: string, capability: string): Promise<TaskClass> {
  const [row] = await sql<TaskClass[]>`
    insert into classes (owner, capability) values (${owner}, ${capability})
    on conflict (owner, capability) do update set capability = excluded.capability
    returning class_id::int, owner, capability`;
  return row!;
}

/** All classes, when there are more than `known`. */
export async function listClasses(sql: Sql, known: number): Promise<TaskClass[]> {
  return sql<TaskClass[]>`
    select class_id::int, owner, capability from classes where (select count(*) from classes) <> ${known} order by class_id`;
}
