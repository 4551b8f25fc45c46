import type { Endpoint } from '@muster/shared/contract/endpoint';
import { notFound } from '@muster/shared/errors';
import { isAdmin, type Principal } from './auth.ts';

/** A kind of thing with an owner: what it is called, and whose one of them is. */
export interface Owned {
  thing: string;
  ownerOf(id: string): Promise<string | undefined>;
}

/** By the name of the path parameter that holds the id. */
export type Owners = Readonly<Record<string, Owned>>;

/**
 * Refuses a caller another's thing, as if there were none. Owners never change, so what is found out here still holds when
 * the verb does its work. An agent is about itself, which `authorise` has seen to.
 */
export async function refuseForeign(
  endpoint: Endpoint,
  principal: Principal,
  params: Record<string, unknown>,
  owners: Owners,
): Promise<void> {
  if (endpoint.ownership !== 'path' || principal.kind !== 'key' || isAdmin(principal)) return;
  const name = Object.keys(params).at(-1)!;
  const id = String(params[name]);
  const { thing, ownerOf } = owners[name]!;
  if ((await ownerOf(id)) !== principal.owner) throw notFound(thing, id);
}
