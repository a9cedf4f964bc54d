/**
 * One chart: lines of a group of series, what they may come to, what happened, where they head.
 *
 * Drawn by uPlot; range, markers, limits and projection are drawn around its lines. Reading order: Plot, then the painters.
 */

import uPlot from 'uplot';
import type { Marker } from '../api.ts';
import { amount, bare, clock } from '../format.ts';
import { chooseRange, range } from '../state.ts';
import { palette } from '../ui/theme.ts';
import * as board from './board.ts';
import { boundsOf } from './bounds.ts';
import { indexAt, joined } from './buckets.ts';
import { isBad, signed } from './markers.ts';
import * as timeline from './timeline.ts';
import type { Group } from './timeline.ts';

const FONT = '11px system-ui, sans-serif';
const LEFT = 64; // pixels for the axis of values
const RIGHT = 12;
const CLICK = 4; // pixels that a pointer may move in a click
const NEAR = 7; // pixels from a marker that still mean it
/** Pixels for the axis of moments. */
export const AXIS = 22;
const LABEL = 16; // pixels of half a label that may not stand out at the right
const NARROW = 520; // pixels of a chart without room for every word
const APART = 11; // pixels between two signs
const MANY = 24; // markers from which on their lines are faint
/** Looks of the lines of one chart: no two of them are alike; lines beyond that are pale. */
export const LOOKS = 12;
const TINTS = ['accent', 'text', 'dim'] as const;
const DASHES = [[], [6, 3], [2, 2], [8, 3, 2, 3]];

/** What a chart shows at the crosshair. */
export interface Reading {
  moment: number;
  /** For each track its lowest and highest value there. */
  values: ([number, number] | null)[];
  marker: Marker | null;
}

export interface Options {
  height: number;
  /** Moments are written below. */
  axis: boolean;
  read(reading: Reading | null): void;
}

/** A value as it stands beside the chart's name: what that says already is not said again. */
export function valueOf(group: Group, value: number | null): string {
  const unit = unitOf(group);
  const noun = unit === '{cpu}' ? 'core' : /^\{(.+?)\}/.exec(unit)?.[1].replaceAll('_', ' ');
  if (!noun || !group.label.toLowerCase().includes(noun)) return amount(value, unit);
  return bare(value, unit) + (unit.endsWith('/s') ? '/s' : '');
}

/** How line *i* of a chart is drawn: the name of its colour, its dashes in pixels, its width. */
export function lookOf(i: number): { tint: (typeof TINTS)[number] | 'pale-strong'; dash: number[]; width: number } {
  if (i >= LOOKS) return { tint: 'pale-strong', dash: [], width: 1 };
  return { tint: TINTS[i % TINTS.length], dash: DASHES[i % DASHES.length], width: 1.5 };
}

/** The unit in which values of a group are written: a share is told in percent. */
export function unitOf(group: Group): string {
  return group.unit === '1' && group.of ? '%' : group.unit;
}

export class Plot {
  private readonly plot: uPlot;
  private group: Group;
  private readonly options: Options;
  private readonly stop: (() => void)[] = [];
  private seen = true;
  private pinned: number | null = null; // moment that the keys are at
  private columns: uPlot.AlignedData = [[]];

  constructor(target: HTMLElement, group: Group, options: Options) {
    this.group = group;
    this.options = options;
    this.plot = new uPlot(this.setup(target.clientWidth || 600), [[], ...this.lines().map(() => [])] as uPlot.AlignedData, target);
    this.plot.over.style.touchAction = 'pan-y';
    this.plot.over.addEventListener('pointermove', () => (this.pinned = null));
    this.plot.over.addEventListener('pointerdown', (event) => this.drag(event));
    this.plot.over.addEventListener('dblclick', () => timeline.show({ kind: 'all' }));
    this.plot.over.addEventListener('wheel', (event) => this.wheel(event), { passive: false });
    const sizes = new ResizeObserver(() => {
      if (target.clientWidth && target.clientWidth !== this.plot.width) this.resize(target.clientWidth);
    });
    sizes.observe(target);
    const sight = new IntersectionObserver(
      ([entry]) => {
        this.seen = entry.isIntersecting;
        if (this.seen) this.draw();
      },
      { rootMargin: '100px' },
    );
    sight.observe(target);
    this.stop.push(board.add(this), () => sizes.disconnect(), () => sight.disconnect());
  }

  /** The moment that the keys are at, null where they are not. */
  get at(): number | null {
    return this.pinned;
  }

  /** Take the same group with other tracks. */
  update(group: Group): void {
    this.group = group;
    board.invalidate();
  }

  destroy(): void {
    this.stop.forEach((each) => each());
    this.plot.destroy();
  }

  /** Draw what is seen now. */
  draw(): void {
    if (!this.seen) return;
    const { from, to } = timeline.axis();
    this.columns = this.data();
    this.plot.batch(() => {
      this.plot.setData(this.columns, false);
      this.plot.setScale('x', { min: from, max: to });
    });
    if (this.pinned !== null) this.point(this.pinned);
  }

  /** Move the crosshair of all charts to *moment*, where it stays while they scroll; null takes it away. */
  point(moment: number | null): void {
    this.pinned = moment;
    const left = moment === null ? -10 : this.plot.valToPos(moment, 'x');
    this.plot.setCursor({ left, top: moment === null ? -10 : 10 });
  }

  /** The moment of the point that is *steps* after the one at *moment*. */
  step(moment: number | null, steps: number): number | null {
    const times = this.columns[0] as number[];
    const { from, to } = timeline.visible();
    const first = indexAt(times, from - 0.5) + 1;
    const last = indexAt(times, to);
    if (last < first) return null;
    const before = moment !== null ? indexAt(times, moment) : steps > 0 ? first - 1 : last + 1;
    return times[Math.min(Math.max(before + steps, first), last)];
  }

  private resize(width: number): void {
    this.plot.setSize({ width, height: this.options.height + (this.options.axis ? AXIS : 0) });
  }

  // --- what uPlot is told --------------------------------------------------------------------------------------------

  /** Names of the colours of the lines. */
  private lines(): string[] {
    return this.single ? ['high', 'low'] : this.group.tracks.map((_, i) => `line ${i}`);
  }

  private get single(): boolean {
    return this.group.tracks.length === 1;
  }

  private data(): uPlot.AlignedData {
    const until = timeline.sampled();
    // the line ends with the newest value, not with the highest of the newest bucket
    const tracks = this.group.tracks.toReversed(); // what comes later is drawn above: the first line is above all others
    const last = timeline.shown.value.kind === 'fixed' ? null : tracks.map(timeline.latest);
    if (!this.single) return joined(tracks.map((track) => track.points), until, last) as uPlot.AlignedData;
    const { points } = tracks[0];
    const end = indexAt(points.times, until) + 1;
    const columns = [points.times, points.high, points.low].map((each) => each.slice(0, end));
    if (end && columns[0][end - 1]! < until) {
      const held = columns.slice(1).map((each) => (each[end - 1] === null ? null : (last?.[0] ?? each[end - 1])));
      columns.forEach((each, i) => each.push(i ? held[i - 1] : until));
    }
    return columns as uPlot.AlignedData;
  }

  private setup(width: number): uPlot.Options {
    const { group, options } = this;
    const stepped = !group.main || group.unit.startsWith('{thread');
    const paths = stepped ? uPlot.paths.stepped!({ align: 1 }) : uPlot.paths.linear!();
    const tint = (name: string) => (): string => palette()[name];
    const line: uPlot.Series = { paths, width: 1.5, points: { show: this.dots }, spanGaps: false };
    const series: uPlot.Series[] = this.single
      ? [
          {},
          { ...line, stroke: tint('accent') },
          { ...line, stroke: tint('accent'), width: 0.75, points: { show: false } },
        ]
      : [
          {},
          ...group.tracks.map((_, i) => lookOf(i)).toReversed().map(({ tint: name, dash, width }) => ({ ...line, stroke: tint(name), dash, width })),
        ];
    return {
      width,
      height: options.height + (options.axis ? AXIS : 0),
      ms: 1,
      padding: [8, RIGHT, options.axis ? 0 : 4, 0],
      legend: { show: false },
      series,
      ...(this.single ? { bands: [{ series: [1, 2], fill: tint('accent-soft') }] } : {}),
      cursor: {
        drag: { x: false, y: false },
        y: false,
        points: { size: 6, width: 1.5, fill: tint('panel'), show: true },
        sync: { key: 'time', scales: ['x', null], setSeries: false },
      },
      scales: { x: { time: true }, y: { range: (_, low, high) => boundsOf(low, high, this.limits()) } },
      axes: [
        {
          show: true,
          size: options.axis ? AXIS : 0,
          font: FONT,
          stroke: tint('dim'),
          grid: { stroke: tint('grid'), width: 1 },
          ticks: { show: false },
          gap: 4,
          splits: (plot, _, min, max) => {
            const wide = plot.bbox.width / devicePixelRatio;
            return roundMoments(min, max - ((max - min) * LABEL) / wide, wide / 96);
          },
          values: options.axis ? (_, splits) => moments(splits) : (_, splits) => splits.map(() => ''),
        },
        {
          size: LEFT,
          font: FONT,
          stroke: tint('dim'),
          grid: { stroke: tint('grid'), width: 1 },
          ticks: { show: false },
          gap: 6,
          space: 28,
          values: (_, splits) => splits.map((each) => (each === 0 && group.unit !== 'By' ? '0' : bare(each, unitOf(group)))),
        },
      ],
      hooks: {
        drawClear: [(plot) => this.before(plot)],
        draw: [(plot) => this.after(plot)],
        setCursor: [(plot) => this.cursor(plot)],
      },
    };
  }

  private dots = (plot: uPlot, series: number): boolean => {
    const values = plot.data[series];
    return (values as unknown[]).filter((each) => each !== null).length < 2; // of a single value there is no line
  };

  private limits(): number[] {
    return this.group.tracks.flatMap((track) => track.series.limits.map((each) => each.limit));
  }

  // --- painters: around the lines ------------------------------------------------------------------------------------

  private before(plot: uPlot): void {
    const { ctx, bbox } = plot;
    const colors = palette();
    const chosen = board.dragged.value ?? range.value;
    ctx.save();
    clip(plot);
    if (chosen) {
      const [left, right] = [chosen.from, chosen.to].map((at) => plot.valToPos(at, 'x', true));
      ctx.fillStyle = colors.band;
      ctx.fillRect(left, bbox.top, right - left, bbox.height);
      ctx.fillStyle = colors.accent;
      for (const at of [left, right]) ctx.fillRect(Math.round(at), bbox.top, devicePixelRatio, bbox.height);
    }
    ctx.restore();
  }

  private after(plot: uPlot): void {
    const { ctx } = plot;
    ctx.save();
    clip(plot);
    this.project(plot);
    ctx.restore();
    if (this.group.main) paintMarkers(plot, timeline.markers.value);
    this.limit(plot);
  }

  private limit(plot: uPlot): void {
    const { ctx, bbox } = plot;
    const colors = palette();
    const ratio = devicePixelRatio;
    const seen = new Set<number>();
    for (const { budget, limit, idle } of this.group.tracks.flatMap((track) => track.series.limits)) {
      if (seen.has(limit)) continue;
      seen.add(limit);
      const y = Math.round(plot.valToPos(limit, 'y', true)) + 0.5;
      if (!(y >= bbox.top && y <= bbox.top + bbox.height)) continue;
      ctx.save();
      ctx.strokeStyle = ctx.fillStyle = colors.critical;
      ctx.lineWidth = ratio;
      ctx.setLineDash([6 * ratio, 4 * ratio]);
      ctx.beginPath();
      ctx.moveTo(bbox.left, y);
      ctx.lineTo(bbox.left + bbox.width, y);
      ctx.stroke();
      const name = idle && budget !== 'idle' ? `${budget}, while idle` : budget;
      const share = this.group.unit === '{cpu}' && bbox.width > NARROW * ratio ? `, ${Number((limit * 100).toPrecision(3))} % of one core` : '';
      const text = `limit ${amount(limit, unitOf(this.group))}${share} (${name})`;
      ctx.font = `${11 * ratio}px system-ui, sans-serif`;
      ctx.textAlign = 'right';
      const room = y - bbox.top > 15 * ratio;
      ctx.textBaseline = room ? 'bottom' : 'top';
      const right = bbox.left + bbox.width - 4 * ratio;
      ctx.setLineDash([]);
      ctx.lineJoin = 'round';
      ctx.lineWidth = 4 * ratio;
      ctx.strokeStyle = colors.panel; // a rim, so that the words can be read above a line
      ctx.strokeText(text, right, y + (room ? -2 : 3) * ratio);
      ctx.fillText(text, right, y + (room ? -2 : 3) * ratio);
      ctx.restore();
    }
  }

  private project(plot: uPlot): void {
    const [track] = this.group.tracks;
    const { trend } = track.series;
    const last = timeline.latest(track);
    if (!trend || last === null || !this.group.main || timeline.shown.value.kind === 'fixed') return;
    if (!trend.reaches.length) return;
    const [from, to] = [timeline.sampled(), timeline.axis().to];
    const { ctx } = plot;
    ctx.strokeStyle = palette().warning;
    ctx.lineWidth = 1.5 * devicePixelRatio;
    ctx.setLineDash([3 * devicePixelRatio, 3 * devicePixelRatio]);
    ctx.beginPath();
    ctx.moveTo(plot.valToPos(from, 'x', true), plot.valToPos(last, 'y', true));
    ctx.lineTo(plot.valToPos(to, 'x', true), plot.valToPos(last + (trend.perSecond * (to - from)) / 1000, 'y', true));
    ctx.stroke();
    ctx.setLineDash([]);
  }

  // --- pointer -------------------------------------------------------------------------------------------------------

  private cursor(plot: uPlot): void {
    const { left } = plot.cursor;
    if (left === undefined || left < 0) {
      this.options.read(null);
      return;
    }
    const moment = plot.posToVal(left, 'x');
    const times = this.columns[0] as number[];
    const here = this.group.main && plot.root.parentElement!.matches(':hover, :focus'); // the others only follow
    const marker = (here && timeline.markers.value.find((each) => Math.abs(plot.valToPos(each.time, 'x') - left) <= NEAR)) || null;
    const values = this.group.tracks.map((track): [number, number] | null => {
      const { points } = track;
      const at = this.group.main && this.single ? nearest(times, moment) : indexAt(points.times, moment);
      const [low, high] = [points.low[Math.min(at, points.length - 1)], points.high[Math.min(at, points.length - 1)]];
      return at < 0 || low === null || high === null || low === undefined ? null : [low, high];
    });
    const at = this.group.main && this.single ? times[nearest(times, moment)] : moment;
    this.options.read(moment > timeline.sampled() + 2000 ? null : { moment: at ?? moment, values, marker });
  }

  private drag(event: PointerEvent): void {
    if (event.button !== 0) return;
    const { over } = this.plot;
    const at = (each: PointerEvent): number => {
      const box = over.getBoundingClientRect();
      return Math.min(Math.max(each.clientX - box.left, 0), box.width);
    };
    const begun = at(event);
    const from = this.plot.posToVal(begun, 'x'); // as the chart is now; it may scroll on
    over.setPointerCapture(event.pointerId);
    const move = (each: PointerEvent): void => {
      if (Math.abs(at(each) - begun) <= CLICK && !board.dragged.value) return;
      board.dragged.value = ordered(from, this.plot.posToVal(at(each), 'x'));
    };
    const end = (each: PointerEvent): void => {
      over.removeEventListener('pointermove', move);
      over.removeEventListener('pointerup', end);
      over.removeEventListener('pointercancel', end);
      const found = board.dragged.value;
      board.dragged.value = null;
      if (found && each.type === 'pointerup') chooseRange({ from: found.from, to: Math.min(found.to, timeline.edge()) });
    };
    over.addEventListener('pointermove', move);
    over.addEventListener('pointerup', end);
    over.addEventListener('pointercancel', end);
  }

  private wheel(event: WheelEvent): void {
    if (!event.ctrlKey && !event.metaKey) return; // the page scrolls
    event.preventDefault();
    const left = event.clientX - this.plot.over.getBoundingClientRect().left;
    timeline.zoom(event.deltaY < 0 ? 0.7 : 1 / 0.7, this.plot.posToVal(left, 'x'));
  }
}

function ordered(a: number, b: number): { from: number; to: number } {
  return a < b ? { from: a, to: b } : { from: b, to: a };
}

function nearest(times: readonly number[], moment: number): number {
  const at = indexAt(times, moment);
  if (at < 0) return times.length ? 0 : -1;
  return at + 1 < times.length && times[at + 1] - moment < moment - times[at] ? at + 1 : at;
}

function clip(plot: uPlot): void {
  const { left, top, width, height } = plot.bbox;
  plot.ctx.beginPath();
  plot.ctx.rect(left, top, width, height);
  plot.ctx.clip();
}

/** Lines at the moments, and on them signs that tell kinds apart without colour; signs that would overlap are left out. */
function paintMarkers(plot: uPlot, markers: readonly Marker[]): void {
  const { ctx, bbox } = plot;
  const all = markers.map((marker) => ({ marker, x: Math.round(plot.valToPos(marker.time, 'x', true)) + 0.5 }));
  const seen = all.filter(({ x }) => x >= bbox.left && x <= bbox.left + bbox.width);
  ctx.save();
  for (const { marker, x } of seen) {
    if (marker.kind !== 'resolved') paintLine(plot, x, colorOf(marker), isBad(marker), seen.length > MANY ? 0.22 : 0.45);
  }
  const signs = signed(
    seen.map(({ marker }) => marker),
    seen.map(({ x }) => x),
    APART * devicePixelRatio,
  );
  seen.forEach(({ marker, x }, i) => signs[i] && paintSign(plot, x, colorOf(marker), marker.kind));
  ctx.restore();
}

function colorOf(marker: Marker): string {
  const colors = palette();
  return !isBad(marker) ? colors.dim : marker.severity === 'critical' ? colors.critical : colors.warning;
}

function paintLine(plot: uPlot, x: number, color: string, bad: boolean, alpha: number): void {
  const { ctx, bbox } = plot;
  ctx.strokeStyle = color;
  ctx.lineWidth = devicePixelRatio;
  ctx.globalAlpha = alpha;
  ctx.setLineDash(bad ? [] : [2 * devicePixelRatio, 3 * devicePixelRatio]);
  ctx.beginPath();
  ctx.moveTo(x, bbox.top);
  ctx.lineTo(x, bbox.top + bbox.height);
  ctx.stroke();
  ctx.globalAlpha = 1;
  ctx.setLineDash([]);
}

/** A triangle for an alert, a square for a stall, a ring for what is well again. */
function paintSign(plot: uPlot, x: number, color: string, kind: Marker['kind']): void {
  const { ctx, bbox } = plot;
  const size = 5 * devicePixelRatio;
  const { top } = bbox;
  ctx.beginPath();
  if (kind === 'stall') {
    ctx.rect(x - size * 0.8, top, size * 1.6, size * 1.6);
  } else if (kind === 'alert' || kind === 'escalated') {
    ctx.moveTo(x - size, top + size * 1.8);
    ctx.lineTo(x + size, top + size * 1.8);
    ctx.lineTo(x, top);
    ctx.closePath();
  } else {
    ctx.arc(x, top + size * 0.8, size * 0.7, 0, 2 * Math.PI);
    ctx.strokeStyle = color;
    ctx.lineWidth = devicePixelRatio;
    ctx.fillStyle = palette().panel;
    ctx.fill();
    ctx.stroke();
    return;
  }
  ctx.fillStyle = color;
  ctx.fill();
}

const SECOND = 1000;
const DAY = 86_400_000;
const STEPS = [
  ...[0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10_800, 21_600, 43_200].map((each) => each * SECOND),
  ...[1, 2, 7, 14, 28].map((each) => each * DAY),
];

/** Round local moments from *from* to *to*, at most *most* of them. */
function roundMoments(from: number, to: number, most: number): number[] {
  const step = STEPS.find((each) => (to - from) / each <= most) ?? STEPS[STEPS.length - 1] * Math.ceil((to - from) / STEPS[STEPS.length - 1] / most);
  const zone = new Date(from).getTimezoneOffset() * 60 * SECOND;
  const found: number[] = [];
  for (let at = Math.ceil((from - zone) / step) * step + zone; at <= to; at += step) found.push(at);
  return found;
}

/** Moments below an axis: no finer than they lie apart, the day where it changes. */
function moments(splits: readonly number[]): string[] {
  const step = splits.length > 1 ? splits[1] - splits[0] : SECOND;
  return splits.map((each, i) => {
    const at = new Date(each);
    const day = i > 0 && new Date(splits[i - 1]).getDate() !== at.getDate();
    if (step >= DAY || day) return `${at.getMonth() + 1}-${String(at.getDate()).padStart(2, '0')}`;
    return step >= 60 * SECOND ? clock(each).slice(0, 5) : step >= SECOND ? clock(each) : clock(each, true);
  });
}
