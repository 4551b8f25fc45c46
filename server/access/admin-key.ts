import { randomBytes } from 'node:crypto';
import { type Authenticator, sameSecret } from '../platform/auth.ts';
import type { Config } from '../platform/config.ts';
import { secretFile } from './secret-file.ts';

/** The key that may do everything. `made` is true once: when it was made at this start. */
export interface AdminKey {
  key: string;
  made: boolean;
  path?: string;
}

/** The admin key of the settings, else the one in the data folder, else a new one kept there. */
export function loadAdminKey(config: Config): AdminKey {
  if (config.adminKey) return { key: config.adminKey, made: false };
  const { secret, made, path } = secretFile(
    config.dataDir,
    'admin-key',
    () => `mk_admin_${randomBytes(32).toString('base64url')}\n`,
  );
  return { key: secret, made, path };
}

/** Knows the admin key. */
export const adminAuthenticator =
  (key: string): Authenticator =>
  (credential) =>
    sameSecret(credential, key) ? { kind: 'admin', owner: 'admin' } : undefined;
