/** Keys that work anywhere on the page, but where somebody writes. */

import * as timeline from '../charts/timeline.ts';
import { advanced, chooseRange, help, marked, pause, paused, query, range, resetCharts, running, source, trace } from '../state.ts';
import { wake } from './frames.ts';
import { toggleTheme } from './theme.ts';

const PART = 0.1; // of the time that is seen: a range of the keys

/** Move the range by its own length, no further than there is time; without one take the newest part. */
function step(direction: -1 | 1): void {
  const seen = timeline.visible();
  const chosen = range.value;
  const wide = chosen ? chosen.to - chosen.from : (seen.to - seen.from) * PART;
  const end = Math.min(seen.to, timeline.edge());
  const from = chosen ? chosen.from + direction * wide : end - wide;
  const kept = Math.min(Math.max(from, seen.from), Math.max(end - wide, seen.from));
  chooseRange({ from: kept, to: kept + wide });
}

const KEYS: Record<string, () => void> = {
  '/': () => document.getElementById('search')?.focus(),
  '[': () => step(-1),
  ']': () => step(1),
  z: () => range.value && timeline.zoomTo(range.value),
  '+': () => timeline.zoom(0.5),
  '=': () => timeline.zoom(0.5),
  '-': () => timeline.zoom(2),
  r: resetCharts,
  p: () => source.live && (running.value || paused.value) && pause(!paused.value),
  a: () => (advanced.value = !advanced.value),
  t: toggleTheme,
  '?': () => (help.value = true),
  Escape: () => {
    if (range.value) chooseRange(null);
    else if (marked.value !== null) marked.value = null;
    else query.value = '';
  },
};

function isWriting(target: EventTarget | null): boolean {
  return target instanceof HTMLInputElement || target instanceof HTMLSelectElement || target instanceof HTMLTextAreaElement;
}

export function startKeys(): void {
  addEventListener('keydown', (event) => {
    wake();
    if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented || isWriting(event.target)) return;
    if (help.value || trace.value) return; // a dialog is open
    const act = KEYS[event.key];
    if (!act) return;
    event.preventDefault();
    act();
  });
  for (const each of ['pointermove', 'pointerdown', 'wheel'] as const) addEventListener(each, wake, { passive: true });
}
