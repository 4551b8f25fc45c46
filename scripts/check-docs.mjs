// Every file, folder and npm script that a Markdown file of ours names must exist: docs that point nowhere are worse than none.
import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';

const FOLDERS = 'shared|server|agent|testing|e2e|scripts|docs|drizzle|bench|cli|console|deploy|\\.ci';
const LINK = /\]\((?!\w+:|#)([^)#\s]+)[^)]*\)/g;
// `server/app.ts`, `shared/contract/`; not a pattern or a placeholder such as `server/<slice>/store.ts`.
const PATH = new RegExp(`\`((?:${FOLDERS})/[\\w./-]*)\``, 'g');
const SCRIPT = /\bnpm run ([\w:-]+)/g;

const { scripts } = JSON.parse(readFileSync('package.json', 'utf8'));
const documents = execFileSync('git', ['ls-files', '-co', '--exclude-standard', '*.md'], { encoding: 'utf8' });

/** @param {string} document @returns {[RegExp, (name: string) => boolean][]} what a document may name, and whether that exists */
const named = (document) => [
  [LINK, (path) => existsSync(join(dirname(document), path))],
  [PATH, existsSync],
  [SCRIPT, (name) => name in scripts],
];

for (const document of documents.trim().split('\n').filter(existsSync)) {
  const text = readFileSync(document, 'utf8');
  for (const [pattern, exists] of named(document)) {
    for (const { index, 0: whole, 1: name = '' } of text.matchAll(pattern)) {
      if (exists(name)) continue;
      console.error(`${document}:${text.slice(0, index).split('\n').length} ${whole}: no such thing`);
      process.exitCode = 1;
    }
  }
}
