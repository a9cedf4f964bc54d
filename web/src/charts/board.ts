/** Draws the charts: together, on demand, at most once a frame; and lets those of a run in progress scroll, a pixel at a time. */

import { effect, signal } from '@preact/signals';
import { overview, paused, range } from '../state.ts';
import type { Range } from '../source/source.ts';
import { isCalm, painted } from '../ui/theme.ts';
import * as timeline from './timeline.ts';

interface Chart {
  draw(): void;
}

const CALM = 1000; // ms between two moves where motion is to be reduced
const WIDE = 1000; // pixels that a chart has about

/** The range that is being drawn with the pointer. */
export const dragged = signal<Range | null>(null);

const charts = new Set<Chart>();
let asked = 0;
let timer = 0;

export function add(chart: Chart): () => void {
  charts.add(chart);
  invalidate();
  return () => charts.delete(chart);
}

/** Draw all charts with the next frame. */
export function invalidate(): void {
  if (!asked) asked = requestAnimationFrame(drawAll);
}

/** Draw all charts now. */
export function drawAll(): void {
  cancelAnimationFrame(asked);
  asked = 0;
  for (const chart of charts) chart.draw();
}

function scroll(): void {
  timer = 0;
  if (!timeline.moves() || paused.value || document.visibilityState !== 'visible') return;
  invalidate();
  const { from, to } = timeline.axis();
  timer = window.setTimeout(scroll, isCalm() ? CALM : Math.min(Math.max((to - from) / WIDE / devicePixelRatio, 33), CALM));
}

export function boot(): void {
  effect(() => {
    void [timeline.news.value, timeline.shown.value, timeline.since.value, range.value, dragged.value, painted.value, paused.value];
    void overview.value;
    invalidate();
    if (!timer) timer = window.setTimeout(scroll, 33);
  });
  document.addEventListener('visibilitychange', () => {
    invalidate();
    if (!timer) scroll();
  });
}
