import * as contract from '@muster/shared/contract/access';
import { type Route, route } from '../platform/endpoint.ts';
import { createApiKey, getApiKey, listApiKeys, revokeApiKey, rotateApiKey, updateApiKey } from './api-keys.ts';

export const accessRoutes: Route[] = [
  route(contract.createApiKey, createApiKey),
  route(contract.listApiKeys, listApiKeys),
  route(contract.getApiKey, (ctx, { params }) => getApiKey(ctx, params.api_key_id)),
  route(contract.updateApiKey, updateApiKey),
  route(contract.rotateApiKey, rotateApiKey),
  route(contract.revokeApiKey, (ctx, { params }) => revokeApiKey(ctx, params.api_key_id)),
];
