import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { amount, bare, bytes, change, count, cut, duration, moment, percent, place, plural, three, visible, zoned } from '../src/format.ts';

interface Table {
  duration: [number, string][];
  count: [number, string][];
  bytes: [number, string][];
  plural: [number, string, string][];
  amount: [number, string, string, string][];
}

test('a number has at most three significant digits and no needless zero', () => {
  assert.deepEqual(['1.23', '1', '12.3', '10', '123', '0'], [1.234, 1, 12.34, 9.996, 123.4, 0].map(three));
});

test('numbers are said as in the report and in a terminal', () => {
  const table = JSON.parse(readFileSync(new URL('../../../../tests/unit/amounts.json', import.meta.url), 'utf8')) as Table;
  const typed = (text: string): string => text.replaceAll('-', '−');
  const unit = (base: string, form: string): string => base + (form === 'rate' ? '/s' : '');

  for (const [name, say] of [['duration', duration], ['count', count], ['bytes', bytes]] as const) {
    assert.deepEqual(table[name].map(([value]) => say(value)), table[name].map(([, told]) => typed(told)), name);
  }
  assert.deepEqual(table.plural.map(([number, noun]) => plural(number, noun)), table.plural.map(([, , told]) => told));
  assert.deepEqual(table.amount.map(([value, base, form]) => amount(value, unit(base, form))), table.amount.map((each) => typed(each[3])));
});

test('what is unknown is a dash, and nothing is minus a word', () => {
  assert.deepEqual(['–', '–', '–', '–'], [duration(null), count(undefined), bytes(NaN), amount(null, 's')]);
  assert.equal('−12 ms', duration(-0.012));
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
