import type { z } from 'zod';

/** What a reading says of a value that may not fit: zod is to look, and to say why. */
const UNSURE = Symbol('unsure');
type Read = (value: unknown) => unknown;
type Test = (value: never) => boolean;
type Def = z.core.$ZodTypes['_zod']['def'];

/**
 * Reads values by a schema as zod's `safeParse` does, in a quarter of the time where they fit: zod makes a payload and a list
 * of issues for every field. This knows what most fields of requests are made of, and asks zod about the rest; what does
 * not fit is zod's from the beginning.
 */
export function quickParse<S extends z.ZodType>(schema: S): (value: unknown) => z.ZodSafeParseResult<z.output<S>> {
  const read = readOf(schema);
  return (value) => {
    const data = read(value);
    return data === UNSURE ? schema.safeParse(value) : { success: true, data: data as z.output<S> };
  };
}

function readOf(schema: z.core.$ZodType): Read {
  const def = schema._zod.def as Def;
  const tests = testsOf(def);
  const known = tests && knownOf(def, tests);
  if (known) return known;
  return (value) => {
    const { success, data } = (schema as z.ZodType).safeParse(value);
    return success ? data : UNSURE;
  };
}

function knownOf(def: Def, tests: readonly Test[]): Read | undefined {
  switch (def.type) {
    case 'object':
      if (def.catchall && def.catchall._zod.def.type !== 'never') return undefined;
      return objectOf(def.shape, tests, def.catchall !== undefined);
    case 'array':
      return arrayOf(readOf(def.element), tests);
    case 'default': {
      const read = readOf(def.innerType);
      const usual = def.defaultValue;
      // Nobody can change a word or a number; all else is made anew for each, as zod does.
      if (typeof usual !== 'object') return (value) => (value === undefined ? usual : read(value));
      return (value) => (value === undefined ? def.defaultValue : read(value));
    }
    case 'optional': {
      const read = readOf(def.innerType);
      return def.innerType._zod.optin === 'defaulted'
        ? undefined
        : (value) => (value === undefined ? value : read(value));
    }
    case 'nullable': {
      const read = readOf(def.innerType);
      return (value) => (value === null ? value : read(value));
    }
    case 'string':
    case 'number':
    case 'boolean':
    case 'enum':
    case 'custom':
      return (value) => (passes(tests, value) ? value : UNSURE);
    default:
      return undefined;
  }
}

function passes(tests: readonly Test[], value: unknown): boolean {
  for (const test of tests) if (!test(value as never)) return false;
  return true;
}

function arrayOf(read: Read, tests: readonly Test[]): Read {
  return (value) => {
    if (!Array.isArray(value)) return UNSURE;
    const items: unknown[] = [];
    for (const given of value) {
      const item = read(given);
      if (item === UNSURE) return UNSURE;
      items.push(item);
    }
    return passes(tests, items) ? items : UNSURE;
  };
}

/**
 * With its keys in the order of the schema; one that is not in it is left out, or, where it is `strict`, makes the numbers differ. Written out field by field, as zod does
 * it too: an object whose fields are found by name in a loop takes twice as long.
 */
function objectOf(shape: z.core.$ZodShape, tests: readonly Test[], strict: boolean): Read {
  const fields = Object.keys(shape).map((name, n) => {
    const key = JSON.stringify(name);
    return `
      const given${n} = value[${key}];
      ${strict ? `if (given${n} !== undefined) unread -= 1;` : ''}
      const taken${n} = reads[${n}](given${n});
      if (taken${n} === UNSURE) return UNSURE;
      if (taken${n} !== undefined) whole[${key}] = taken${n};`;
  });
  const source = `return (value) => {
      if (typeof value !== 'object' || value === null || Array.isArray(value)) return UNSURE;
      let unread = 0;
      ${strict ? 'for (const _ in value) unread += 1;' : ''}
      const whole = {};${fields.join('')}
      return unread === 0 && passes(tests, whole) ? whole : UNSURE;
    };`;
  const reads = Object.values(shape).map(readOf);
  return new Function('UNSURE', 'passes', 'tests', 'reads', source)(UNSURE, passes, tests, reads);
}

/** What a value has to pass, itself and by its checks; undefined where one of them is not known here. */
function testsOf(def: Def): Test[] | undefined {
  const checks = def.checks?.map(({ _zod }) => checkOf(_zod.def as Check)) ?? [];
  const tests = [typeTest(def), ...checks];
  return tests.every((test) => test !== undefined) ? tests.filter((test) => test !== ANY) : undefined;
}

const ANY: Test = () => true;

function typeTest(def: Def): Test | undefined {
  switch (def.type) {
    case 'string':
      return 'check' in def || def.coerce ? undefined : (value: unknown) => typeof value === 'string';
    case 'number':
      return 'format' in def && def.format === 'safeint' && !def.coerce ? Number.isSafeInteger : undefined;
    case 'boolean':
      return def.coerce ? undefined : (value: unknown) => typeof value === 'boolean';
    case 'enum': {
      const values = new Set<unknown>(Object.values(def.entries));
      return (value: unknown) => values.has(value);
    }
    case 'custom':
      return (value: unknown) => (def.fn as Read)(value) === true;
    default:
      return ANY;
  }
}

type Check = z.core.$ZodChecks['_zod']['def'] | z.core.$ZodCustomDef;

function checkOf(def: Check): Test | undefined {
  switch (def.check) {
    case 'min_length': {
      // zod counts characters, of which one may be two units of a string: where that matters it is for zod to count.
      const enough = def.minimum > 1 ? 2 * def.minimum : def.minimum;
      return ({ length }: string | unknown[]) => length >= enough;
    }
    case 'max_length':
      return ({ length }: string | unknown[]) => length <= def.maximum;
    case 'greater_than':
      return (value: number) => value > Number(def.value) || (def.inclusive && value === def.value);
    case 'less_than':
      return (value: number) => value < Number(def.value) || (def.inclusive && value === def.value);
    case 'string_format': {
      const { pattern } = def;
      return def.format === 'regex' && pattern && !pattern.global && !pattern.sticky
        ? (value: string) => pattern.test(value)
        : undefined;
    }
    case 'custom':
      return def.fn && ((value: unknown) => (def.fn as Read)(value) === true);
    default:
      return undefined;
  }
}
