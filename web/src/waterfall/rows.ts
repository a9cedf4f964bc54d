/**
 * Which spans of a waterfall are rows. Long ones stand for themselves; what is short is one row, "12 more", that opens: of a
 * start of thousands of spans a person sees at first the few that matter.
 */

import type { Waterfall } from '../api.ts';

export const SHORT = 0.004; // share of the whole below which a span is not a row of its own at first
const MOST = 2; // a row for one span alone would save nothing

export interface Row {
  /** Index of the span; of a "more" row that of the span they lie in, -1 at the top. */
  span: number;
  depth: number;
  /** Spans that this row stands for, and what they took together; 0 of a span's own row. */
  more: number;
  seconds: number;
  /** From the first's beginning to the last's end, of a "more" row. */
  begin: number;
  end: number;
  /** What is below it is shown; null where nothing is. */
  open: boolean | null;
}

export interface Opened {
  /** Spans whose children are hidden. */
  shut: ReadonlySet<number>;
  /** Spans whose short children are shown. */
  opened: ReadonlySet<number>;
}

/** Indices of each span's children, those of the top at the end. */
export function childrenOf(waterfall: Waterfall): number[][] {
  const found: number[][] = Array.from({ length: waterfall.spans.length + 1 }, () => []);
  waterfall.spans.forEach((span, i) => found[span.parent < 0 ? waterfall.spans.length : span.parent].push(i));
  return found;
}

/**
 * The rows, from top to bottom.
 *
 * @param least seconds below which a span is short.
 */
export function rowsOf(waterfall: Waterfall, children: readonly number[][], { shut, opened }: Opened, least: number): Row[] {
  const { spans } = waterfall;
  const rows: Row[] = [];
  // -1 - n stands for the short children of n
  const waiting: { at: number; depth: number; short: number[] | null }[] = [];
  const push = (parent: number, depth: number): void => {
    const below = children[parent < 0 ? spans.length : parent];
    const all = opened.has(parent);
    const short = all ? [] : below.filter((each) => isShort(spans[each], least));
    const hidden = new Set(short.length >= MOST ? short : []);
    if (hidden.size) waiting.push({ at: parent, depth, short });
    for (let i = below.length - 1; i >= 0; i--) if (!hidden.has(below[i])) waiting.push({ at: below[i], depth, short: null });
  };
  push(-1, 0);
  while (waiting.length) {
    const { at, depth, short } = waiting.pop()!;
    if (short) {
      let [seconds, begin, end] = [0, Infinity, 0];
      for (const each of short) {
        seconds += spans[each].seconds;
        begin = Math.min(begin, spans[each].begin);
        end = Math.max(end, spans[each].begin + spans[each].seconds);
      }
      rows.push({ span: at, depth, more: short.length, seconds, begin, end, open: false });
      continue;
    }
    const open = children[at].length ? !shut.has(at) : null;
    const { begin, seconds } = spans[at];
    rows.push({ span: at, depth, more: 0, seconds: 0, begin, end: begin + seconds, open });
    if (open) push(at, depth + 1);
  }
  return rows;
}

function isShort(span: Waterfall['spans'][number], least: number): boolean {
  return span.seconds < least && !span.error && span.kind !== 'phase' && span.kind !== 'startup';
}

/** A phase's way from the top, by which it is found in another start. */
export function phaseKey(waterfall: Waterfall, at: number): string {
  const names: string[] = [];
  for (let each = at; each >= 0; each = waterfall.spans[each].parent) {
    if (waterfall.spans[each].kind === 'phase') names.push(waterfall.spans[each].name);
  }
  return JSON.stringify(names.reverse());
}

/** Phases of a start by phaseKey(); of several with the same one the first. */
export function phasesOf(waterfall: Waterfall): Map<string, number> {
  const found = new Map<string, number>();
  waterfall.spans.forEach((span, i) => {
    if (span.kind !== 'phase') return;
    const key = phaseKey(waterfall, i);
    if (!found.has(key)) found.set(key, i);
  });
  return found;
}

/** Moments for an axis from 0 to *seconds*: about *most* of them, at round numbers. */
export function ticks(from: number, to: number, most: number): number[] {
  const rough = (to - from) / Math.max(1, most);
  if (!(rough > 0)) return [];
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((each) => each * power).find((each) => each >= rough)!;
  const found: number[] = [];
  for (let i = Math.ceil(from / step - 1e-9) + 0; i * step <= to + step * 1e-9; i++) found.push(i * step);
  return found;
}

/** Of each span the parts in which it or anything below it holds the critical path, joined where they touch. */
export function pathBelow(waterfall: Waterfall): [number, number][][] {
  const found: [number, number][][] = waterfall.spans.map((span) => [...span.critical]);
  for (let i = found.length - 1; i >= 0; i--) {
    found[i] = united(found[i]);
    const { parent } = waterfall.spans[i];
    if (parent >= 0) found[parent].push(...found[i]);
  }
  return found;
}

const TOUCH = 2e-6; // seconds between parts that are one

function united(parts: [number, number][]): [number, number][] {
  if (parts.length < 2) return parts;
  parts.sort((a, b) => a[0] - b[0]);
  const all: [number, number][] = [[parts[0][0], parts[0][1]]];
  for (const [from, to] of parts) {
    const last = all[all.length - 1];
    if (from <= last[1] + TOUCH) last[1] = Math.max(last[1], to);
    else all.push([from, to]);
  }
  return all;
}
