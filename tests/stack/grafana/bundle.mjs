// Bundles page.jsx: node bundle.mjs NODE_MODULES OUT. It uses require(), as the libraries' other form takes default
// exports of CommonJS modules in the way of node, which esbuild follows and Grafana's own build does not.
import { createRequire } from 'node:module';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const [, , modules, out] = process.argv;
const { build } = createRequire(path.join(modules, 'package.json'))('esbuild');
const here = path.dirname(fileURLToPath(import.meta.url));
await build({
  entryPoints: [path.join(here, 'page.jsx')], outfile: out, bundle: true, format: 'iife', jsx: 'transform', nodePaths: [modules],
  alias: { '@grafana/assistant': path.join(here, 'assistant.js') },
  define: { 'process.env.NODE_ENV': '"production"', global: 'window' },
  loader: { '.svg': 'text', '.woff': 'empty', '.woff2': 'empty', '.ttf': 'empty' }, logLevel: 'error', logOverride: { 'ignored-bare-import': 'silent' },
});
