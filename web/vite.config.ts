import { existsSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { defineConfig, type Plugin } from 'vite';

// Three files with names that never change: the server knows them, the HTML report takes script and style into itself,
// and the same sources give the same bytes on every machine.

/** The two tags as the HTML report looks for them: the script last, neither with an attribute that a file from disk forbids. */
function plainTags(): Plugin {
  return {
    name: 'plain-tags',
    transformIndexHtml: {
      order: 'post',
      handler: (html) =>
        html
          .replace(/ *<script type="module"[^>]*><\/script>\n/, '')
          .replace(/<link rel="stylesheet"[^>]*>/, '<link rel="stylesheet" href="./app.css">')
          .replace('  </body>', '    <script type="module" src="./app.js"></script>\n  </body>'),
    },
  };
}

/** The licences of what was bundled, beside it. */
function licences(): Plugin {
  return {
    name: 'third-party',
    generateBundle(_, bundle) {
      const found = new Map<string, string>();
      for (const id of Object.values(bundle).flatMap((part) => (part.type === 'chunk' ? part.moduleIds : []))) {
        const [, folder] = /^(.*\/node_modules\/(?:@[^/]+\/)?[^/]+)\//.exec(id.replaceAll('\\', '/')) ?? [];
        if (folder) found.set(folder, licence(folder));
      }
      const source = [...new Set(found.values())].sort().join(`\n${'-'.repeat(80)}\n\n`);
      this.emitFile({ type: 'asset', fileName: 'THIRD-PARTY.txt', source });
    },
  };
}

function licence(folder: string): string {
  const { name, version } = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8')) as { name: string; version: string };
  const file = ['LICENSE', 'LICENSE.md', 'LICENSE.txt'].map((each) => join(folder, each)).find(existsSync);
  if (!file) throw new Error(`${name} has no licence file in ${dirname(folder)}: look for it, and name it here`);
  return `${name} ${version}\n\n${readFileSync(file, 'utf8').trim().replaceAll('\r\n', '\n')}\n`;
}

export default defineConfig({
  base: './',
  publicDir: false,
  plugins: [plainTags(), licences()],
  oxc: { jsx: { runtime: 'automatic', importSource: 'preact' } },
  build: {
    outDir: process.env.OTEL_PERF_ASSETS ?? '../src/otel_perf/view/assets',
    emptyOutDir: true,
    target: ['chrome123', 'firefox128', 'safari17.5'],
    modulePreload: false,
    assetsInlineLimit: 0,
    cssCodeSplit: false,
    rolldownOptions: {
      output: {
        entryFileNames: 'app.js',
        assetFileNames: (asset) => (asset.names.some((name) => name.endsWith('.css')) ? 'app.css' : '[name][extname]'),
        codeSplitting: false,
      },
    },
  },
});
