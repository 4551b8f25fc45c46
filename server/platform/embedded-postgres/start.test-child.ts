/** A coordinator of its own process for the tests beside: starts the embedded Postgres, says so on stdout, and waits. */
import { startEmbeddedPostgres } from './start.ts';

const server = await startEmbeddedPostgres({ dataDir: process.argv[2]! });
process.on('SIGINT', () => console.log('draining'));
process.on('SIGTERM', () => void server.stop().then(() => process.exit(0)));
setInterval(() => {}, 60_000);
console.log(JSON.stringify({ url: server.url, pid: server.pid, adopted: server.adopted }));
