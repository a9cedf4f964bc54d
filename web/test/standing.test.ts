import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Budget } from '../src/report.ts';
import { markOf, present, unitOf, type Measured } from '../src/standing.ts';

function budget(name: string, metric: string, more: Partial<Budget> = {}): Budget {
  return { name, metric, unit: null, of: null, state: 'ok', value: 73, limit: 150, was_exceeded: false, ...more };
}

function measured(name: string, last: number | null, unit: string, ...limits: { budget: string; idle: boolean }[]): Measured {
  return { name, unit, last, limits };
}

const MEMORY = measured('process.memory.usage', 80.2, 'By', { budget: 'memory', idle: false });
const CPU = measured('process.cpu.cores', 0.9, '{cpu}', { budget: 'idle', idle: true });
const QUEUE = measured('shop.queue', 70, '{order}');

test('a budget stands where its chart ends, not where it was judged seconds ago', () => {
  assert.equal(80.2, present(budget('memory', 'process.memory.usage'), [CPU, MEMORY], null));
  assert.equal(70, present(budget('queue', 'shop.queue'), [MEMORY, QUEUE], null));
});

test('after a stall it does so too, though nothing was judged', () => {
  assert.equal(80.2, present(budget('memory', 'process.memory.usage', { state: 'unknown', value: null }), [MEMORY], null));
  assert.equal(0.412, present(budget('startup', 'otel_perf.startup.duration', { state: 'unknown', value: null }), [], 0.412));
});

test('what is judged otherwise than it is drawn keeps the value that was judged', () => {
  const rate = measured('shop.orders', 9, '{order}/s');
  const busy = measured('shop.busy', 0.4, '%');

  assert.equal(73, present(budget('idle', 'process.cpu.cores'), [CPU], null)); // the program works now
  assert.equal(73, present(budget('orders', 'shop.orders'), [rate], null)); // all of them, not those of a second
  assert.equal(73, present(budget('speed', 'rate(shop.orders)'), [rate], null));
  assert.equal(73, present(budget('busy', 'shop.busy', { unit: 's' }), [busy], null));
  assert.equal(0.4, present(budget('busy', 'shop.busy', { unit: '1' }), [busy], null));
  assert.equal(73, present(budget('gone', 'shop.queue', { state: 'gone' }), [QUEUE], null));
});

test('a percentile is told to be an estimate, and nothing else is', () => {
  assert.deepEqual(['~', '~', '', '', ''], ['p95(checkout)', 'p99.9(otel_perf.function.duration{function=f})', 'checkout', 'rate(p95)', null].map(markOf));
});

test('where nothing was sampled, what was judged is all that is known', () => {
  assert.equal(73, present(budget('memory', 'process.memory.usage'), [], null));
  assert.equal(73, present(budget('queue', 'shop.queue'), [{ ...QUEUE, last: null }], null));
  assert.equal(null, present(budget('queue', 'shop.queue', { value: null }), [], null));
});

test('what is judged as a rate is told per second, a share in percent', () => {
  assert.equal('By/s', unitOf({ metric: 'rate(shop.bytes)', unit: 'By' }));
  assert.equal('/s', unitOf({ metric: 'rate(shop.things)', unit: null }));
  assert.equal('%', unitOf({ metric: 'process.cpu.share', unit: '1', of: 'the machine' }));
  assert.deepEqual(['By', '1', null], ['By', '1', null].map((unit) => unitOf({ metric: 'shop.bytes', unit, of: null })));
  assert.equal('s', unitOf({ metric: 'p95(shop.rate)', unit: 's' }));
  assert.equal('s', unitOf({ metric: null, unit: 's' }));
});
