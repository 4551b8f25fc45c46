/** Every problem code, its HTTP status and title, and whether the same request may succeed later. */
export const PROBLEMS = {
  'malformed-request': { status: 400, title: 'The request could not be read', retryable: false },
  'invalid-id': { status: 400, title: 'Not an id of this kind', retryable: false },
  unauthenticated: { status: 401, title: 'Credentials are required', retryable: false },
  'invalid-token': { status: 401, title: 'The token is not valid', retryable: false },
  'invalid-api-key': { status: 401, title: 'The API key is not valid', retryable: false },
  'invalid-proof': { status: 401, title: 'The proof of the key is not valid', retryable: false },
  'token-revoked': { status: 401, title: 'The token was revoked', retryable: false },
  'enrollment-token-invalid': { status: 401, title: 'The enrolment token is not valid', retryable: false },
  'insufficient-scope': { status: 403, title: 'These credentials do not allow this', retryable: false },
  'not-found': { status: 404, title: 'No such thing', retryable: false },
  'method-not-allowed': { status: 405, title: 'This path does not take that method', retryable: false },
  'request-timeout': { status: 408, title: 'The request took too long to arrive', retryable: true },
  conflict: { status: 409, title: 'The state does not allow this', retryable: false },
  'stale-lease': { status: 409, title: 'The lease is no longer held', retryable: false },
  'idempotency-mismatch': {
    status: 409,
    title: 'This Idempotency-Key was used for another request',
    retryable: false,
  },
  'task-terminal': { status: 409, title: 'The task has already ended', retryable: false },
  'precondition-failed': { status: 412, title: 'It has changed since it was looked at', retryable: false },
  'payload-too-large': { status: 413, title: 'The body is too large', retryable: false },
  'uri-too-long': { status: 414, title: 'The URL is too long', retryable: false },
  'unsupported-media-type': { status: 415, title: 'The body must be application/json', retryable: false },
  'validation-failed': { status: 422, title: 'Some fields are not as they must be', retryable: false },
  'invalid-cron': { status: 422, title: 'The cron expression is not valid', retryable: false },
  'invalid-timezone': { status: 422, title: 'The time zone is not known', retryable: false },
  'schedule-never-fires': { status: 422, title: 'The schedule would never fire', retryable: false },
  'schedule-too-frequent': { status: 422, title: 'The schedule would fire too often', retryable: false },
  'upgrade-required': { status: 426, title: 'This protocol version is not spoken here', retryable: false },
  'rate-limited': { status: 429, title: 'Too many requests', retryable: true },
  'headers-too-large': { status: 431, title: 'The headers are too large', retryable: false },
  internal: { status: 500, title: 'Something went wrong on our side', retryable: true },
  overloaded: { status: 503, title: 'Too busy right now', retryable: true },
  'storage-unavailable': { status: 503, title: 'The database cannot be reached', retryable: true },
} as const satisfies Record<string, { status: number; title: string; retryable: boolean }>;

export type ProblemCode = keyof typeof PROBLEMS;

/** One field that is wrong: a JSON Pointer (RFC 6901) into the body, or `#/query/limit`, and why. */
export interface FieldError {
  pointer: string;
  detail: string;
}

/** An error answer as it travels: RFC 9457 problem details with Muster's members. */
export interface Problem {
  type: string;
  title: string;
  status: number;
  detail: string;
  code: ProblemCode;
  errors?: FieldError[];
  request_id?: string;
}

/** A problem on its way to being an answer. `detail` is public and names the thing and the value; `cause` stays in the log. */
export class ProblemError extends Error {
  readonly code: ProblemCode;
  readonly errors: FieldError[] | undefined;

  constructor(code: ProblemCode, detail: string, options: { errors?: FieldError[]; cause?: unknown } = {}) {
    super(detail, { cause: options.cause });
    this.name = 'ProblemError';
    this.code = code;
    this.errors = options.errors;
  }

  get status(): number {
    return PROBLEMS[this.code].status;
  }

  get retryable(): boolean {
    return PROBLEMS[this.code].retryable;
  }
}

/** `task task_… does not exist`, as a 404. */
export const notFound = (thing: string, id: string): ProblemError =>
  new ProblemError('not-found', `${thing} ${id} does not exist`);
