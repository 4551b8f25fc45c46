import { readFile, writeFile } from 'node:fs/promises';
import { ENDPOINTS } from '@muster/shared/contract/index';
import { openApiDocument } from '../server/platform/openapi.ts';

const file = new URL('../docs/openapi.json', import.meta.url);
const wanted = `${JSON.stringify(openApiDocument(ENDPOINTS), null, 2)}\n`;

if (!process.argv.includes('--check')) {
  await writeFile(file, wanted);
} else if ((await readFile(file, 'utf8').catch(() => '')) !== wanted) {
  console.error('docs/openapi.json is not what shared/contract says. Run: npm run openapi');
  process.exit(1);
}
