import { customType } from 'drizzle-orm/pg-core';

/** An id: a TypeID in byte order, so that sorting by id is sorting by age. */
export const idText = customType<{ data: string }>({ dataType: () => 'text collate "C"' });

/** A moment: what crosses the wire has milliseconds, so the column has no more. */
export const moment = customType<{ data: Date; driverData: string }>({
  dataType: () => 'timestamp (3) with time zone',
  fromDriver: (value) => new Date(value),
  toDriver: (value) => value.toISOString(),
});

/** A transaction id that never wraps; a reader of the outbox stops where transactions may still be open. */
export const xid8 = customType<{ data: string }>({ dataType: () => 'xid8' });

/** JSON as the driver has read it: Drizzle's own type reads a text that looks like JSON a second time. */
export const anyJson = customType<{ data: unknown }>({ dataType: () => 'json' });
