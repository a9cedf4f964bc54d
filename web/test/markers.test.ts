import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Marker } from '../src/api.ts';
import type { Alert } from '../src/report.ts';
import { merged, signed, untold } from '../src/charts/markers.ts';

function marker(time: number, kind: Marker['kind']): Marker {
  return { time, kind, severity: 'warning', text: `${kind} ${time}`, budget: null };
}

test('markers are in the order in which they happened, whichever were read first', () => {
  const stalls = [13, 27, 42].map((each) => marker(each, 'stall'));
  const alerts = [marker(7, 'alert'), marker(31, 'alert'), marker(40, 'resolved')];

  assert.deepEqual([7, 13, 27, 31, 40, 42], merged(stalls, alerts).map((each) => each.time));
});

test('a marker that is told again is no second one, and of very many the newest are kept', () => {
  const alerts = [marker(7, 'alert'), marker(31, 'alert')];

  assert.deepEqual(alerts, merged(alerts, [marker(31, 'alert')]));
  const many = merged([], Array.from({ length: 3000 }, (_, i) => marker(3000 - i, 'stall')));
  assert.deepEqual([1000, 2001, 3000], [many.length, many[0].time, many[999].time]);
});

test('every marker that has room has a sign, also where those of two kinds were read apart', () => {
  const all = merged([13, 27, 42].map((each) => marker(each, 'stall')), [7, 31].map((each) => marker(each, 'alert')));

  assert.deepEqual([true, true, true, true, true], signed(all, all.map((each) => each.time * 10), 11));
});

test('signs do not overlap, and what is wrong goes before what is well', () => {
  const all = [marker(0, 'resolved'), marker(5, 'alert'), marker(9, 'stall'), marker(12, 'resolved'), marker(20, 'ready'), marker(25, 'resolved'), marker(33, 'resolved')];

  assert.deepEqual([false, true, false, false, true, false, true], signed(all, all.map((each) => each.time), 11));
});

test('an alert that was read later than the samples after it is missed, and its end', () => {
  const at = Date.UTC(2026, 10, 28, 14, 15, 7);
  const alert = { budget: 'queue', since: new Date(at).toISOString(), ended: new Date(at + 9000).toISOString() } as Alert;
  const raised = { ...marker(at + 1, 'alert'), budget: 'queue' };

  assert.deepEqual([at, at + 9000], untold([marker(at, 'stall')], [alert], 0));
  assert.deepEqual([at + 9000], untold([raised], [alert], 0));
  assert.deepEqual([], untold([raised], [{ ...alert, ended: null }], 0));
  assert.deepEqual([], untold([], [alert], at + 9000)); // long ago: it may be outside of what is seen
  assert.deepEqual([at], untold([{ ...raised, budget: 'memory' }], [{ ...alert, ended: null }], 0));
});
