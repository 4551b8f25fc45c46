/** Why the embedded Postgres cannot run; the message is for whoever started the coordinator. */
export class EmbeddedPostgresError extends Error {
  override name = 'EmbeddedPostgresError';
}
