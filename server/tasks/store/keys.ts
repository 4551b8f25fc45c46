import type { Sql } from '../../platform/database.ts';

/** A request that is remembered, by the task it was to make. */
export interface Remembered {
  owner: string;
  key: string;
  task_id: string;
}

/** What a request made, a task or a batch. `made`: there is such a task; where there is none, its unique key was taken. */
export interface Answered {
  task_id: string | null;
  batch_id: string | null;
  request_hash: string;
  made: boolean;
}

/** What a request with this key made before. */
export async function findOnce(sql: Sql, owner: string, key: string): Promise<Answered | undefined> {
  const [row] = await sql<Answered[]>`
    select k.task_id, k.batch_id, k.request_hash, exists (select from tasks t where t.task_id = k.task_id) as made
    from idempotency_keys k where k.owner = ${owner} and k.idempotency_key = ${key}`;
  return row;
}

/** Lets a request that made no task stand for the one there was. */
export async function pointOnce(sql: Sql, { owner, key, task_id }: Remembered, other: string): Promise<void> {
  await sql`
    update idempotency_keys set task_id = ${other} where owner = ${owner} and idempotency_key = ${key} and task_id = ${task_id}`;
}

/** Forgets a request that made no task. */
export async function forgetOnce(sql: Sql, { owner, key, task_id }: Remembered): Promise<void> {
  await sql`
    delete from idempotency_keys
    where owner = ${owner} and idempotency_key = ${key} and task_id = ${task_id} and not exists (select from tasks where tasks.task_id = ${task_id})`;
}

/** The open tasks of unique keys, by key. */
export async function findUniques(sql: Sql, owner: string, keys: readonly string[]): Promise<Map<string, string>> {
  const rows = await sql<{ unique_key: string; task_id: string }[]>`
    select unique_key, task_id from unique_keys where owner = ${owner} and unique_key = any(${keys as string[]}::text[])`;
  return new Map(rows.map((row) => [row.unique_key, row.task_id]));
}

/** Forgets requests after their day, so many at a time. */
export async function forgetExpiredOnce(sql: Sql, limit: number): Promise<number> {
  const forgotten = await sql`
    with cutoff as materialized (select muster_now() as at)
    delete from idempotency_keys where ctid = any(array(
      select ctid from idempotency_keys where expires_at < (select at from cutoff) order by expires_at limit ${limit} for update skip locked))`;
  return forgotten.count;
}
