/** Keys and words. */

import { useEffect, useRef } from 'preact/hooks';
import { help } from '../state.ts';
import { Sign } from '../ui/icons.tsx';

const KEYS: [string, string][] = [
  ['/', 'search functions and spans'],
  ['[  ]', 'move the range earlier, later; without one, choose the newest tenth'],
  ['z', 'zoom the charts to the range'],
  ['+  −', 'see less, more of the time'],
  ['r', 'reset the charts'],
  ['p', 'pause, go on'],
  ['a', 'show the other metrics, or hide them'],
  ['t', 'light or dark'],
  ['Esc', 'clear the range, then the mark'],
  ['?', 'this help'],
];
const IN_CHARTS: [string, string][] = [
  ['drag', 'choose a range for everything below'],
  ['←  →', 'move the crosshair; with Shift choose a range'],
  ['Ctrl + wheel', 'zoom'],
  ['double click', 'see all of the time'],
];
const IN_PICTURES: [string, string][] = [
  ['arrows', 'walk through the flame graph, or the rows of a waterfall'],
  ['Enter', 'zoom to a call, or fold a row'],
  ['Backspace', 'back out of a call'],
  ['n', 'next one that is searched for'],
  ['0', 'all of a waterfall; drag in it to zoom'],
];
const WORDS: [string, string][] = [
  ['total', 'time with everything that was called'],
  ['self', 'time in the function alone'],
  ['critical path', 'what the end of the start waited for; to shorten anything else saves nothing'],
  ['headroom', 'what is left until the limit of a budget'],
  ['p95', '95 of 100 calls are faster'],
];

export function Help() {
  const box = useRef<HTMLDialogElement>(null);
  const on = help.value;
  useEffect(() => {
    if (on && !box.current!.open) box.current!.showModal();
    if (!on && box.current!.open) box.current!.close();
  }, [on]);
  return (
    <dialog class="help" ref={box} aria-labelledby="help-title" onClose={() => (help.value = false)}>
      <header class="trace-head">
        <h2 id="help-title">Keys and words</h2>
        <span class="space" />
        <button class="icon" onClick={() => (help.value = false)} aria-label="Close" title="Close (Esc)">
          <Sign name="close" />
        </button>
      </header>
      <div class="help-columns">
        <List title="Anywhere" rows={KEYS} keys />
        <div>
          <List title="In a chart" rows={IN_CHARTS} keys />
          <List title="In a picture" rows={IN_PICTURES} keys />
        </div>
        <List title="Words" rows={WORDS} />
      </div>
    </dialog>
  );
}

function List({ title, rows, keys = false }: { title: string; rows: [string, string][]; keys?: boolean }) {
  return (
    <section>
      <h3>{title}</h3>
      <dl class="keys">
        {rows.map(([name, says]) => (
          <div key={name}>
            <dt>{keys ? <kbd>{name}</kbd> : name}</dt>
            <dd>{says}</dd>
          </div>
        ))}
      </dl>
    </section>
  );
}
