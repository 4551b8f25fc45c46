import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';

/** A file of the documentation page. */
export interface Page {
  type: string;
  body: string | Uint8Array<ArrayBuffer>;
}

const HTML = `<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><title>Muster API</title><link rel="stylesheet" href="/docs/swagger-ui.css"></head>
<body><div id="api"></div><script src="/docs/swagger-ui-bundle.js"></script><script src="/docs/start.js"></script></body>
</html>`;
const START = `SwaggerUIBundle({ url: '/openapi.json', dom_id: '#api', deepLinking: true, validatorUrl: null });`;

/** The page at /docs and what it loads, all from here. */
export function docsPage(name: string | undefined): Page | undefined {
  if (name === undefined) return { type: 'text/html; charset=utf-8', body: HTML };
  if (name === 'start.js') return { type: 'text/javascript', body: START };
  if (name === 'swagger-ui.css') return { type: 'text/css', body: asset(name) };
  if (name === 'swagger-ui-bundle.js') return { type: 'text/javascript', body: asset(name) };
  return undefined;
}

const assets = new Map<string, Uint8Array<ArrayBuffer>>();

/** Read once: anybody may ask for these, and reading them holds up everybody else. */
function asset(name: string): Uint8Array<ArrayBuffer> {
  const known = assets.get(name);
  if (known) return known;
  const folder = dirname(createRequire(import.meta.url).resolve('swagger-ui-dist/package.json'));
  const read = new Uint8Array(readFileSync(join(folder, name)));
  assets.set(name, read);
  return read;
}
