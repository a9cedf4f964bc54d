import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Flame } from '../src/api.ts';
import { colorOf, gradeOf, isSame, layOut, neighbour, nodeAt, pathOf, pathsOf } from '../src/flame/layout.ts';

/** A tree of rows: name, parent, total, and its baseline. */
function tree(rows: [string, number, number, number?][]): Flame {
  const names = [...new Set(rows.map(([name]) => name))];
  const compared = rows.some((row) => row.length > 3);
  return {
    from: null, to: null, names, functions: names.map(() => ''), modules: names.map(() => ''), overflow: false, folded: 0,
    name: rows.map(([name]) => names.indexOf(name)), parent: rows.map(([, parent]) => parent), totalNs: rows.map(([, , total]) => total),
    selfNs: rows.map(() => 0), calls: rows.map(() => 1),
    ...(compared ? { baseTotalNs: rows.map((row) => row[3] ?? 0), baseSelfNs: rows.map(() => 0) } : {}),
  }; // prettier-ignore
}

const TREE = tree([['all', -1, 100], ['b', 0, 60], ['c', 1, 30], ['a', 0, 40], ['c', 3, 10]]);

test('siblings lie by name, each as wide as it took', () => {
  const { begin, width, depth, levels } = layOut(TREE);

  assert.deepEqual([0, 0.4, 0.4, 0, 0], [...begin]);
  assert.deepEqual([1, 0.6, 0.3, 0.4, 0.1], [...width]);
  assert.deepEqual([0, 1, 2, 1, 2], [...depth]);
  assert.deepEqual([[0], [3, 1], [4, 2]], levels.map((each) => [...each]));
});

test('children that ran at once share the width of their caller', () => {
  const { begin, width } = layOut(tree([['all', -1, 100], ['a', 0, 100], ['b', 0, 100]]));

  assert.deepEqual([0.5, 0.5], [width[1], width[2]]);
  assert.equal(0.5, begin[2]);
});

test('of a difference a node is as wide as both together, what is gone included', () => {
  const { width } = layOut(tree([['all', -1, 50, 50], ['a', 0, 50, 0], ['b', 0, 0, 50]]));

  assert.deepEqual([0.5, 0.5], [width[1], width[2]]);
});

test('the node under a place is found, and none beside it', () => {
  const layout = layOut(TREE);

  assert.deepEqual([3, 1, 4, -1, 2, -1, -1], [
    nodeAt(layout, 1, 0.39), nodeAt(layout, 1, 0.4), nodeAt(layout, 2, 0.05), nodeAt(layout, 2, 0.2), nodeAt(layout, 2, 0.5),
    nodeAt(layout, 2, 0.71), nodeAt(layout, 9, 0.5),
  ]); // prettier-ignore
});

test('the keys walk to caller, widest callee and neighbours', () => {
  const layout = layOut(TREE);

  assert.equal(1, neighbour(TREE, layout, 0, 'down'));
  assert.equal(0, neighbour(TREE, layout, 1, 'up'));
  assert.equal(3, neighbour(TREE, layout, 1, 'left'));
  assert.equal(2, neighbour(TREE, layout, 4, 'right'));
  assert.equal(2, neighbour(TREE, layout, 2, 'right'));
  assert.deepEqual(['b', 'c'], pathOf(TREE, 2));
});

test('what is not drawn is counted and told', () => {
  assert.equal('1 call path of the run', pathsOf(tree([['all', -1, 10], ['a', 0, 10]]), 'the run'));
  assert.equal('5 k call paths of the run, 999 of them, the shortest, not drawn', pathsOf({ ...TREE, name: Array<number>(4001).fill(0), folded: 999 }, 'the run'));
  assert.equal('5 call paths of a trace, 1 of them, the shortest, not drawn', pathsOf({ ...TREE, folded: 1 }, 'a trace'));
});

test('an empty tree and one of the root alone are laid out', () => {
  assert.equal(0, layOut(tree([])).size);
  assert.equal(1, layOut(tree([['all', -1, 0]])).width[0]);
});

test('ten thousand nodes, a thousand deep, are laid out', () => {
  const rows: [string, number, number][] = [['all', -1, 10_000]];
  for (let i = 1; i < 10_000; i++) rows.push([`f${i % 40}`, i % 10 === 0 ? 0 : i - 1, 10_000 - i]);
  for (let i = 0; i < 1000; i++) rows.push(['deep', rows.length - 1, 1]);

  const layout = layOut(tree(rows));
  assert.equal(11_000, layout.levels.reduce((sum, each) => sum + each.length, 0));
});

test('a module has the same colour in every run', () => {
  assert.equal(colorOf('shop.cart', 12), colorOf('shop.cart', 12));
  assert.ok(new Set(Array.from({ length: 50 }, (_, i) => colorOf(`m${i}`, 12))).size >= 10);
});

test('a difference is graded by its share of the whole, noise is none', () => {
  assert.deepEqual([0, 1, 3, -2, 0], [gradeOf(100, 99.9, 100, 1), gradeOf(51, 50, 100, 1), gradeOf(70, 50, 100, 1), gradeOf(45, 50, 100, 1), gradeOf(20, 10, 20, 2)]);
});

test('a row of the table and a node are one function by what the server says, else by their names', () => {
  assert.ok(isSame('shop.cart.total', 'total', 'shop.cart', undefined));
  assert.ok(isSame('shop.cart.Cart.total', 'Cart.total', '', ''));
  assert.ok(!isSame('shop.cart.total', 'total', 'shop.cart', 'shop.tax.total'));
  assert.ok(!isSame('subtotal', 'total', '', undefined));
});
