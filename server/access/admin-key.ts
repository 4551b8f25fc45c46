import { type Authenticator, type KeyPrincipal, sameSecret } from '../platform/auth.ts';
import type { Config } from '../platform/config.ts';
import { makeKey } from './key-format.ts';
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
  const { secret, made, path } = secretFile(config.dataDir, 'admin-key', () => `${makeKey('admin')}\n`);
  return { key: secret, made, path };
}

/** Knows the admin key, which is the operator's own: no limit holds it up when things go wrong. */
export function adminAuthenticator(key: string): Authenticator {
  const principal: KeyPrincipal = {
    kind: 'key',
    api_key_id: 'admin',
    owner: 'admin',
    scopes: ['admin'],
    allowed_addresses: null,
    requests_per_minute: null,
    expires_at: null,
  };
  return ({ scheme, token }) => (scheme === 'Bearer' && sameSecret(token, key) ? principal : undefined);
}
