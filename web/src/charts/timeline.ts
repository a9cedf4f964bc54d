/**
 * The time axis that all charts share: which part of it is seen, and what was sampled in it.
 *
 * Reading order: the signals, visible(), open(), append() (news), refetch() (another part of the time).
 */

import { batch, computed, signal } from '@preact/signals';
import type { Marker, Overview, Samples, Series, SeriesAnswer } from '../api.ts';
import type { Alert, Metric } from '../report.ts';
import { Resource } from '../resource.ts';
import type { Place, Range, Source } from '../source/source.ts';
import { Buckets, MOST } from './buckets.ts';
import { merged, untold } from './markers.ts';

/** What is seen: the newest part of the time, all of it, or one part that stays. */
export type Window = { kind: 'last'; ms: number } | { kind: 'all' } | { kind: 'fixed'; from: number; to: number };

export interface Track {
  series: Series;
  points: Buckets;
  /** Until which moment its points are known. */
  until: number;
}

/** Tracks that are lines of one chart. */
export interface Group {
  key: string;
  label: string;
  unit: string;
  of: string | null;
  main: boolean;
  tracks: Track[];
}

const MINUTES = 60_000;
const FAR = 10_000; // ms by which the clocks of page and process may differ
const AHEAD = 0.12; // of the time that is seen: room for where a metric heads
const LEAST = 1000; // ms that can be zoomed to
const YOUNG = 60_000; // ms that a chart of a run in progress shows at least
const GAP = 3000; // ms between two samples after which one may be missing
const PATIENCE = 1500; // ms after which what is missing is looked for
const RECENT = 30_000; // ms in which an alert began or ended just now

export const shown = signal<Window>({ kind: 'all' });
/** Charts begin here: they were reset. */
export const since = signal<number | null>(null);
/** Counts up when there is something to draw. */
export const news = signal(0);
export const tracks = signal<Track[]>([]);
export const markers = signal<Marker[]>([]);
export const answer = new Resource<SeriesAnswer>();

export const groups = computed(() => grouped(tracks.value));

let byName = new Map<string, Track>();
let begun = 0; // of the run
let newest = 0; // moment of the newest sample
let offset = 0; // of the process's clock to ours
let live = false;
let frozen: { edge: number; sampled: number; last: Map<string, number | null> } | null = null;
const soughtAfter = new Set<number>(); // moments of alerts
let again = 0; // timer of the next look for what is missing
let asked: { source: Source; place: Place } | null = null;

/** Forget everything. */
export function reset(): void {
  batch(() => {
    answer.clear();
    byName = new Map();
    tracks.value = [];
    markers.value = [];
    since.value = null;
    shown.value = { kind: 'all' };
    asked = null;
    frozen = null;
    soughtAfter.clear();
    clearTimeout(again);
    again = 0;
    begun = newest = offset = 0;
  });
}

export function open(source: Source, place: Place, overview: Overview): void {
  asked = { source, place };
  live = source.live && overview.running;
  begun = overview.began ?? overview.last ?? Date.now();
  tell(overview.last ?? begun);
  shown.value = live ? { kind: 'last', ms: 5 * MINUTES } : { kind: 'all' };
  refetch();
}

/** The newest moment that there is: now, of a run in progress. */
export function edge(): number {
  if (frozen) return frozen.edge;
  return live ? Date.now() + offset : newest;
}

/** The newest sample that is shown: none that came while the charts are held. */
export function sampled(): number {
  return frozen?.sampled ?? newest;
}

/** The newest value that is shown of a track, whatever part of the time is seen: what the report calls last. */
export function latest({ series }: Track): number | null {
  const held = frozen?.last.get(series.name);
  return held === undefined ? series.last : held;
}

/** The part of the time that is seen now, without the room ahead. Of a run that just began a minute, to be filled. */
export function visible(): Range {
  const window = shown.value;
  if (window.kind === 'fixed') return window;
  const to = edge();
  const least = window.kind === 'all' ? (since.value ?? begun) : Math.max(begun, to - window.ms);
  const from = Math.min(least, to - LEAST);
  const young = window.kind === 'last' ? Math.min(window.ms, YOUNG) : YOUNG;
  return { from, to: live ? Math.max(to, from + young) : to };
}

/** The same with room at the right, where a metric heads for a limit. */
export function axis(): Range {
  const { from, to } = visible();
  const heads = shown.value.kind !== 'fixed' && tracks.value.some(headsUp);
  return { from, to: heads ? to + (to - from) * AHEAD : to };
}

function headsUp(track: Track): boolean {
  return track.series.group === 'main' && (track.series.trend?.reaches.length ?? 0) > 0;
}

/** Fetch what is seen. */
export function refetch(): void {
  if (!asked) return;
  const { source, place } = asked;
  const range = shown.value.kind === 'all' && since.value === null ? null : visible();
  void answer.load(async (abort) => {
    const found = await source.series(place, range && { from: Math.floor(range.from), to: Math.ceil(range.to) }, MOST, abort);
    if (!abort.aborted) take(found);
    return found;
  });
}

function take(found: SeriesAnswer): void {
  const before = byName;
  byName = new Map();
  for (const series of found.series) {
    const points = new Buckets();
    series.times.forEach((time, i) => points.add(time, series.low[i], series.high[i]));
    const old = before.get(series.name);
    // what was pushed while the answer was on its way
    old?.points.times.forEach((time, i) => time > found.to && points.add(time, old.points.low[i], old.points.high[i]));
    if (old && (old.points.times.at(-1) ?? 0) > found.to) series.last = old.series.last;
    byName.set(series.name, { series, points, until: Math.max(found.to, old?.until ?? 0) });
    tell(series.times.at(-1) ?? 0);
  }
  batch(() => {
    tracks.value = [...byName.values()];
    markers.value = merged(found.markers, markers.value.filter((each) => each.time > found.to));
    news.value++;
  });
}

/** Take what was sampled since. */
export function append(samples: Samples): void {
  let missing = false; // a metric that was not there before, or a part of the time that nobody told
  const window = shown.value;
  const from = window.kind === 'last' ? edge() - window.ms : null;
  for (const { name, times, values } of samples.series) {
    const track = byName.get(name);
    if (!track) {
      missing = true;
      continue;
    }
    if (track.series.group === 'main' && times[0] - track.until > GAP) missing = true;
    const end = times.at(-1) ?? 0;
    const newer = end >= (track.points.times.at(-1) ?? 0);
    // what is after a part of the time that stays is not seen: it must not crowd out what is
    times.forEach((time, i) => (window.kind !== 'fixed' || time <= window.to) && track.points.add(time, values[i]));
    if (newer) {
      track.until = Math.max(track.until, end);
      track.series.last = values[values.length - 1];
      tell(end);
    }
    if (from !== null && frozen === null) track.points.trim(from);
  }
  batch(() => {
    if (samples.markers.length) markers.value = merged(markers.value, samples.markers);
    news.value++;
  });
  if (missing) refetchSoon();
}

/** Take which alerts there are, as the report says: what happened just now is marked, whatever was pushed of it. */
export function alerted(alerts: readonly Alert[]): void {
  const missing = untold(markers.value, alerts, newest - RECENT).filter((each) => !soughtAfter.has(each));
  missing.forEach((each) => soughtAfter.add(each)); // once: it may be nowhere
  if (missing.length) refetchSoon();
}

function refetchSoon(): void {
  again ||= self.setTimeout(() => {
    again = 0;
    refetch();
  }, PATIENCE);
}

/** Take where the metrics head, as the report says. */
export function trends(metrics: readonly Metric[]): void {
  for (const metric of metrics) {
    const track = byName.get(metric.name);
    if (!track) continue;
    const reaches = metric.reaches.map((each) => ({ budget: each.budget, limit: each.limit, inSeconds: each.in_seconds }));
    track.series.trend = metric.slope_per_second === null ? null : { perSecond: metric.slope_per_second, reaches };
  }
}

function tell(time: number): void {
  if (time <= newest) return;
  newest = time;
  const ahead = time - Date.now();
  offset = Math.abs(ahead) < FAR ? 0 : ahead;
}

/** Hold the charts where they are, or let them go on. */
export function freeze(on: boolean): void {
  frozen = on ? { edge: edge(), sampled: newest, last: new Map(tracks.value.map(({ series }) => [series.name, series.last])) } : null;
  news.value++;
}

/** Whether the charts move by themselves. */
export function moves(): boolean {
  return live && frozen === null && shown.value.kind !== 'fixed';
}

/** The run is over, or goes on. */
export function setLive(on: boolean): void {
  live = on;
}

export function show(window: Window): void {
  batch(() => {
    if (window.kind !== 'fixed') since.value = null;
    shown.value = window;
  });
  refetch();
}

/** Begin the charts at *moment*; null at the beginning of the run. */
export function begin(moment: number | null): void {
  batch(() => {
    since.value = moment;
    shown.value = { kind: 'all' };
  });
  refetch();
}

/** See less (*factor* below 1) or more of the time, *around* a moment that stays where it is: now, while that moves. */
export function zoom(factor: number, around?: number): void {
  const { from, to } = visible();
  const ms = (to - from) * factor;
  if (around === undefined && live && shown.value.kind !== 'fixed' && ms >= LEAST) {
    show(to - ms <= begun ? { kind: 'all' } : { kind: 'last', ms });
    return;
  }
  const at = Math.min(Math.max(around ?? (from + to) / 2, from), to);
  const least = Math.min(since.value ?? begun, begun);
  const most = edge();
  const next = { from: Math.max(at - (at - from) * factor, least), to: Math.min(at + (to - at) * factor, most) };
  if (next.to - next.from < LEAST) return;
  if (factor > 1 && next.from <= least && next.to >= most) show({ kind: 'all' });
  else show({ kind: 'fixed', ...next });
}

export function zoomTo(range: Range): void {
  const spare = Math.max(0, (LEAST - (range.to - range.from)) / 2);
  show({ kind: 'fixed', from: range.from - spare, to: range.to + spare });
}

const BY_NAME = new Intl.Collator('en', { numeric: true }); // CPU 2 before CPU 10

/** Series of one name are lines of one chart. */
function grouped(all: readonly Track[]): Group[] {
  const found = new Map<string, Group>();
  for (const track of all) {
    const { name, label, unit, of, group } = track.series;
    const key = name.split('{', 1)[0];
    const known = found.get(key);
    if (known) known.tracks.push(track);
    else found.set(key, { key, label, unit, of, main: group === 'main', tracks: [track] });
  }
  for (const group of found.values()) group.tracks.sort((a, b) => BY_NAME.compare(a.series.name, b.series.name));
  return [...found.values()];
}
