import type { ProblemError } from '@muster/shared/errors';
import { describe, expect, test } from 'vitest';
import { checkTemplate, filledText, fillTemplate } from './template.ts';

const variables = {
  scheduled_at: '2026-01-01T00:00:00.000Z',
  schedule_id: 'sched_x',
  execution_number: 7,
  last_result: { rows: 3, said: '{{schedule_id}}' },
};

describe('variables in input_data', () => {
  test.each([
    ['a text that is one becomes the value itself', '{{execution_number}}', 7],
    ['blanks do not matter', '{{ execution_number }}', 7],
    ['in a longer text it becomes text', 'run {{execution_number}} of {{schedule_id}}', 'run 7 of sched_x'],
    ['an object in a text is JSON', 'was {{last_result}}', 'was {"rows":3,"said":"{{schedule_id}}"}'],
    ['what a result says is not filled in again', { was: '{{last_result}}' }, { was: variables.last_result }],
    ['anywhere in the JSON', [{ a: ['{{scheduled_at}}'] }], [{ a: [variables.scheduled_at] }]],
    [
      'names are left alone',
      { '{{schedule_id}}': 1, ['__proto__']: '{{execution_number}}' },
      { '{{schedule_id}}': 1, ['__proto__']: 7 },
    ],
    ['what is not there is left alone', 'a {{b}} {{execution_number}} {{', 'a {{b}} 7 {{'],
    ['other values too', [null, true, 1.5, ''], [null, true, 1.5, '']],
  ])('%s', (_, input, filled) => {
    expect(fillTemplate(input as never, variables)).toEqual(filled);
  });

  test('a variable that is opened and never closed takes no longer, however many blanks follow', () => {
    const since = process.cpuUsage();
    const text = `{{${' '.repeat(500_000)}x`;
    checkTemplate(text);
    expect(fillTemplate(text, variables)).toBe(text);
    expect(process.cpuUsage(since).user / 1_000).toBeLessThan(1_000);
  });

  test('of many that do not exist a few are named', () => {
    const wrong = Array<string>(10_000).fill('{{x}}');
    let told: ProblemError | undefined;
    try {
      checkTemplate(wrong);
    } catch (error) {
      told = error as ProblemError;
    }
    expect(told!.errors!.length).toBeGreaterThan(1);
    expect(told!.errors!.length).toBeLessThan(21);
  });

  test('an input that would become longer than a body may be is refused before it is made', () => {
    const input = Array<string>(50_000).fill('{{last_result}}');
    expect(() => filledText(input, { ...variables, last_result: 'x'.repeat(1_000_000) })).toThrow(/would be longer/);
    expect(() => filledText(input, { ...variables, last_result: 'x'.repeat(20) })).toThrow(/would be longer/);
    expect(filledText(input, { ...variables, last_result: 1 })).toHaveLength(100_001);
  });

  test('before there was a result it is null', () => {
    expect(fillTemplate('{{last_result}}', { ...variables, last_result: null })).toBe(null);
  });

  test('one that does not exist is refused, with where it is', () => {
    expect(() => checkTemplate({ ok: ['{{scheduled_at}} {{ schedule_id }}', '{not one}', '{{'], n: 1 })).not.toThrow();
    const refusal = (input: unknown) => {
      try {
        checkTemplate(input as never);
      } catch (error) {
        return error;
      }
    };
    expect(refusal({ 'a/b': ['{{execution_number}}', 'x {{ nmae }}'] })).toMatchObject({
      code: 'validation-failed',
      message: expect.stringContaining('{{ nmae }} is not a variable'),
      errors: [{ pointer: '#/input_data/a~1b/1' }],
    });
    expect(refusal('{{}} {{constructor}}')).toMatchObject({
      errors: [{ pointer: '#/input_data' }, { pointer: '#/input_data' }],
    });
  });
});
