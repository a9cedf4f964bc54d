/**
 * A start, or a trace, on its canvas: spans as bars on one time axis, names beside them, phases as bands behind them.
 *
 * Strong is what the end waited for: darker where a span itself holds the critical path, lighter where something below it does.
 */

import type { Waterfall } from '../api.ts';
import { change, duration, visible } from '../format.ts';
import { wake } from '../ui/frames.ts';
import { Surface } from '../ui/surface.ts';
import { palette, type Colors } from '../ui/theme.ts';
import { childrenOf, pathBelow, phaseKey, phasesOf, rowsOf, SHORT, ticks, type Row } from './rows.ts';

const ROW = 20;
const AXIS = 20;
const STRIP = 20;
const MONO = 'ui-monospace, SFMono-Regular, Menlo, Consolas, monospace';
const INDENT = 12;
const DRAG = 4; // pixels that a pointer may move in a click
const LEAST = 1e-6; // seconds that can be zoomed to
const RIGHT = 64; // pixels at the right for a duration
const LABEL = 62; // pixels that two labels of the axis are apart at least
const NEAR_LIMIT = 0.55; // of the limit, from which on it is in the picture
const BESIDE = 1e-3; // seconds by which a phase must differ to be told

export interface Handlers {
  at(row: Row | null, at: { x: number; y: number } | null): void;
}

export class WaterfallCanvas {
  readonly surface: Surface;
  rows: Row[] = [];
  /** Number of the row that the keys are at, -1 none. */
  focus = -1;
  private waterfall: Waterfall | null = null;
  private children: number[][] = [];
  private path: [number, number][][] = [];
  private names: string[] = [];
  private tops: number[] = []; // phases that are in no other
  private earlier: Waterfall | null = null;
  private earlierPhases = new Map<string, number>();
  private phases = new Map<string, number>();
  private shut = new Set<number>();
  private opened = new Set<number>();
  private everything = false;
  private from = 0;
  private to = 1;
  private hovered = -1;
  private dragging: [number, number] | null = null;
  private matches: ((name: string) => boolean) | null = null;
  private readonly handlers: Handlers;

  constructor(box: HTMLElement, handlers: Handlers) {
    this.handlers = handlers;
    this.surface = new Surface(box, (context, width, height, top) => this.paint(context, width, height, top));
    const { canvas } = this.surface;
    canvas.addEventListener('pointerdown', (event) => this.press(event));
    canvas.addEventListener('pointermove', (event) => this.hover(event));
    canvas.addEventListener('pointerleave', () => this.leave());
    canvas.addEventListener('dblclick', () => this.zoomOut());
    canvas.addEventListener('wheel', (event) => this.wheel(event), { passive: false });
    box.addEventListener('keydown', (event) => this.key(event));
    box.addEventListener('blur', () => this.leave());
  }

  destroy(): void {
    this.surface.destroy();
  }

  /** Show *waterfall*, beside it the *earlier* start. What was opened stays so, of the same trace. */
  show(waterfall: Waterfall, earlier: Waterfall | null): void {
    const same = this.waterfall?.traceId === waterfall.traceId && this.waterfall.began === waterfall.began;
    const grown = same && this.waterfall!.spans.length !== waterfall.spans.length;
    this.waterfall = waterfall;
    this.earlier = earlier;
    this.earlierPhases = earlier ? phasesOf(earlier) : new Map();
    this.phases = phasesOf(waterfall);
    this.children = childrenOf(waterfall);
    this.path = pathBelow(waterfall);
    this.names = waterfall.spans.map((span) => visible(span.name));
    this.tops = waterfall.spans.flatMap((span, i) => (span.kind === 'phase' && JSON.parse(phaseKey(waterfall, i)).length === 1 ? [i] : []));
    if (!same || grown) {
      this.shut = new Set();
      this.opened = new Set();
      this.focus = -1;
      this.zoomOut();
    }
    this.list();
    this.handlers.at(null, null); // rows have other numbers now
  }

  search(matches: ((name: string) => boolean) | null): void {
    this.matches = matches;
    this.surface.invalidate();
  }

  /** Show every span as a row, or the long ones. */
  expand(everything: boolean): void {
    this.everything = everything;
    this.opened = new Set();
    this.shut = new Set();
    this.list();
  }

  /** Go to the first row of a span of this name, and open what hides it. */
  find(name: string): boolean {
    const at = this.waterfall?.spans.findIndex((span) => span.name === name) ?? -1;
    if (at < 0) return false;
    for (let each = this.waterfall!.spans[at].parent; each >= 0; each = this.waterfall!.spans[each].parent) this.shut.delete(each);
    this.list();
    if (!this.rows.some((row) => row.span === at && !row.more)) {
      for (let each = at; each >= 0; each = this.waterfall!.spans[each].parent) this.opened.add(this.waterfall!.spans[each].parent);
      this.list();
    }
    this.goTo(this.rows.findIndex((row) => row.span === at && !row.more));
    return true;
  }

  private list(): void {
    if (!this.waterfall) return;
    const least = this.everything ? 0 : this.waterfall.seconds * SHORT;
    this.rows = rowsOf(this.waterfall, this.children, { shut: this.shut, opened: this.opened }, least);
    this.hovered = -1;
    this.surface.setContent(this.head + this.rows.length * ROW + 6);
    this.surface.invalidate();
  }

  private get head(): number {
    return AXIS + (this.tops.length ? STRIP : 0);
  }

  // --- time ----------------------------------------------------------------------------------------------------------

  /** Seconds that the whole picture shows: the limit too, if the start came near it. */
  private get whole(): number {
    const { seconds, limit } = this.waterfall!;
    const last = this.waterfall!.spans.reduce((end, span) => Math.max(end, span.begin + span.seconds), seconds);
    const near = limit !== null && last > limit * NEAR_LIMIT;
    return Math.max(last, near ? limit * 1.02 : 0, this.earlier ? Math.min(this.earlier.seconds, last * 2) : 0, LEAST);
  }

  private zoomOut(): void {
    if (!this.waterfall) return;
    this.from = 0;
    this.to = this.whole;
    this.surface.invalidate();
  }

  private zoomTo(from: number, to: number): void {
    if (to - from < LEAST) return;
    this.from = Math.max(0, from);
    this.to = Math.min(this.whole, to);
    this.surface.invalidate();
  }

  private zoom(factor: number, around = (this.from + this.to) / 2): void {
    this.zoomTo(around - (around - this.from) * factor, around + (this.to - around) * factor);
  }

  private labels(width: number): number {
    return Math.round(Math.min(340, width * (width < 560 ? 0.46 : 0.32)));
  }

  private x(seconds: number, width: number): number {
    const left = this.labels(width);
    return left + ((seconds - this.from) / (this.to - this.from)) * (width - left - RIGHT);
  }

  private moment(x: number, width: number): number {
    const left = this.labels(width);
    return this.from + ((x - left) / (width - left - RIGHT)) * (this.to - this.from);
  }

  // --- pointer and keys ----------------------------------------------------------------------------------------------

  private rowUnder(event: MouseEvent): number {
    const { y } = this.surface.locate(event);
    if (y - this.surface.box.scrollTop < this.head) return -1;
    const row = Math.floor((y - this.head) / ROW);
    return row >= 0 && row < this.rows.length ? row : -1;
  }

  private press(event: PointerEvent): void {
    if (event.button !== 0) return;
    const { canvas } = this.surface;
    const width = canvas.clientWidth;
    const begun = this.surface.locate(event).x;
    const inTime = begun > this.labels(width) && event.pointerType !== 'touch';
    if (inTime) canvas.setPointerCapture(event.pointerId);
    const move = (each: PointerEvent): void => {
      const { x } = this.surface.locate(each);
      if (!inTime || (Math.abs(x - begun) <= DRAG && !this.dragging)) return;
      this.dragging = [this.moment(Math.min(begun, x), width), this.moment(Math.max(begun, x), width)];
      this.surface.invalidate();
    };
    const end = (each: PointerEvent): void => {
      canvas.removeEventListener('pointermove', move);
      canvas.removeEventListener('pointerup', end);
      canvas.removeEventListener('pointercancel', end);
      const dragged = this.dragging;
      this.dragging = null;
      if (each.type !== 'pointerup') return;
      if (dragged) this.zoomTo(...dragged);
      else this.choose(this.rowUnder(each));
    };
    canvas.addEventListener('pointermove', move);
    canvas.addEventListener('pointerup', end);
    canvas.addEventListener('pointercancel', end);
  }

  private choose(number: number): void {
    const row = this.rows[number];
    if (!row) return;
    this.focus = number;
    this.toggle(row);
    this.surface.invalidate();
  }

  private toggle(row: Row, open = !row.open): void {
    if (row.more) {
      if (open) this.opened.add(row.span);
    } else if (row.open !== null) {
      if (open) this.shut.delete(row.span);
      else {
        this.shut.add(row.span);
        this.opened.delete(row.span);
      }
    } else return;
    this.list();
  }

  private hover(event: PointerEvent): void {
    if (this.dragging) return;
    const row = this.rowUnder(event);
    if (row !== this.hovered) {
      this.hovered = row;
      wake();
      this.surface.invalidate();
    }
    this.handlers.at(this.rows[row] ?? null, { x: event.clientX, y: event.clientY });
  }

  private leave(): void {
    this.hovered = -1;
    this.surface.invalidate();
    this.handlers.at(null, null);
  }

  private wheel(event: WheelEvent): void {
    if (!event.ctrlKey && !event.metaKey) return;
    event.preventDefault();
    const { x } = this.surface.locate(event);
    this.zoom(event.deltaY < 0 ? 0.75 : 1 / 0.75, this.moment(x, this.surface.canvas.clientWidth));
  }

  goTo(number: number): void {
    const row = this.rows[Math.min(Math.max(number, 0), this.rows.length - 1)];
    if (!row) return;
    this.focus = this.rows.indexOf(row);
    const y = this.head + this.focus * ROW;
    this.surface.reveal(y, y + ROW, this.head);
    this.surface.invalidate();
    this.handlers.at(row, null);
  }

  private key(event: KeyboardEvent): void {
    if (event.ctrlKey || event.metaKey || event.altKey || !this.rows.length) return;
    const row = this.rows[this.focus];
    const page = Math.max(1, Math.floor(this.surface.box.clientHeight / ROW) - 3);
    const steps = { ArrowDown: 1, ArrowUp: -1, PageDown: page, PageUp: -page, Home: -1e9, End: 1e9 }[event.key];
    if (steps !== undefined) this.goTo(this.focus < 0 ? 0 : this.focus + steps);
    else if (event.key === 'ArrowRight' && row) {
      if (row.open === false) this.toggle(row, true);
      else this.goTo(this.focus + 1);
    } else if (event.key === 'ArrowLeft' && row) {
      if (row.open && !row.more) this.toggle(row, false);
      else this.goTo(this.rows.findIndex((each) => !each.more && each.span === this.above(row)));
    } else if ((event.key === 'Enter' || event.key === ' ') && row) this.choose(this.focus);
    else if (event.key === '+' || event.key === '=') this.zoom(0.6);
    else if (event.key === '-') this.zoom(1 / 0.6);
    else if (event.key === '0') this.zoomOut();
    else if (event.key === 'n' && this.matches) this.next();
    else return;
    event.preventDefault();
    event.stopPropagation();
  }

  private above(row: Row): number {
    return row.more ? row.span : this.waterfall!.spans[row.span].parent;
  }

  private next(): void {
    for (let i = 1; i <= this.rows.length; i++) {
      const at = (Math.max(this.focus, 0) + i) % this.rows.length;
      const row = this.rows[at];
      if (!row.more && this.matches!(this.waterfall!.spans[row.span].name)) {
        this.goTo(at);
        return;
      }
    }
  }

  // --- drawing -------------------------------------------------------------------------------------------------------

  private paint(context: CanvasRenderingContext2D, width: number, height: number, top: number): void {
    if (!this.waterfall) return;
    const colors = palette();
    const { head } = this;
    context.textBaseline = 'middle';
    this.bands(context, width, height, colors);
    context.save();
    context.beginPath();
    context.rect(0, head, width, height - head);
    context.clip();
    const first = Math.max(0, Math.floor(top / ROW));
    const last = Math.min(this.rows.length - 1, Math.floor((top + height - head) / ROW));
    for (let i = first; i <= last; i++) this.row(context, i, head + i * ROW - top, width, colors);
    context.restore();
    this.lines(context, width, height, colors);
    this.axis(context, width, colors);
    if (this.dragging) {
      const [a, b] = this.dragging.map((each) => this.x(each, width));
      context.fillStyle = colors.band;
      context.globalAlpha = 0.6;
      context.fillRect(a, head, b - a, height);
      context.globalAlpha = 1;
    }
  }

  /** The phases, from top to bottom behind everything, every second one tinted; their names above. */
  private bands(context: CanvasRenderingContext2D, width: number, height: number, colors: Colors): void {
    const left = this.labels(width);
    context.save();
    context.beginPath();
    context.rect(left, 0, width - left, height);
    context.clip();
    this.tops.forEach((at, i) => {
      const { begin, seconds } = this.waterfall!.spans[at];
      const [a, b] = [this.x(begin, width), this.x(begin + seconds, width)];
      if (i % 2 === 0) {
        context.fillStyle = colors.band;
        context.globalAlpha = 0.35;
        context.fillRect(a, AXIS, b - a, height);
        context.globalAlpha = 1;
      }
    });
    context.restore();
  }

  private strip(context: CanvasRenderingContext2D, width: number, colors: Colors): void {
    context.save();
    context.beginPath();
    context.rect(this.labels(width), AXIS, width, STRIP);
    context.clip();
    context.font = '11px system-ui, sans-serif';
    this.tops.forEach((at) => {
      const { begin, seconds } = this.waterfall!.spans[at];
      const [a, b] = [this.x(begin, width), this.x(begin + seconds, width)];
      const wide = Math.max(b - a - 1, 1);
      context.fillStyle = this.path[at].length ? colors.accent : colors.pale;
      context.fillRect(a, AXIS + 2, wide, STRIP - 5);
      const text = fit(context, this.names[at], wide - 8);
      if (text.length >= Math.min(this.names[at].length, 5)) {
        context.fillStyle = this.path[at].length ? colors['on-accent'] : colors.text;
        context.fillText(text, Math.max(a, this.labels(width)) + 4, AXIS + STRIP / 2);
      }
      this.beside(context, at, this.before(at)?.begin ?? 0, AXIS + STRIP - 3, width, colors); // at the time that it was then
    });
    context.restore();
  }

  /** The same phase of the earlier start, as a thin shadow from *begin* on: how long it took then. */
  private beside(context: CanvasRenderingContext2D, at: number, begin: number, y: number, width: number, colors: Colors): void {
    const before = this.before(at);
    if (!before) return;
    const a = this.x(begin, width);
    context.fillStyle = colors.shadow;
    context.fillRect(a, y, Math.max(this.x(begin + before.seconds, width) - a, 1), 2);
  }

  private before(at: number): Waterfall['spans'][number] | null {
    if (!this.earlier || this.waterfall!.spans[at].kind !== 'phase') return null;
    const key = phaseKey(this.waterfall!, at);
    const there = this.earlierPhases.get(key);
    return there === undefined || this.phases.get(key) !== at ? null : this.earlier.spans[there];
  }

  private row(context: CanvasRenderingContext2D, number: number, y: number, width: number, colors: Colors): void {
    const row = this.rows[number];
    const span = row.span >= 0 && !row.more ? this.waterfall!.spans[row.span] : null;
    const left = this.labels(width);
    const matched = span && this.matches ? this.matches(span.name) : false;
    const faded = this.matches !== null && !matched;
    if (number === this.hovered || number === this.focus) {
      context.fillStyle = colors.band;
      context.fillRect(0, y, width, ROW);
    }
    if (number === this.focus) {
      context.strokeStyle = colors.accent;
      context.lineWidth = 1.5;
      context.strokeRect(0.75, y + 0.75, width - 1.5, ROW - 1.5);
    }
    this.bar(context, row, span, y, left, width, faded, colors);
    this.label(context, row, span, y, left, matched, faded, colors);
  }

  private bar(
    context: CanvasRenderingContext2D,
    row: Row,
    span: Waterfall['spans'][number] | null,
    y: number,
    left: number,
    width: number,
    faded: boolean,
    colors: Colors,
  ): void {
    context.save();
    context.beginPath();
    context.rect(left, y, width - left, ROW);
    context.clip();
    const high = span?.kind === 'phase' || span?.kind === 'startup' ? 13 : 10;
    const at = y + (ROW - high) / 2;
    const fill = (from: number, to: number, color: string): void => {
      const a = this.x(from, width);
      context.fillStyle = color;
      context.fillRect(a, at, Math.max(this.x(to, width) - a, 1), high);
    };
    fill(row.begin, row.end, span && !faded ? colors['pale-strong'] : colors.pale);
    if (span && !faded) {
      const shut = row.open === false;
      for (const [from, to] of this.path[row.span]) fill(from, to, shut ? colors.accent : colors['accent-soft']);
      for (const [from, to] of span.critical) fill(from, to, colors.accent);
      this.beside(context, row.span, row.begin, at + high + 1, width, colors);
      if (span.error) {
        context.strokeStyle = colors.critical;
        context.lineWidth = 1.5;
        const a = this.x(row.begin, width);
        context.strokeRect(a, at, Math.max(this.x(row.end, width) - a, 2), high);
      }
    }
    context.font = '11px system-ui, sans-serif';
    const text = duration(row.more ? row.seconds : span!.seconds);
    const wide = context.measureText(text).width;
    const end = this.x(row.end, width);
    const begin = this.x(row.begin, width);
    context.fillStyle = colors.dim;
    if (end + wide + 6 < width) context.fillText(text, Math.max(end, left) + 5, y + ROW / 2);
    else if (begin - wide - 6 > left) context.fillText(text, begin - wide - 5, y + ROW / 2);
    context.restore();
  }

  private label(
    context: CanvasRenderingContext2D,
    row: Row,
    span: Waterfall['spans'][number] | null,
    y: number,
    left: number,
    matched: boolean,
    faded: boolean,
    colors: Colors,
  ): void {
    const indent = Math.min(row.depth * INDENT, left * 0.5) + 14;
    const middle = y + ROW / 2;
    if (row.open !== null) {
      context.strokeStyle = colors.dim;
      context.lineWidth = 1.4;
      context.beginPath();
      const [x, s] = [indent - 9, 3];
      if (row.open) {
        context.moveTo(x - s, middle - s / 2);
        context.lineTo(x, middle + s / 2 + 1);
        context.lineTo(x + s, middle - s / 2);
      } else {
        context.moveTo(x - s / 2, middle - s);
        context.lineTo(x + s / 2 + 1, middle);
        context.lineTo(x - s / 2, middle + s);
      }
      context.stroke();
    }
    let room = left - indent - 8;
    const difference = span ? this.difference(row.span) : '';
    if (difference) {
      context.font = '11px system-ui, sans-serif';
      const wide = context.measureText(difference).width;
      context.fillStyle = difference.startsWith('▲') ? colors.warning : colors.accent;
      context.fillText(difference, left - wide - 8, middle);
      room -= wide + 8;
    }
    const strong = span?.kind === 'phase' || span?.kind === 'startup';
    context.font = `${strong ? '600 ' : ''}11.5px ${strong ? 'system-ui, sans-serif' : MONO}`;
    const onPath = span ? this.path[row.span].length > 0 || this.path[0]?.length === 0 : false;
    context.fillStyle = matched ? colors.accent : onPath && !faded ? colors.text : colors.dim;
    const name = span ? (span.error ? '⚠ ' : '') + this.names[row.span] : `${row.more} more`;
    context.fillText(fit(context, name, room), indent, middle);
  }

  /** How much longer or shorter a phase took than in the earlier start. */
  private difference(at: number): string {
    const before = this.before(at);
    if (!before) return '';
    const more = this.waterfall!.spans[at].seconds - before.seconds;
    if (Math.abs(more) < BESIDE) return '';
    return `${more > 0 ? '▲' : '▼'} ${change(more, duration)}`;
  }

  /** The end of the start, and the limit. */
  private lines(context: CanvasRenderingContext2D, width: number, height: number, colors: Colors): void {
    const { limit, seconds } = this.waterfall!;
    if (limit === null) return;
    const line = (at: number, color: string, dash: number[]): void => {
      if (at < this.from || at > this.to) return;
      const x = Math.round(this.x(at, width)) + 0.5;
      context.strokeStyle = color;
      context.lineWidth = 1.5;
      context.setLineDash(dash);
      context.beginPath();
      context.moveTo(x, AXIS - 2);
      context.lineTo(x, height);
      context.stroke();
      context.setLineDash([]);
    };
    line(seconds, colors.dim, [2, 3]);
    line(limit, colors.critical, [6, 4]);
  }

  /** Write what the limit is, above its line; return where the middle of that is. */
  private limitName(context: CanvasRenderingContext2D, limit: number, width: number, colors: Colors): number {
    const text = `limit ${duration(limit)}`;
    context.font = '600 11px system-ui, sans-serif';
    context.fillStyle = colors.critical;
    const wide = context.measureText(text).width;
    const left = Math.min(this.x(limit, width) + 3, width - wide - 2);
    context.fillText(text, left, AXIS / 2);
    return left + wide / 2;
  }

  private axis(context: CanvasRenderingContext2D, width: number, colors: Colors): void {
    const left = this.labels(width);
    context.fillStyle = colors.panel;
    context.fillRect(0, 0, width, AXIS);
    if (this.tops.length) {
      context.fillRect(0, AXIS, left, STRIP);
      this.strip(context, width, colors);
    }
    context.font = '11px system-ui, sans-serif';
    context.fillStyle = colors.dim;
    if (this.tops.length) context.fillText('phases', 14, AXIS + STRIP / 2);
    const { limit } = this.waterfall!;
    const far = limit !== null && limit >= this.from && limit <= this.to ? this.limitName(context, limit, width, colors) : Infinity;
    context.font = '11px system-ui, sans-serif';
    context.fillStyle = colors.dim;
    for (const at of ticks(this.from, this.to, (width - left - RIGHT) / 80)) {
      const x = this.x(at, width);
      if (Math.abs(x + 25 - far) < LABEL) continue; // the limit's name is there
      context.fillText(at === 0 ? '0' : duration(at), x + 3, AXIS / 2);
      context.fillRect(Math.round(x), 2, 1, AXIS - 4);
    }
    context.fillStyle = colors.line;
    context.fillRect(0, this.head - 1, width, 1);
    context.fillRect(left - 1, 0, 1, 1e5);
  }
}

/** *text* as far as it fits into *room* pixels; empty if nothing does. */
function fit(context: CanvasRenderingContext2D, text: string, room: number): string {
  if (room < 10) return '';
  if (context.measureText(text).width <= room) return text;
  let [below, above] = [0, text.length];
  while (above - below > 1) {
    const middle = (below + above) >> 1;
    if (context.measureText(`${text.slice(0, middle)}…`).width <= room) below = middle;
    else above = middle;
  }
  return below ? `${text.slice(0, below).replace(/[\ud800-\udbff]$/, '')}…` : ''; // no half of a pair
}
