import { type FieldError, ProblemError } from '@muster/shared/errors';
import {
  CST,
  type Document,
  isAlias,
  isMap,
  isNode,
  isScalar,
  Lexer,
  LineCounter,
  parseDocument,
  stringify,
  visit,
} from 'yaml';
import { refuseUnstorable } from './body.ts';

/** The longest YAML, in characters: taking it apart costs ten times what JSON does. */
export const MAX_YAML = 262_144;

/** How deep it may be nested: the parser goes down by itself, and a process whose stack ends is gone. */
const MAX_DEPTH = 64;
/** How many parts it may have: each costs some ten microseconds, whatever it is. */
const MAX_TOKENS = 100_000;

const TYPES = /^(?:application\/(?:x-)?yaml|text\/(?:x-)?yaml)\s*(?:;|$)/i;
export const isYaml = (contentType: string | undefined): boolean => TYPES.test(contentType ?? '');

/** Whether a caller that says what it accepts would have YAML. */
export const acceptsYaml = (accept: string | undefined): boolean =>
  (accept ?? '').split(',').some((range) => isYaml(range.trim()) && !/;\s*q=0(\.0*)?\s*$/.test(range));

/** A YAML document: its value, and where in the text a part of it stands. */
export interface Yaml {
  value: unknown;
  /** The same problem, its fields with the line and column they are in. */
  located(error: unknown): unknown;
}

/**
 * Reads one YAML 1.2 document as JSON would be: no anchors and aliases, tags, directives, or keys that come twice. What is wrong is told
 * with its line and column.
 */
export function readYaml(text: string): Yaml {
  if (text.length > MAX_YAML)
    throw new ProblemError('payload-too-large', `the YAML is longer than ${MAX_YAML} characters`);
  const lines = new LineCounter();
  const place = (offset: number) => {
    const { line, col } = lines.linePos(offset);
    return `line ${line}, column ${col}`;
  };
  refuseExcess(text);
  const document = parseDocument(text, {
    schema: 'core',
    version: '1.2',
    lineCounter: lines,
    prettyErrors: false,
    // It compares every key with every other.
    uniqueKeys: false,
  });
  const [first] = [...document.errors, ...document.warnings].sort((a, b) => a.pos[0] - b.pos[0]);
  if (first) throw malformed(`${first.message} at ${place(first.pos[0])}`);
  refuseOddities(document, place);
  const value: unknown = document.toJS();
  const found = (error: unknown) => located(error, document, place);
  try {
    refuseUnstorable(value, '#');
  } catch (error) {
    throw found(error);
  }
  return { value, located: found };
}

const malformed = (why: string) =>
  new ProblemError('malformed-request', `the body is not YAML that is taken: ${why.slice(0, 200)}`);

/**
 * Refuses before it is parsed what would take too long or too deep. Levels are open brackets, and columns at which something begins a line or
 * follows `-`, `?` or `:` there.
 */
function refuseExcess(text: string): void {
  const columns: number[] = [];
  let [tokens, brackets, column, begins] = [0, 0, 0, true];
  for (const token of new Lexer().lex(text)) {
    const type = CST.tokenType(token) ?? 'scalar';
    if (WITHOUT_WIDTH.has(token)) continue;
    if (type === 'directive-line') throw malformed('directives are not taken');
    tokens += 1;
    brackets += Number(type in OPENS) - Number(type in CLOSES);
    if (begins && type !== 'space' && type !== 'newline') {
      while (columns.length > 0 && columns.at(-1)! >= column) columns.pop();
      columns.push(column);
      begins = type in INDICATORS;
    }
    if (columns.length + brackets > MAX_DEPTH) throw malformed(`it is nested deeper than ${MAX_DEPTH} levels`);
    if (tokens > MAX_TOKENS) throw malformed(`it has more than ${MAX_TOKENS} parts`);
    const ended = token.lastIndexOf('\n');
    if (ended >= 0) [column, begins] = [token.length - ended - 1, true];
    else column += token.length;
  }
}

/** What the lexer puts in between. */
const WITHOUT_WIDTH = new Set<string>([CST.BOM, CST.DOCUMENT, CST.FLOW_END, CST.SCALAR]);
const OPENS = { 'flow-seq-start': 1, 'flow-map-start': 1 };
const CLOSES = { 'flow-seq-end': 1, 'flow-map-end': 1 };
const INDICATORS = { 'seq-item-ind': 1, 'explicit-key-ind': 1, 'map-value-ind': 1, anchor: 1, tag: 1 };

/** What stands for something else could stand for very much of it, a tag for anything; and of two values under one key nobody knows which was meant. */
function refuseOddities(document: Document.Parsed, place: (offset: number) => string): void {
  const refuse = (what: string, node: unknown) => {
    throw malformed(`${what} at ${place((isNode(node) && node.range?.[0]) || 0)}`);
  };
  visit(document, {
    Node(_, node) {
      if (isAlias(node) || node.anchor) refuse('anchors and aliases are not taken,', node);
      if (node.tag && !/^tag:yaml.org,2002:(map|seq|str|int|float|bool|null)$/.test(node.tag))
        refuse(`the tag ${node.tag} is not taken,`, node);
      if (!isMap(node)) return;
      const seen = new Set<string>();
      for (const { key } of node.items) {
        if (!isScalar(key)) return refuse('a key is no text,', key);
        const name = String(key.value);
        if (seen.has(name)) refuse(`the key ${JSON.stringify(name.slice(0, 80))} comes twice, again`, key);
        seen.add(name);
      }
    },
  });
}

function located(error: unknown, document: Document.Parsed, place: (offset: number) => string): unknown {
  if (!(error instanceof ProblemError) || !error.errors) return error;
  const where = ({ pointer }: FieldError) => {
    if (!pointer.startsWith('#/') && pointer !== '#') return '';
    const path = pointer.split('/').slice(1).map(partOf);
    for (; path.length > 0; path.pop()) {
      const node = document.getIn(path, true);
      if (isNode(node) && node.range) return ` (${place(node.range[0])})`;
    }
    return '';
  };
  const errors = error.errors.map((field) => ({ ...field, detail: field.detail + where(field) }));
  return new ProblemError(error.code, error.message + where(error.errors[0]!), { errors, cause: error.cause });
}

const partOf = (part: string) => {
  const text = part.replaceAll('~1', '/').replaceAll('~0', '~');
  return /^\d+$/.test(text) ? Number(text) : text;
};

/** A value as YAML that reads the same again. */
export const writeYaml = (value: unknown): string =>
  stringify(value, { schema: 'core', version: '1.2', aliasDuplicateObjects: false, lineWidth: 0 });
