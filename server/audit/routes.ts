import * as contract from '@muster/shared/contract/audit';
import { type Route, route } from '../platform/endpoint.ts';
import type { Heads } from './heads.ts';
import { listAuditLogs, verifyAuditLogs } from './read.ts';
import type { Signer } from './seal.ts';

export const auditRoutes = (signer: Signer, heads: Heads): Route[] => [
  route(contract.listAuditLogs, listAuditLogs),
  route(contract.verifyAuditLogs, (ctx, input) => verifyAuditLogs(ctx, signer, heads, input)),
];
