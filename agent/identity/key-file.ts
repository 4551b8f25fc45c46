import { createPrivateKey, generateKeyPairSync, type JsonWebKey } from 'node:crypto';
import { readFile, stat } from 'node:fs/promises';
import { writePrivateFile } from './atomic-file.ts';

/** Makes an Ed25519 key and keeps it; only the public half ever leaves the machine. */
export async function makeKey(path: string): Promise<JsonWebKey> {
  const privateJwk = generateKeyPairSync('ed25519').privateKey.export({ format: 'jwk' });
  await writePrivateFile(path, `${JSON.stringify(privateJwk)}\n`);
  return privateJwk;
}

/** The private key a file holds, or undefined when there is none. */
export async function readKey(path: string): Promise<JsonWebKey | undefined> {
  const text = await readIfThere(path);
  if (text === undefined) return undefined;
  await refuseIfReadableByOthers(path);
  return createPrivateKey({ key: parseKey(path, text), format: 'jwk' }).export({ format: 'jwk' });
}

function parseKey(path: string, text: string): JsonWebKey {
  try {
    const jwk = JSON.parse(text) as JsonWebKey;
    if (jwk.kty === 'OKP' && jwk.crv === 'Ed25519' && jwk.d) return jwk;
  } catch {
    // Not JSON: said below, without the content, which may be a damaged key.
  }
  throw new Error(`${path} does not hold an Ed25519 private key as a JWK; remove it to enrol with a new key`);
}

async function refuseIfReadableByOthers(path: string): Promise<void> {
  if (process.platform === 'win32') return;
  const { mode } = await stat(path);
  if (mode & 0o077) {
    const found = (mode & 0o777).toString(8).padStart(4, '0');
    throw new Error(`${path} can be read by others (mode ${found}); it holds a private key: chmod 600 ${path}`);
  }
}

/** The text of a file, or undefined when there is none. */
export const readIfThere = (path: string): Promise<string | undefined> =>
  readFile(path, 'utf8').catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return undefined;
    throw error;
  });
