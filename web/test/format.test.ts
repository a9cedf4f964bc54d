import assert from 'node:assert/strict';
import { test } from 'node:test';
import { amount, bare, bytes, change, count, cut, duration, moment, percent, place, three, visible, zoned } from '../src/format.ts';

test('a number has at most three significant digits and no needless zero', () => {
  assert.deepEqual(['1.23', '1', '12.3', '10', '123', '0'], [1.234, 1, 12.34, 9.996, 123.4, 0].map(three));
});

test('a duration is told in the units of a person', () => {
  const seconds = [0, 3.2e-8, 0.000412, 0.412, 0.99996, 1.93, 59.96, 124, 3600, 11_100, 200_000, 900_000];
  const told = ['0 ms', '32 ns', '412 µs', '412 ms', '1 s', '1.93 s', '1 min', '2 min 4 s', '1 h', '3 h 5 min', '55 h 33 min', '10 d 10 h'];
  assert.deepEqual(told, seconds.map(duration));
});

test('what is unknown is a dash, and nothing is minus a word', () => {
  assert.deepEqual(['–', '–', '–', '–'], [duration(null), count(undefined), bytes(NaN), amount(null, 's')]);
  assert.equal('−12 ms', duration(-0.012));
});

test('a count is exact below a thousand, bytes are powers of ten', () => {
  assert.deepEqual(['0', '999', '12.3 k', '1 M'], [0, 999, 12_345, 999_999].map(count));
  assert.deepEqual(['0 B', '36.9 MB', '150 MB', '2.3 GB'], [0, 36_888_576, 150e6, 2.3e9].map(bytes));
});

test('a value has the unit of its metric beside it', () => {
  const values: [number, string][] = [[0.016, '{cpu}'], [1, '{cpu}'], [0.0808, '%'], [3, '{thread}'], [1, '{thread}'], [1.5e6, 'By/s'], [2, 's'],
    [5, '{context_switch}/s'], [0.5, '1'], [62.21, ''], [7, 'packets/s']]; // prettier-ignore
  const told = ['0.016 cores', '1 core', '8.08 %', '3 threads', '1 thread', '1.5 MB/s', '2 s', '5 context switches/s', '0.5', '62.2', '7 packets/s'];
  assert.deepEqual(told, values.map(([value, unit]) => amount(value, unit)));
});

test('an axis leaves out what is counted', () => {
  assert.deepEqual(['2.5', '150 MB', '400 ms', '3 k'], [bare(2.5, '{thread}'), bare(150e6, 'By/s'), bare(0.4, 's'), bare(3000, '{call}')]);
});

test('a difference has a sign, and a share is in percent', () => {
  assert.deepEqual(['+12 ms', '−3.4 ms', '±0'], [0.012, -0.0034, 0].map((each) => change(each, duration)));
  assert.deepEqual(['65.7 %', '100 %', '–'], [percent(0.6573), percent(1), percent(null)]);
});

test('a place is the end of its path, with the line', () => {
  assert.equal('plugins/checksums.py:46', place('/srv/app/plugins/checksums.py', 46, 23));
  assert.equal('checksums.py', place('C:\\app\\plugins\\checksums.py', null, 12));
  assert.equal('', place(null, 3));
});

test('no character of a name can hide or turn the line', () => {
  assert.equal('a\\u{202e}b\\u{1b}[31m c', visible('a\u202eb\u001b[31m\n c'));
  assert.equal('(no name)', visible(' \n'));
  assert.equal('<script>alert(1)</script>', visible('<script>alert(1)</script>')); // set as text, never as markup
});

test('a long text loses its middle', () => {
  assert.equal('abcd…wxyz', cut('abcdefghijklmnopqrstuvwxyz', 9));
  assert.equal('abc', cut('abc', 9));
});

test('a moment is local, with its zone in full', () => {
  const at = Date.UTC(2026, 10, 28, 14, 2, 11, 652);
  assert.match(zoned(at), /^2026-11-2\d \d\d:02:11\.652 UTC[+−]\d\d:\d\d$/);
  assert.equal(moment(at).slice(11), moment(at, at));
});
