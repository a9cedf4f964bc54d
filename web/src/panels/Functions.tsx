/** Where did the time go? Flame graph and table of functions, of the range that was chosen; one marks the other. */

import { useComputed, useSignal } from '@preact/signals';
import { useId } from 'preact/hooks';
import type { FunctionRow } from '../api.ts';
import { clock, count, cut, duration, plural, visible } from '../format.ts';
import { FlameGraph, searched } from '../flame/Flame.tsx';
import { isSame } from '../flame/layout.ts';
import type { Range } from '../source/source.ts';
import { base, flame, functions, marked, overview, part, query, range, running, siblings, source } from '../state.ts';
import { Empty, Section, useHeld } from '../ui/parts.tsx';
import { titleOf } from './Header.tsx';

const MOST = 40; // rows of the table at first

export function Functions() {
  return (
    <Section id="functions" title="Where did the time go?" beside={<Tools />}>
      <div class="pair">
        <div class="pair-wide">
          <FlamePanel />
        </div>
        <div class="pair-narrow">
          <Table />
        </div>
      </div>
    </Section>
  );
}

/** What the numbers are of, in words. */
function whole(): string {
  const of = part.value;
  if (!of || !source.live) return running.value ? 'the run so far' : 'the run';
  return range.value ? 'the range' : `the time since ${clock(of.from)}`;
}

function Tools() {
  return (
    <div class="tools" role="toolbar" aria-label="Functions">
      <label class="search">
        <span class="hidden">Search functions and spans</span>
        <input
          id="search"
          type="search"
          placeholder="Search  /"
          value={query.value}
          spellcheck={false}
          autocomplete="off"
          onInput={(event) => (query.value = event.currentTarget.value)}
          onKeyDown={(event) => {
            if (event.key !== 'Escape') return;
            query.value = '';
            event.currentTarget.blur();
          }}
        />
      </label>
      {source.live && <Compare />}
      {marked.value !== null && (
        <button onClick={() => (marked.value = null)} title="Mark no function (Esc)">
          Unmark {cut(visible(marked.value), 24)}
        </button>
      )}
    </div>
  );
}

/** What the flame graph is compared with: the time before, a range that was kept, another run. */
function Compare() {
  const chosen = range.value;
  const now = base.value;
  const others = siblings.value;
  const against = (part: Range): void => {
    base.value = { range: part, place: null, label: `${clock(part.from)} – ${clock(part.to)}` };
  };
  const choose = (value: string): void => {
    if (value === 'none') base.value = null;
    else if (value === 'before' && chosen) {
      against({ from: 2 * chosen.from - chosen.to, to: chosen.from });
    } else if (value === 'this' && chosen) {
      against(chosen);
    } else {
      const other = others.find((each) => each.name === value);
      if (other) base.value = { range: null, place: { run: other.name, process: 'first' }, label: titleOf(other) };
    }
  };
  return (
    <label class="select">
      Compared with{' '}
      <select value={now ? 'now' : 'none'} onChange={(event) => choose(event.currentTarget.value)}>
        <option value="none">nothing</option>
        {now && <option value="now">{now.label}</option>}
        <option value="before" disabled={!chosen}>
          the time before the range{chosen ? '' : ' (choose a range)'}
        </option>
        <option value="this" disabled={!chosen}>
          this range, then choose another
        </option>
        {others.length > 0 && (
          <optgroup label="Another run">
            {others.map((each) => (
              <option key={each.name} value={each.name}>
                {titleOf(each)}
              </option>
            ))}
          </optgroup>
        )}
      </select>
    </label>
  );
}

function FlamePanel() {
  const tree = flame.value.value;
  const error = flame.error.value;
  const compared = base.value;
  const of = whole();
  if (error) return <Empty>The flame graph could not be read: {error}</Empty>;
  if (!tree) return <div class="flame-wait" aria-busy="true" />;
  if (tree.name.length < 2) return <Empty>{nothing('No call ended in this range.')}</Empty>;
  const scale = compared?.range && range.value ? (range.value.to - range.value.from) / (compared.range.to - compared.range.from) : 1;
  return (
    <>
      {compared && tree.baseTotalNs && (
        <p class="legend">
          <span>
            <i class="key slower" /> slower (+)
          </span>
          <span>
            <i class="key faster" /> faster (−)
          </span>
          <span>
            <i class="key same" /> the same, against {compared.label}
            {scale !== 1 && ', scaled to the same length'}
          </span>
        </p>
      )}
      <FlameGraph flame={tree} scale={scale} of={of} label={`Flame graph of ${of}`} />
    </>
  );
}

function nothing(inRange: string): string {
  if (part.value && source.live) return inRange;
  return overview.value?.empty.profile ?? 'No function was profiled: write @perf.profile above those that matter.';
}

type Column = 'name' | 'calls' | 'total' | 'self' | 'p50' | 'p95' | 'max';

const COLUMNS: { key: Column; title: string; says: string }[] = [
  { key: 'name', title: 'function', says: 'by name' },
  { key: 'calls', title: 'calls', says: 'how often it was called' },
  { key: 'total', title: 'total', says: 'with all that it called' },
  { key: 'self', title: 'self', says: 'in it alone' },
  { key: 'p50', title: 'p50', says: 'half of the calls are faster' },
  { key: 'p95', title: 'p95', says: '95 of 100 calls are faster' },
  { key: 'max', title: 'max', says: 'the slowest call' },
];

function Table() {
  const answer = functions.value.value;
  const error = functions.error.value;
  const by = useSignal<{ key: Column; up: boolean }>({ key: 'self', up: false });
  const all = useSignal(false);
  const note = useId();
  const sorted = useComputed(() => sort(functions.value.value?.functions ?? [], by.value.key, by.value.up));
  const matches = searched(query.value);
  const found = matches ? sorted.value.filter((each) => matches(each.name)) : sorted.value;
  const [held, holder] = useHeld(found, (each) => `${each.kind} ${each.name}`, `${by.value.key} ${by.value.up} ${query.value}`);
  if (error) return <Empty>The functions could not be read: {error}</Empty>;
  if (!answer) return <div class="table-wait" aria-busy="true" />;
  if (!answer.functions.length) return <Empty>{nothing('No profiled function was called in this range.')}</Empty>;
  const rows = all.value ? held : held.slice(0, MOST);
  const inexact = answer.functions.some((each) => !each.exact);
  return (
    <>
      <div class="table-box scroller" tabIndex={0} role="group" aria-label="Functions">
        <table ref={holder} class="functions" aria-describedby={note}>
          <thead>
            <tr>
              {COLUMNS.map(({ key, title, says }) => (
                <th key={key} scope="col" aria-sort={by.value.key !== key ? 'none' : by.value.up ? 'ascending' : 'descending'}>
                  <button
                    title={`Sort ${key === 'name' ? says : `by ${title}: ${says}`}`}
                    onClick={() => (by.value = { key, up: by.value.key === key ? !by.value.up : key === 'name' })}
                  >
                    {title}
                    <span aria-hidden="true">{by.value.key === key ? (by.value.up ? ' ▲' : ' ▼') : ''}</span>
                  </button>
                </th>
              ))}
            </tr>
          </thead>
          <tbody>
            {rows.map((each) => (
              <Row key={`${each.kind} ${each.name}`} row={each} />
            ))}
          </tbody>
        </table>
        {!found.length && <Empty>No function is called like “{query.value}”.</Empty>}
      </div>
      <p class="detail" id={note}>
        {plural(found.length, 'function')}
        {answer.hidden > 0 && `, ${count(answer.hidden)} more left out`}
        {inexact && '; ~ from the buckets of a histogram'}
        {found.length > MOST && (
          <button class="small" onClick={() => (all.value = !all.value)}>
            {all.value ? `Show ${MOST}` : 'Show all'}
          </button>
        )}
      </p>
    </>
  );
}

function Row({ row }: { row: FunctionRow }) {
  const on = isMarked(row);
  const about = row.exact ? '' : '~';
  return (
    <tr class={on ? 'marked' : ''} onClick={() => mark(row, on)}>
      <th scope="row">
        <button aria-pressed={on} title={visible(row.name)} onClick={(event) => (event.stopPropagation(), mark(row, on))}>
          <bdi dir="ltr">
            {visible(row.name)}
            {row.kind === 'operation' && <span class="dim"> operation</span>}
          </bdi>
        </button>
      </th>
      <td>{count(row.calls)}</td>
      <td>{duration(row.total)}</td>
      <td>{duration(row.self)}</td>
      <td>{row.p50 === null ? '–' : about + duration(row.p50)}</td>
      <td>{row.p95 === null ? '–' : about + duration(row.p95)}</td>
      <td>{row.max === null ? '–' : (row.maxExact ? '' : '~') + duration(row.max)}</td>
    </tr>
  );
}

function mark(row: FunctionRow, on: boolean): void {
  marked.value = on ? null : row.name;
}

/** Whether this row is what is marked: by its own name, or by the one that the flame graph has for it. */
function isMarked(row: FunctionRow): boolean {
  const name = marked.value;
  if (name === null) return false;
  if (row.name === name) return true;
  const tree = flame.value.value;
  const at = tree?.names.indexOf(name) ?? -1;
  return tree !== null && at >= 0 && isSame(row.name, name, tree.modules[at] ?? '', tree.functions[at]);
}

function sort(rows: readonly FunctionRow[], key: Column, up: boolean): FunctionRow[] {
  const sign = up ? 1 : -1;
  return [...rows].sort((a, b) => {
    if (key === 'name') return sign * (a.name < b.name ? -1 : a.name > b.name ? 1 : 0);
    const [x, y] = [a[key], b[key]];
    if (x === null || y === null) return x === y ? 0 : x === null ? 1 : -1; // what is unknown comes last
    return sign * (x - y) || b.total - a.total;
  });
}
