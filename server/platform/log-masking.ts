const REDACTED = '[redacted]';

/** Fields that hold a secret, however deep they stand. */
const SECRET_FIELDS = new Set(
  (
    'authorization x-api-key cookie set-cookie dpop registration assertion rotation confirmation proof token access_token enrollment_token ' +
    'admin_key api_key credential key password secret adminkey apikey signingkey signing_key databaseurl database_url'
  ).split(' '),
);

/** Keys and tokens of ours by their form, in any text: what each is replaced with leaves enough to know what it was. */
const OURS: [RegExp, string][] = [
  [/mk_([0-9A-Za-z]+)_[\w-]{16,}/g, `mk_$1_${REDACTED}`],
  // A JWT: its header is a JSON object, which begins so in base64.
  [/(?<![\w-])e[wy][\w-]{8,}\.[\w-]{2,}\.[\w-]+/g, REDACTED],
];
/** The same, and whatever stands beside a word for a secret. */
const FORMS: [RegExp, string][] = [
  ...OURS,
  [/\b(bearer|dpop|basic)(\s+|%20)[\w.~+/=-]{8,}/gi, `$1 ${REDACTED}`],
  [
    /\b(authorization|x-api-key|cookie|dpop|registration|assertion|rotation|confirmation|(?:access|enrollment)_token|(?:admin|api)_key|password)(["'\\]*\s*[:=]\s*["'\\]*)[^\s"'\\&,;}]{8,}/gi,
    `$1$2${REDACTED}`,
  ],
  [/(\w:\/\/[^\s:@/]*):[^\s@/]+@/g, `$1:${REDACTED}@`],
];

/** Whether a line may hold a secret at all: most do not, and need not be taken apart. */
const SUSPICIOUS = new RegExp(
  [...[...SECRET_FIELDS].map((name) => `"${name}":`), ...FORMS.map(([form]) => form.source)].join('|'),
  'i',
);

/** Control characters, and what turns, breaks or hides text on a screen; but for the end of a record. */
const UNSEEN = /(?!\n$)[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu;
/** Where a stack goes on. */
const FRAME = /\n(?= {4,}at )/;

/** As JSON has it, by UTF-16 units. */
const escaped = (char: string) =>
  char
    .split('')
    .map((unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`)
    .join('');

const without = (forms: typeof FORMS, text: string) =>
  forms.reduce((masked, [form, mask]) => masked.replace(form, mask), text);

/** A text for a caller without the keys and tokens in it. */
export const maskText = (text: string): string => without(OURS, text);

/** A line of the log without the secrets in it. */
export function maskLine(line: string): string {
  if (!SUSPICIOUS.test(line)) return line;
  return rewritten(line, (text) => without(FORMS, text));
}

/** The same JSON, with nothing in it that a screen would act on. */
export const escapeUnseen = (line: string): string => line.replace(UNSEEN, escaped);

/** A record whose texts stay one line each when they are shown as they are; a stack stays a stack. */
export const inOneLine = (line: string): string =>
  rewritten(line, (text) =>
    text
      .split(FRAME)
      .map((part) => `${part}.`.replace(UNSEEN, escaped).slice(0, -1))
      .join('\n'),
  );

function rewritten(line: string, change: (text: string) => string): string {
  try {
    return `${JSON.stringify(masked(JSON.parse(line), change))}\n`;
  } catch {
    return `${JSON.stringify({ msg: change(line) })}\n`;
  }
}

function masked(value: unknown, change: (text: string) => string): unknown {
  if (typeof value === 'string') return change(value);
  if (Array.isArray(value)) return value.map((item) => masked(item, change));
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(
    Object.entries(value).map(([name, item]) => [
      change(name),
      SECRET_FIELDS.has(name.toLowerCase()) && item !== null ? REDACTED : masked(item, change),
    ]),
  );
}
