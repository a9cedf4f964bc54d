/** What happened over time: charts on one axis, below each other. */

import { computed, useSignal } from '@preact/signals';
import { useEffect, useMemo, useRef } from 'preact/hooks';
import { amount, clock, duration, moment, visible, zoned } from '../format.ts';
import { advanced, chooseRange, overview, pause, paused, query, range, resetCharts, running, source } from '../state.ts';
import { Sign } from '../ui/icons.tsx';
import { Empty, Section } from '../ui/parts.tsx';
import { isBad } from './markers.ts';
import { AXIS, LOOKS, lookOf, Plot, unitOf, valueOf, type Reading } from './plot.ts';
import * as timeline from './timeline.ts';
import type { Group } from './timeline.ts';

const MINUTE = 60_000;
const SPANS = [
  { title: '5 min', ms: 5 * MINUTE },
  { title: '1 h', ms: 60 * MINUTE },
];
const MAIN_HEIGHT = 132;
const MORE_HEIGHT = 92;
const MOST_READ = 6; // lines of one chart whose values at the crosshair are written

const filter = computed(() => query.value.toLowerCase());

export function Charts() {
  const main = timeline.groups.value.filter((group) => group.main);
  const more = timeline.groups.value.filter((group) => !group.main);
  const error = timeline.answer.error.value;
  return (
    <Section id="time" title="What happened over time" beside={<Tools />}>
      {error && <Empty>The samples could not be read: {error}</Empty>}
      {!main.length && !error && (timeline.answer.value.value ? <Empty>{nothing()}</Empty> : <div class="charts-wait" aria-busy="true" />)}
      {main.length > 0 && (
        <div class="charts">
          {main.map((group, i) => (
            <Chart key={group.key} group={group} height={MAIN_HEIGHT} axis={i === main.length - 1} />
          ))}
        </div>
      )}
      {advanced.value && <More groups={more} />}
    </Section>
  );
}

function nothing(): string {
  return overview.value?.empty.metrics ?? (running.value ? 'The first sample comes within a second.' : 'Nothing was sampled.');
}

function More({ groups }: { groups: Group[] }) {
  const found = groups.filter((group) => `${group.label} ${group.key}`.toLowerCase().includes(filter.value));
  const shown = found.length ? found : groups;
  if (!groups.length) return <Empty>No other metric was sampled.</Empty>;
  return (
    <div class="charts charts-more">
      {shown.map((group) => (
        <Chart key={group.key} group={group} height={MORE_HEIGHT} axis={true} />
      ))}
    </div>
  );
}

function Tools() {
  const window = timeline.shown.value;
  const live = running.value;
  return (
    <div class="tools" role="toolbar" aria-label="Charts">
      <RangeChip />
      <div class="segments" role="group" aria-label="How much of the time is seen">
        {live &&
          SPANS.map(({ title, ms }) => (
            <button key={ms} aria-pressed={window.kind === 'last' && window.ms === ms} onClick={() => timeline.show({ kind: 'last', ms })}>
              {title}
            </button>
          ))}
        <button aria-pressed={window.kind === 'all' && timeline.since.value === null} onClick={() => timeline.show({ kind: 'all' })}>
          All
        </button>
        <button title="See less of the time (+)" aria-label="Zoom in" onClick={() => timeline.zoom(0.5)}>
          +
        </button>
        <button title="See more of the time (−)" aria-label="Zoom out" onClick={() => timeline.zoom(2)}>
          −
        </button>
      </div>
      <button onClick={resetCharts} title={live ? 'Begin the charts anew, from now on (r)' : 'Show the whole run again (r)'}>
        Reset charts
      </button>
      {source.live && live && (
        <button class="icon-text" aria-pressed={paused.value} onClick={() => pause(!paused.value)} title="Hold everything as it is (p)">
          <Sign name={paused.value ? 'play' : 'pause'} />
          {paused.value ? 'Go on' : 'Pause'}
        </button>
      )}
      <button aria-pressed={advanced.value} onClick={() => (advanced.value = !advanced.value)} title="Show the other metrics too (a)">
        Advanced
      </button>
    </div>
  );
}

/** Which part of the time everything below is of. */
export function RangeChip() {
  const chosen = range.value;
  const from = timeline.since.value;
  if (!chosen) {
    return <span class="hint">{from === null ? 'Drag in a chart to choose a range' : `since ${clock(from)}: charts were reset`}</span>;
  }
  return (
    <span class="chip" title={`${zoned(chosen.from)} – ${zoned(chosen.to)}`}>
      <span>
        {moment(chosen.from, chosen.to)} – {clock(chosen.to)}, {duration((chosen.to - chosen.from) / 1000)}
      </span>
      <button onClick={() => timeline.zoomTo(chosen)} title="See only this range (z)">
        Zoom
      </button>
      <button class="icon" onClick={() => chooseRange(null)} aria-label="Clear the range" title="Clear the range (Esc)">
        <Sign name="close" />
      </button>
    </span>
  );
}

function Chart({ group, height, axis }: { group: Group; height: number; axis: boolean }) {
  const target = useRef<HTMLDivElement>(null);
  const plot = useRef<Plot | null>(null);
  const reading = useSignal<Reading | null>(null);
  const lines = group.tracks.length;
  useEffect(() => {
    plot.current = new Plot(target.current!, group, { height, axis, read: (found) => (reading.value = found) });
    return () => plot.current?.destroy();
  }, [group.key, lines, height, axis]);
  useEffect(() => plot.current?.update(group), [group]);
  const keys = (event: KeyboardEvent): void => {
    const steps = { ArrowLeft: -1, ArrowRight: 1, PageUp: -20, PageDown: 20, Home: -1e9, End: 1e9 }[event.key];
    if (steps === undefined || !plot.current) {
      if (event.key === 'Enter' && range.value) timeline.zoomTo(range.value);
      return;
    }
    event.preventDefault();
    const before = plot.current.at ?? reading.value?.moment ?? null;
    const next = plot.current.step(before, steps);
    if (next === null) return;
    plot.current.point(next);
    if (event.shiftKey && before !== null) extend(before, next);
  };
  const now = useMemo(() => computed(() => (void timeline.news.value, spoken(group, reading.value))), [group]);
  return (
    <figure class={`chart ${group.main ? '' : 'chart-small'} ${lines > 1 ? 'chart-several' : ''}`}>
      <figcaption>
        <span class="chart-name" title={visible(group.key)}>
          {visible(group.label)}
        </span>
        <Last group={group} />
        <Read group={group} reading={reading.value} />
      </figcaption>
      <div
        class="plot"
        ref={target}
        style={{ minHeight: `${height + (axis ? AXIS : 0)}px` }}
        role="slider"
        tabIndex={0}
        aria-label={`${group.label}: moment under the crosshair`}
        aria-orientation="horizontal"
        aria-valuemin={0}
        aria-valuemax={100}
        aria-valuenow={share(reading.value?.moment)}
        aria-valuetext={now.value}
        onKeyDown={keys}
        onBlur={() => plot.current?.point(null)}
      />
    </figure>
  );
}

function share(at: number | undefined): number {
  const { from, to } = timeline.visible();
  return at === undefined ? 100 : Math.round((100 * (at - from)) / (to - from));
}

/** The range grows with Shift and an arrow: to *next*, from its end that was not moved. */
function extend(before: number, next: number): void {
  const chosen = range.value;
  const fixed = !chosen ? before : Math.abs(chosen.from - before) < Math.abs(chosen.to - before) ? chosen.to : chosen.from;
  chooseRange({ from: Math.min(fixed, next), to: Math.max(fixed, next) });
}

function say(group: Group, value: number | null): string {
  return valueOf(group, value) + (group.of ? ` of ${group.of}` : '');
}

/** A piece of a line as the chart draws it. */
function Look({ at }: { at: number }) {
  const { tint, dash, width } = lookOf(at);
  return (
    <svg class={`look ${tint}`} viewBox="0 0 22 8" aria-hidden="true">
      <line x1="0" x2="22" y1="4" y2="4" stroke-width={width + 0.5} stroke-dasharray={dash.join(' ') || undefined} />
    </svg>
  );
}

/** The newest value of each line, and where it heads. */
function Last({ group }: { group: Group }) {
  void timeline.news.value;
  void overview.value;
  if (group.tracks.length > 1) {
    return (
      <span class="chart-lines">
        {group.tracks.slice(0, LOOKS).map((track, i) => (
          <span key={track.series.name} class="line-name">
            <Look at={i} />
            {attributes(track.series.name)} <b>{valueOf(group, timeline.latest(track))}</b>
          </span>
        ))}
        {group.tracks.length > LOOKS && (
          <span class="line-name">
            <Look at={LOOKS} />
            {group.tracks.length - LOOKS} more
          </span>
        )}
      </span>
    );
  }
  const [track] = group.tracks;
  const { trend } = track.series;
  const first = trend?.reaches[0];
  return (
    <>
      <span class="chart-last">
        <b>{say(group, timeline.latest(track))}</b>
      </span>
      {first && (
        <span class="chart-heads">
          <Sign name="up" /> {amount(first.limit, unitOf(group))} in {duration(first.inSeconds)} at this rate
        </span>
      )}
    </>
  );
}

function Read({ group, reading }: { group: Group; reading: Reading | null }) {
  if (!reading) return null;
  return (
    <span class="chart-read">
      {reading.marker && (
        <span class={`read-marker ${isBad(reading.marker) ? reading.marker.severity : ''}`}>
          {reading.marker.kind === 'ready' ? 'start is over' : reading.marker.kind}: {reading.marker.text}
        </span>
      )}
      <span title={zoned(reading.moment)}>{clock(reading.moment)}</span>
      {reading.values.slice(0, MOST_READ).map((value, i) => (
        <b key={i}>{value === null ? '–' : value[0] === value[1] ? valueOf(group, value[1]) : `${valueOf(group, value[0])} to ${valueOf(group, value[1])}`}</b>
      ))}
    </span>
  );
}

/** What a screen reader says of a chart: each value with the name of its line, a share with what it is of. */
function spoken(group: Group, reading: Reading | null): string {
  const unit = unitOf(group);
  const values = group.tracks.map((track, i) => {
    const value = amount(reading ? reading.values[i]?.[1] : timeline.latest(track), unit);
    return (group.tracks.length > 1 ? `${attributes(track.series.name)} ` : '') + value;
  });
  const when = reading ? clock(reading.moment) : 'last';
  const limits = group.tracks.flatMap((track) => track.series.limits).map((each) => `limit ${amount(each.limit, unit)} (${each.budget})`);
  return [`${when}: ${values.join(', ')}${group.of ? ` of ${group.of}` : ''}`, ...limits].join('; ');
}

/** The attributes of a series, `read` of `disk.io{direction=read}`; those that all lines share are in the label. */
function attributes(name: string): string {
  const inside = /\{(.*)\}$/s.exec(name)?.[1] ?? '';
  const values = inside.split(',').map((each) => each.split('=').slice(1).join('=') || each);
  return visible([...new Set(values)].join(' '));
}
