import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Buckets, indexAt, joined } from '../src/charts/buckets.ts';

const T0 = 1_795_859_516_000;

test('three hundred points stay as they were measured', () => {
  const points = new Buckets();
  for (let i = 0; i < 300; i++) points.add(T0 + i * 1000, i % 7);

  assert.equal(300, points.length);
  assert.equal(0, points.width);
  assert.deepEqual(points.low, points.high);
});

test('of a hundred thousand points at most three hundred are left, and no peak is lost', () => {
  const points = new Buckets();
  for (let i = 0; i < 100_000; i++) points.add(T0 + i * 1000, i === 77_777 ? 900 : i === 1234 ? -5 : 1);

  assert.ok(points.length <= 300 && points.length > 140, `${points.length}`);
  assert.equal(900, Math.max(...(points.high as number[])));
  assert.equal(-5, Math.min(...(points.low as number[])));
  const at = indexAt(points.times, T0 + 77_777_000);
  assert.deepEqual([1, 900], [points.low[at], points.high[at]]);
});

test('buckets lie on a grid that stands still while time goes on', () => {
  const points = new Buckets();
  for (let i = 0; i < 400; i++) points.add(T0 + i * 1000, i);
  const before = points.times.slice(0, -1);
  points.add(T0 + 400_000, 400);
  points.add(T0 + 401_000, 401);

  assert.deepEqual(before, points.times.slice(0, before.length));
});

test('a point that is not later than the last is no second one', () => {
  const points = new Buckets();
  points.add(T0, 1);
  points.add(T0 + 1000, 2);
  points.add(T0 + 1000, 5); // the same moment again, as after a reconnection
  points.add(T0, 9);

  assert.deepEqual([T0, T0 + 1000], points.times);
  assert.deepEqual([1, 5], points.high);
  assert.deepEqual([1, 2], points.low);
});

test('a gap stays a gap, and is filled by what was measured beside it', () => {
  const points = new Buckets(4);
  points.add(T0, 1);
  points.add(T0 + 1000, null);
  points.add(T0 + 9000, 2);

  assert.deepEqual([1, null, 2], points.high);
  for (let i = 10; i < 20; i++) points.add(T0 + i * 1000, i);
  assert.ok(points.high.every((each) => each !== null));
});

test('trimming leaves the point from which the line comes in', () => {
  const points = new Buckets();
  for (let i = 0; i < 10; i++) points.add(T0 + i * 1000, i);
  points.trim(T0 + 4500);

  assert.equal(T0 + 4000, points.times[0]);
  assert.equal(6, points.length);
});

test('a value holds until the next one', () => {
  assert.deepEqual([-1, 0, 0, 2], [5, 10, 19, 99].map((each) => indexAt([10, 20, 30], each)));
});

test('series of different moments share an axis', () => {
  const [a, b] = [new Buckets(), new Buckets()];
  a.add(1000, 1);
  a.add(3000, 3);
  b.add(2000, 20);

  assert.deepEqual([[1000, 2000, 3000, 4000], [1, 1, 3, 3], [null, 20, 20, 20]], joined([a, b], 4000));
});

test('of several lines neither a peak nor a dip is lost, and each ends with its newest value', () => {
  const [wide, plain] = [new Buckets(), new Buckets()];
  wide.add(0, 1, 9);
  wide.add(1000, 0, 8);
  plain.add(0, 5);

  assert.deepEqual([[0, 500, 1000, 1500, 2000], [1, 9, 0, 8, 3], [5, 5, 5, 5, 5]], joined([wide, plain], 2000, [3, 5]));
  assert.deepEqual([[0, 500, 1000, 1500, 2000], [1, 9, 0, 8, 8], [5, 5, 5, 5, 5]], joined([wide, plain], 2000));
});

test('a line that stopped does not go on with what it was last', () => {
  const points = new Buckets();
  points.add(0, 1);
  points.add(1000, null);

  assert.deepEqual([[0, 1000, 2000], [1, null, null]], joined([points], 2000, [1]));
});
