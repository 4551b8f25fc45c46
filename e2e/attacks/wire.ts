import { type Answer, type Stage, shout } from './stage.ts';

/** A request as it stands on the wire. What is not said is as a good client would have it: a new task, from a key that may. */
export interface Wire {
  method?: string;
  target?: string;
  version?: string;
  /** Null: none. */
  host?: string | null;
  type?: string | null;
  /** Whether it says who it is; it does unless said. */
  known?: boolean;
  /** The length it says; null: none. */
  length?: number | string | null;
  /** Lines as they are. */
  headers?: string[];
  body?: string | Uint8Array;
}

/** A task nobody works on. */
export const TASK = '{"task_type":"never","input_data":null}';

/** The bytes of a request; text is taken for Latin-1, a byte a character. */
export function wire(
  { owner }: Pick<Stage, 'owner'>,
  {
    method = 'POST',
    target = '/aitp/tasks',
    version = 'HTTP/1.1',
    host = 'muster',
    type = 'application/json',
    known = true,
    headers = [],
    body = method === 'POST' ? TASK : '',
    length = body.length,
  }: Wire,
): Buffer {
  const lines = [
    `${method} ${target} ${version}`,
    ...(host === null ? [] : [`Host: ${host}`]),
    ...(known ? [`Authorization: Bearer ${owner.api_key}`] : []),
    ...(body.length === 0 || type === null ? [] : [`Content-Type: ${type}`]),
    ...(length === null || (body.length === 0 && length === 0) ? [] : [`Content-Length: ${length}`]),
    'Connection: close',
    ...headers,
  ];
  const payload = typeof body === 'string' ? Buffer.from(body, 'latin1') : body;
  return Buffer.concat([Buffer.from(`${lines.join('\r\n')}\r\n\r\n`, 'latin1'), payload]);
}

/** Writes a request to the coordinator's socket. */
export const send = (stage: Stage, request: Wire, forMs?: number): Promise<Answer> =>
  shout(stage.url, wire(stage, request), forMs);

/** A body in chunks, as many as there are parts. */
export const chunked = (...parts: string[]): string =>
  `${parts.map((part) => `${part.length.toString(16)}\r\n${part}\r\n`).join('')}0\r\n\r\n`;
