import assert from 'node:assert/strict';
import { test } from 'node:test';
import { boundsOf } from '../src/charts/bounds.ts';

/** What is on the axis, a little room at its ends left out. */
function shown(low: number | null, high: number | null, ...limits: number[]): number[] {
  return boundsOf(low, high, limits).map((each) => Number((each / 1.12).toFixed(6)));
}

test('what is below 0 is on the axis, and its lower end is the lower one', () => {
  assert.deepEqual([-5, 3], shown(-5, 3));
  assert.deepEqual([-9, 0], shown(-9, -5));
});

test('what is above 0 begins there, and limits are seen too', () => {
  assert.deepEqual([0, 80], shown(73, 80));
  assert.deepEqual([0, 150], shown(73, 80, 150, 100));
  assert.deepEqual([-5, 50], shown(-5, 3, 50));
});

test('an axis has a length also where nothing was sampled, or only zeros', () => {
  assert.deepEqual([0, 1], shown(null, null));
  assert.deepEqual([0, 1], shown(0, 0));
  assert.deepEqual([0, 50], shown(null, null, 50));
});
