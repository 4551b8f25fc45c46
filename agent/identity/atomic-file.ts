import { mkdirSync } from 'node:fs';
import { open, rename, rm } from 'node:fs/promises';
import { dirname } from 'node:path';

let counter = 0;

/** Writes a private file (0600, folder 0700) so that a crash leaves the old one or the new one, never half of one; once it has returned, the new one. */
export async function writePrivateFile(path: string, text: string): Promise<void> {
  mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
  counter += 1;
  const temporary = `${path}.${process.pid}.${counter}.tmp`;
  const file = await open(temporary, 'wx', 0o600);
  try {
    await file.writeFile(text);
    await file.sync();
  } finally {
    await file.close();
  }
  await rename(temporary, path).catch(async (error) => {
    await rm(temporary, { force: true });
    throw error;
  });
  await syncFolder(dirname(path));
}

/** A name is only sure to outlive a power failure once its folder is on disk; Windows cannot be asked. */
async function syncFolder(path: string): Promise<void> {
  if (process.platform === 'win32') return;
  const folder = await open(path, 'r');
  await folder.sync().finally(() => folder.close());
}
