import { execFileSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { cp, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { freePort } from '@muster/server/platform/embedded-postgres/server';
import { type EmbeddedPostgres, startEmbeddedPostgres } from '@muster/server/platform/embedded-postgres/start';
import { LEAVE_NO_MEMORY, quickLogin } from './postgres.ts';
import { signal } from './process-life.ts';
import { type ScratchFolder, scratchFolder } from './scratch.ts';

/** Where in its folder a server keeps its data. */
const CLUSTER = 'postgres';
/** What all of a process begin with: a copy of it starts in a quarter of the time. */
let cluster: Promise<string> | undefined;

/** An empty cluster, at rest. */
function aCluster(): Promise<string> {
  cluster ??= makeCluster().catch((error) => {
    cluster = undefined;
    throw error;
  });
  return cluster;
}

async function makeCluster(): Promise<string> {
  const scratch = scratchFolder('cluster');
  const server = await startEmbeddedPostgres(optionsOf(scratch, await freePort()));
  try {
    await quickLogin(server.url);
  } finally {
    await server.stop();
  }
  return join(scratch.path, CLUSTER);
}

/** Copied beside its place and renamed: what was cut short is never taken for a cluster. */
async function copyCluster(from: string, to: string): Promise<void> {
  const copy = `${to}.copy`;
  await rm(copy, { recursive: true, force: true });
  await cp(from, copy, { recursive: true });
  await rename(copy, to);
}

/** A whole Postgres under the hand of a test: killed, frozen, started again on its port and its data. Fully durable. */
export class KillablePostgres {
  readonly #scratch: ScratchFolder;
  readonly #port: number;
  #server: EmbeddedPostgres;

  private constructor(scratch: ScratchFolder, port: number, server: EmbeddedPostgres) {
    this.#scratch = scratch;
    this.#port = port;
    this.#server = server;
  }

  /** `folder`: where its data goes, e.g. a small file system of its own; a scratch folder unless said. */
  static async start({ folder }: { folder?: string | undefined } = {}): Promise<KillablePostgres> {
    const scratch = folder ? { path: folder, remove() {} } : scratchFolder('killable-postgres');
    const place = join(scratch.path, CLUSTER);
    if (!existsSync(place)) await copyCluster(await aCluster(), place);
    const port = await freePort();
    return new KillablePostgres(scratch, port, await startEmbeddedPostgres(optionsOf(scratch, port)));
  }

  /** Of an empty database; the same after a restart. */
  get url(): string {
    return this.#server.url;
  }

  get pid(): number {
    return this.#server.pid;
  }

  /** Sends a signal (SIGKILL unless said) to the server and to each of its sessions. */
  kill(name: NodeJS.Signals = 'SIGKILL'): void {
    for (const pid of [this.pid, ...childrenOf(this.pid)]) signal(pid, name);
  }

  /** Connections stay open and nothing answers, as when a disk or a machine hangs, until `resume`. */
  freeze(): void {
    this.kill('SIGSTOP');
  }

  resume(): void {
    this.kill('SIGCONT');
  }

  /** Stops it in order if it still runs, and starts it again: after `kill()` that is a recovery from a crash. */
  async restart(): Promise<this> {
    await this.#server.stop();
    this.#server = await startEmbeddedPostgres(optionsOf(this.#scratch, this.#port));
    return this;
  }

  async stop(): Promise<void> {
    this.resume();
    await this.#server.stop();
    this.#scratch.remove();
  }
}

const optionsOf = (scratch: ScratchFolder, port: number) => ({ dataDir: scratch.path, port, flags: LEAVE_NO_MEMORY });

function childrenOf(parent: number): number[] {
  return execFileSync('ps', ['-A', '-o', 'pid=,ppid='], { encoding: 'utf8' })
    .split('\n')
    .map((line) => line.trim().split(/\s+/).map(Number))
    .flatMap(([pid, ppid]) => (pid && ppid === parent ? [pid] : []));
}
