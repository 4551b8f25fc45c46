import { expect, test } from 'vitest';
import { idInKey, makeKey } from './key-format.ts';

test('a key holds its id and a checksum, and no two are alike', () => {
  const keys = Array.from({ length: 100 }, () => makeKey('01h2x'));
  expect(new Set(keys).size).toBe(100);
  for (const key of keys) {
    expect(key).toMatch(/^mk_01h2x_[0-9A-Za-z]{49}$/);
    expect(idInKey(key)).toBe('01h2x');
  }
});

test('a key with any one character changed is none', () => {
  const key = makeKey('admin');
  for (let at = 0; at < key.length; at += 1) {
    const other = key[at] === 'a' ? 'b' : 'a';
    expect(idInKey(key.slice(0, at) + other + key.slice(at + 1)), `position ${at}`).toBeUndefined();
  }
  for (const wrong of ['', 'mk_', `${key} `, `${key}a`, key.slice(0, -1), key.toUpperCase(), key.replace('mk_', 'sk_')])
    expect(idInKey(wrong), wrong).toBeUndefined();
});
