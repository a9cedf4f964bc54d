// Parses queries with the grammars of Grafana's editors: node parse.mjs NODE_MODULES < [{"language", "text"}, ...]
// Prints for each the names of the grammar's nodes, "⚠" for what it does not know, and the operators that compare.
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { pathToFileURL } from 'node:url';

const load = async (name) => (await import(pathToFileURL(path.join(process.argv[2], name, 'index.es.js')).href)).parser;
const parsers = { traceql: await load('@grafana/lezer-traceql'), logql: await load('@grafana/lezer-logql') };
const found = JSON.parse(readFileSync(0, 'utf8')).map(({ language, text }) => {
  const nodes = new Set();
  const operators = new Set();
  parsers[language].parse(text).iterate({
    enter(node) {
      nodes.add(node.name);
      if (node.name === 'FieldOp') operators.add(text.slice(node.from, node.to));
    },
  });
  return { nodes: [...nodes], operators: [...operators] };
});
console.log(JSON.stringify(found));
