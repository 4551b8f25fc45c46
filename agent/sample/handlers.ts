import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { readdir } from 'node:fs/promises';
import { join, relative } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { z } from 'zod';
import { parseInput } from '../executors/input.ts';
import type { Handler } from '../handler.ts';

/** Returns what it was given. */
export const echo: Handler = ({ input_data }) => input_data;

const wordCountInput = z.object({ text: z.string() });

/** `{text}` -> how many words, lines and characters it has. */
export const wordCount: Handler = ({ input_data }) => {
  const { text } = parseInput(wordCountInput, input_data);
  return {
    words: text.split(/\s+/u).filter(Boolean).length,
    lines: text === '' ? 0 : text.split('\n').length,
    characters: [...text].length,
  };
};

const sleepInput = z.object({ seconds: z.number().min(0).max(86_400) });

/** `{seconds}`: sleeps, and wakes when the run must stop. */
export const sleepFor: Handler = async ({ input_data, signal }) => {
  const { seconds } = parseInput(sleepInput, input_data);
  await sleep(seconds * 1_000, undefined, { signal });
  return { slept_seconds: seconds };
};

const folderInput = z.object({ path: z.string().min(1) });

/** `{path}` -> the SHA-256 of every file below it, read as streams. */
export const sha256Folder: Handler = async ({ input_data, signal, progress }) => {
  const { path } = parseInput(folderInput, input_data);
  const entries = await readdir(path, { recursive: true, withFileTypes: true });
  const names = entries
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath ?? entry.path, entry.name));
  const files: Record<string, string> = {};
  for (const [index, name] of names.sort().entries()) {
    const hash = createHash('sha256');
    await pipeline(createReadStream(name), hash, { signal });
    files[relative(path, name)] = hash.digest('hex');
    progress({ percent: Math.round(((index + 1) / names.length) * 100) });
  }
  return { files };
};

/** What the sample agent can do, by task type. */
export const SAMPLE_HANDLERS: Record<string, Handler> = {
  echo,
  'word-count': wordCount,
  sleep: sleepFor,
  'sha256-folder': sha256Folder,
};
