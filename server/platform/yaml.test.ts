import { ProblemError } from '@muster/shared/errors';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { acceptsYaml, isYaml, MAX_YAML, readYaml, writeYaml } from './yaml.ts';

const refusal = (text: string) => {
  try {
    readYaml(text);
    return 'taken';
  } catch (error) {
    return `${(error as ProblemError).code}: ${(error as Error).message}`;
  }
};

describe('a YAML body', () => {
  test('is read as JSON would be', () => {
    const text =
      'schedules:\n  - name: a\n    on: yes\n    n: 012\n    at: 2026-01-01T00:00:00Z\n    none: ~\n    f: 1.5\n';
    const item = { name: 'a', on: 'yes', n: 12, at: '2026-01-01T00:00:00Z', none: null, f: 1.5 };
    expect(readYaml(text).value).toEqual({ schedules: [item] });
    expect(readYaml('{"a": [1, "x", {"b": null}]}').value).toEqual({ a: [1, 'x', { b: null }] });
    expect(readYaml('').value).toBe(null);
  });

  test.each([
    ['a: &a [x]\nb: *a', /anchors and aliases are not taken, at line 1, column 7/],
    ['a: *b', /alias.* at line 1, column 4/i],
    ['a: 1\nb: {c: 1, c: 2}', /the key "c" comes twice, again at line 2, column 11/],
    ['1: a\n"1": b', /the key "1" comes twice/],
    ['a: !!js/function "x"', /tag:yaml.org,2002:js\/function at line 1, column 4/],
    ['a: !!binary aGVsbG8=', /the tag tag:yaml.org,2002:binary is not taken/],
    ['a: !!set {b}', /the tag tag:yaml.org,2002:set is not taken/],
    ['a: !mine x', /!mine at line 1/],
    ['%YAML 1.1\n---\na: yes', /directives are not taken/],
    ['%TAG ! tag:x,2000:\n---\na: 1', /directives are not taken/],
    ['a: 1\n---\na: 2', /multiple documents.* at line 2, column 1/],
    ['a:\n\tb: 1', /Tabs are not allowed as indentation at line 2, column 1/],
    ['? {a: 1}\n: 2', /a key is no text, at line 1, column 3/],
    ['a: [1, 2\nb: 3', /at line 2, column 1/],
    ['x'.repeat(MAX_YAML + 1), /^payload-too-large/],
    ['a: .inf', /^validation-failed: #\/a is a number too large to be kept \(line 1, column 4\)/],
    ['a:\n  - "\\0"', /^validation-failed: #\/a\/0 holds a NUL character \(line 2, column 5\)/],
    ['a: "\\ud800"', /half of a surrogate pair/],
  ])('%# is refused, with its place', (text, why) => expect(refusal(text)).toMatch(why));

  test('with a merge key or a key of a prototype is what it says, and nothing else', () => {
    expect(readYaml('a: {<<: {b: 1}}').value).toEqual({ a: { '<<': { b: 1 } } });
    const { value } = readYaml('__proto__: {polluted: 1}');
    expect(Object.keys(value as object)).toEqual(['__proto__']);
    expect(({} as { polluted?: number }).polluted).toBeUndefined();
  });

  test('that would take long or deep is refused at once', () => {
    const n = MAX_YAML / 8;
    const hostile = ['[', '{a: ', '- ', '? ', '- - ', '&a ', 'a: 1\n', ', ', '"', '---\n', '!', '%a\n', ': '];
    const stairs = Array.from({ length: 500 }, (_, level) => `${' '.repeat(level)}a:`).join('\n');
    for (const text of [...hostile.map((part) => part.repeat(n)), stairs]) {
      const since = process.cpuUsage();
      expect(refusal(text.slice(0, MAX_YAML)), text.slice(0, 10)).not.toBe('taken');
      expect(process.cpuUsage(since).user / 1_000, text.slice(0, 10)).toBeLessThan(1_500);
    }
    const nested = (levels: number) => `${'['.repeat(levels)}${']'.repeat(levels)}`;
    expect(refusal(nested(60))).toBe('taken');
    expect(refusal(nested(70))).toMatch(/nested deeper than 64 levels/);
    expect(refusal(`a: "${'['.repeat(500)}"\nb: |\n${' - -\n'.repeat(200)}`)).toBe('taken');
  });

  test('tells where a problem with it is', () => {
    const { located } = readYaml('schedules:\n  - name: a\n    cron: x\n  - name: b\n');
    const problem = (pointer: string) =>
      located(new ProblemError('invalid-cron', 'x is wrong', { errors: [{ pointer, detail: 'is wrong' }] }));
    expect(problem('#/schedules/0/cron')).toMatchObject({
      message: 'x is wrong (line 3, column 11)',
      errors: [{ pointer: '#/schedules/0/cron', detail: 'is wrong (line 3, column 11)' }],
    });
    // What is missing is missing from something.
    expect(problem('#/schedules/1/task_type')).toMatchObject({ errors: [{ detail: 'is wrong (line 4, column 5)' }] });
    expect(problem('#/query/dry_run')).toMatchObject({ errors: [{ detail: 'is wrong' }] });
    const other = new Error('other');
    expect(located(other)).toBe(other);
  });
});

test('whatever it is, it is taken or refused', () => {
  const parts = fc.constantFrom(
    ...'[]{}:,-?&*!|>%#"\'\n\t '.split(''),
    'a',
    ': ',
    '- ',
    '  ',
    '\n  ',
    '!!',
    '<<',
    '\0',
    '---',
    '...',
    '\ufeff',
    '0x',
    'é',
  );
  const text = fc.array(parts, { maxLength: 60 }).map((all) => all.join(''));
  fc.assert(
    fc.property(text, (it) => {
      const outcome = refusal(it);
      if (outcome !== 'taken') expect(outcome).toMatch(/^(malformed-request|validation-failed): /);
      else {
        const value = { in: readYaml(it).value };
        expect(readYaml(writeYaml(value)).value).toEqual(value);
      }
    }),
    { numRuns: 2_000 },
  );
});

test('what is written reads the same again', () => {
  const odd = [
    'yes',
    '012',
    '*x',
    'a\nb\n',
    '',
    '<<',
    '~',
    '0x10',
    '# no',
    '1e3',
    'null',
    '- a',
    ' x ',
    '\u2028\x07',
    '{{x}}',
  ];
  const value = { odd, deep: { list: [[], {}, null, true, 1.5, -0.1, 1e21] }, __x: odd.slice(0, 2), same: odd };
  expect(readYaml(writeYaml(value)).value).toEqual(value);
});

test('YAML is known by its media types', () => {
  for (const type of ['application/yaml', 'application/x-yaml; charset=utf-8', 'text/yaml', 'Text/X-YAML'])
    expect(isYaml(type), type).toBe(true);
  for (const type of [undefined, '', 'application/json', 'application/yamlish', 'text/plain'])
    expect(isYaml(type), type).toBe(false);
  expect(acceptsYaml('text/html, application/yaml;q=0.9')).toBe(true);
  for (const accept of [undefined, '*/*', 'application/json', 'application/yaml;q=0', 'application/yaml; q=0.0'])
    expect(acceptsYaml(accept), accept).toBe(false);
});
