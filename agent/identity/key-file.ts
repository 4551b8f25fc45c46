import { createPrivateKey, createPublicKey, generateKeyPairSync, type JsonWebKey } from 'node:crypto';
import { readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { writePrivateFile } from './atomic-file.ts';

/** The agent's Ed25519 key; only the public half ever leaves the machine. */
export interface AgentKey {
  privateJwk: JsonWebKey;
  publicJwk: JsonWebKey;
}

/** Reads the key in `keyDir/agent-key.json`, or makes it. */
export async function loadKey(keyDir: string): Promise<AgentKey> {
  const path = join(keyDir, 'agent-key.json');
  const text = await readIfThere(path);
  if (text !== undefined) {
    await refuseIfReadableByOthers(path);
    return keyOf(parseKey(path, text));
  }
  const privateJwk = generateKeyPairSync('ed25519').privateKey.export({ format: 'jwk' });
  await writePrivateFile(path, `${JSON.stringify(privateJwk)}\n`);
  return keyOf(privateJwk);
}

function keyOf(privateJwk: JsonWebKey): AgentKey {
  const publicJwk = createPublicKey(createPrivateKey({ key: privateJwk, format: 'jwk' })).export({ format: 'jwk' });
  return { privateJwk, publicJwk };
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
