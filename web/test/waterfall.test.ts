import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Waterfall, WaterfallSpan } from '../src/api.ts';
import { childrenOf, pathBelow, phasesOf, rowsOf, ticks } from '../src/waterfall/rows.ts';

function span(name: string, parent: number, begin: number, seconds: number, more: Partial<WaterfallSpan> = {}): WaterfallSpan {
  return {
    id: name, parent, depth: 0, name, kind: 'function', begin, seconds, self: null, critical: [], onPath: 0, why: null, file: null, line: null,
    error: null, marks: [], ...more,
  }; // prettier-ignore
}

const SPANS = [
  span('startup', -1, 0, 2, { kind: 'startup', critical: [[1.9, 2]] }),
  span('Core', 0, 0, 1, { kind: 'phase', critical: [[0, 0.5]] }),
  span('load', 1, 0.5, 0.5, { critical: [[0.5, 1]] }),
  span('tiny 1', 1, 0.1, 0.001),
  span('tiny 2', 1, 0.2, 0.002),
  span('Core', 0, 1, 0.9, { kind: 'phase', critical: [[1, 1.9]] }),
];
const START: Waterfall = { traceId: 't', began: 0, seconds: 2, limit: 2, spans: SPANS, folded: 0 };
const NOTHING = { shut: new Set<number>(), opened: new Set<number>() };

const told = (rows: ReturnType<typeof rowsOf>): string[] =>
  rows.map((row) => `${'  '.repeat(row.depth)}${row.more ? `${row.more} more` : SPANS[row.span].name}`);

test('short spans are one row, below the long ones', () => {
  const rows = rowsOf(START, childrenOf(START), NOTHING, 0.01);

  assert.deepEqual(['startup', '  Core', '    load', '    2 more', '  Core'], told(rows));
  assert.deepEqual([0.003, 0.1], [Number(rows[3].seconds.toFixed(6)), rows[3].begin]);
});

test('a row that was opened shows them, one that was shut hides what is below', () => {
  const children = childrenOf(START);

  assert.deepEqual(['startup', '  Core', '    load', '    tiny 1', '    tiny 2', '  Core'], told(rowsOf(START, children, { ...NOTHING, opened: new Set([1]) }, 0.01)));
  assert.deepEqual(['startup', '  Core', '  Core'], told(rowsOf(START, children, { ...NOTHING, shut: new Set([1]) }, 0.01)));
});

test('a short span that failed is never hidden, nor one that is alone', () => {
  const spans = [span('a', -1, 0, 1), span('bad', 0, 0, 0.001, { error: 'ValueError' }), span('tiny', 0, 0, 0.001)];
  const waterfall = { ...START, spans };

  assert.deepEqual([0, 1, 2], rowsOf(waterfall, childrenOf(waterfall), NOTHING, 0.01).map((row) => row.span));
});

test('twenty thousand spans are rows', () => {
  const spans = [span('root', -1, 0, 1), ...Array.from({ length: 19_999 }, (_, i) => span(`s${i}`, i % 3 ? i : 0, 0, 1))];
  const waterfall = { ...START, spans };

  assert.equal(20_000, rowsOf(waterfall, childrenOf(waterfall), NOTHING, 0).length);
});

test('the critical path below a span is joined where it touches', () => {
  const path = pathBelow(START);

  assert.deepEqual([[0, 2]], path[0]);
  assert.deepEqual([[0, 1]], path[1]);
  assert.deepEqual([], path[3]);
});

test('a phase is found in another start by its way from the top, the first of a name', () => {
  const nested = { ...START, spans: [...SPANS, span('Core', 1, 0, 0.1, { kind: 'phase' })] };

  assert.deepEqual([['["Core"]', 1], ['["Core","Core"]', 6]], [...phasesOf(nested)]);
});

test('an axis has round numbers', () => {
  assert.deepEqual([0, 0.5, 1, 1.5, 2], ticks(0, 2.1, 5));
  assert.deepEqual([0.15, 0.2], ticks(0.11, 0.21, 3).map((each) => Number(each.toFixed(6))));
  assert.deepEqual([], ticks(1, 1, 4));
});
