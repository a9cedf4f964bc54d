/**
 * What is shown: the run, what is known of it, the range that was chosen. Components read the signals, and call the functions.
 *
 * Reading order: the signals, open(), told() (news of a run in progress), chooseRange().
 */

import { batch, computed, effect, signal } from '@preact/signals';
import type { Flame, FunctionsAnswer, Overview, RunList, RunRow, Waterfall } from './api.ts';
import * as timeline from './charts/timeline.ts';
import { Resource } from './resource.ts';
import { EmbeddedSource } from './source/embedded.ts';
import { HttpSource } from './source/http.ts';
import type { Baseline, Place, Range, Source } from './source/source.ts';
import { wake } from './ui/frames.ts';

const EVERY = 2000; // ms between two looks at what costs the server more than a push
const RUNS_EVERY = 2000;
const RUNS_SELDOM = 15_000;
const LATE = 3000; // ms that a range may end before the newest record and still grow

const embedded = document.getElementById('data');
export const source: Source = embedded ? new EmbeddedSource(embedded.textContent ?? '') : new HttpSource();

export const runs = signal<RunList | null>(null);
export const place = signal<Place | null>(null);
export const overview = signal<Overview | null>(null);
/** Why the run cannot be shown. */
export const failure = signal<string | null>(null);
export const progress = signal<{ read: number; total: number } | null>(null);
/** Since when the server is gone, and what it says. */
export const lost = signal<{ since: number; says: string | null } | null>(null);

export const range = signal<Range | null>(null);
export const paused = signal(false);
export const advanced = signal(false);
/** What is searched for in functions, spans and flame graph. */
export const query = signal('');
/** The function that table and flame graph mark, by its name in the flame graph. */
export const marked = signal<string | null>(null);
/** What the flame graph is compared with. */
export const base = signal<(Baseline & { label: string }) | null>(null);
/** The trace that is open. */
export const trace = signal<{ id: string; title: string } | null>(null);
export const help = signal(false);

export const start = new Resource<Waterfall | null>();
export const flame = new Resource<Flame>();
export const functions = new Resource<FunctionsAnswer>();
/** The start that this one is compared with. */
export const earlier = new Resource<Waterfall | null>();
export const earlierRun = signal<RunRow | null>(null);

/** It goes on, and the page is told; a report that was written meanwhile is not. */
export const running = computed(() => source.live && (overview.value?.running ?? false));
/** The run as the list has it. */
export const row = computed(() => runs.value?.runs.find((each) => each.name === place.value?.run) ?? null);
/** Other runs of the same service, newest first. */
export const siblings = computed(() => {
  const service = overview.value?.report.service.name;
  const others = (runs.value?.runs ?? []).filter((each) => each.name !== place.value?.run);
  return others.filter((each) => each.service === service);
});
/** A run that began after the one that is shown, of any service. */
export const newer = computed(() => {
  const [first] = runs.value?.runs ?? [];
  const began = overview.value?.began ?? null;
  if (!first || first.name === place.value?.run || first.began === null || began === null) return null;
  return first.began > began ? first : null;
});
/** The part of the time that everything below the charts is of; null is all of it. */
export const part = computed<Range | null>(() => {
  if (range.value) return range.value;
  const from = timeline.since.value;
  return from === null ? null : { from, to: Number.MAX_SAFE_INTEGER };
});

let unfollow: () => void = () => {};
let abort = new AbortController();
let waiting: Overview | null = null; // came while the page was paused
let follows = false; // nobody chose a run
let offered = false; // an earlier start stands beside this one, or somebody chose otherwise
let nextLook = 0; // timer

/** Show a process of a run. */
export function open(at: Place): void {
  unfollow();
  abort.abort();
  abort = new AbortController();
  const mine = abort.signal;
  batch(() => {
    place.value = at;
    overview.value = failure.value = progress.value = lost.value = null;
    range.value = base.value = trace.value = marked.value = null;
    earlierRun.value = null;
    paused.value = offered = false;
    waiting = null;
    for (const each of [start, flame, functions, earlier]) each.clear();
    timeline.reset();
  });
  source.overview(at, mine).then(
    (found) => {
      if (mine.aborted) return;
      // once it is known what `newest` and `first` mean they are not asked for again: another run would answer
      const here = (place.value = { run: found.report.run, process: found.report.process });
      overview.value = found;
      if (found.read < found.total) progress.value = { read: found.read, total: found.total };
      timeline.open(source, here, found);
      void start.load((signal) => source.start(here, signal));
      look();
      unfollow = source.follow(here, listener);
    },
    (error: unknown) => {
      if (!mine.aborted) failure.value = error instanceof Error ? error.message : String(error);
    },
  );
}

const listener = {
  state: told,
  samples(samples: Parameters<typeof timeline.append>[0]): void {
    wake();
    timeline.append(samples);
  },
  progress(read: number, total: number): void {
    progress.value = read < total ? { read, total } : null;
    if (!progress.value) look();
  },
  gone(error: string): void {
    waiting = null;
    batch(() => {
      failure.value = error;
      if (overview.value) overview.value = { ...overview.value, running: false }; // as far as anybody will tell
    });
    timeline.setLive(false);
  },
  connected(stands: boolean, says: string | null, again: boolean): void {
    if (stands) {
      lost.value = null;
      if (again) timeline.refetch(); // what was missed meanwhile
    } else {
      lost.value = { since: lost.value?.since ?? Date.now(), says: says ?? lost.value?.says ?? null };
    }
  },
};

function told(next: Overview): void {
  wake();
  const before = overview.value;
  const known = waiting ?? before;
  if (known && next.report.start === undefined) next.report.start = known.report.start; // it is told once
  if (paused.value) {
    waiting = next;
    return;
  }
  batch(() => {
    overview.value = next;
    if (next.read >= next.total) progress.value = null;
    timeline.trends(next.report.metrics);
    timeline.alerted(next.report.alerts);
  });
  const at = place.value;
  if (!at) return;
  if (before?.running !== next.running) {
    timeline.setLive(next.running);
    timeline.refetch();
  }
  const complete = before?.report.start?.complete ?? false;
  if (!complete && next.report.start && (next.spans !== before?.spans || next.report.start.complete)) {
    void start.load((signal) => source.start(at, signal));
  }
  const moved = before?.spans !== next.spans || before?.last !== next.last;
  const past = range.value && range.value.to < (next.last ?? 0) - LATE;
  if (moved && !past && document.visibilityState === 'visible') again();
}

/** Look at functions and flame graph again, if the last look is long enough ago. */
function again(): void {
  const pause = Math.max(EVERY, 10 * flame.took, 10 * functions.took);
  if (flame.busy.value || functions.busy.value || performance.now() - Math.max(flame.came, functions.came) < pause) return;
  look();
}

function look(): void {
  const at = place.value;
  if (!at) return;
  const of = part.value && { from: Math.floor(part.value.from), to: Math.min(Math.ceil(part.value.to), Math.ceil(timeline.edge())) };
  void flame.load((signal) => source.flame(at, of, base.value, signal));
  void functions.load((signal) => source.functions(at, of, signal));
}

/** Stop what moves, or let it go on with what came meanwhile. */
export function pause(on: boolean): void {
  paused.value = on;
  timeline.freeze(on);
  if (!on && waiting) {
    const next = waiting;
    waiting = null;
    told(next);
  }
}

/** Choose a part of the time for everything below the charts; null for all of it. */
export function chooseRange(next: Range | null): void {
  batch(() => {
    range.value = next && next.to > next.from ? next : null;
    if (!range.value && base.value?.range) base.value = null; // a part of the time says nothing of all of it
  });
}

/** Begin the charts anew: of a run in progress from this moment on, of one that is over as a whole. */
export function resetCharts(): void {
  batch(() => {
    chooseRange(null);
    timeline.begin(running.value ? timeline.edge() : null);
    pause(false);
  });
}

/** Show which earlier start this one is compared with; null for none. */
export function compareStart(other: RunRow | null): void {
  offered = true;
  earlierRun.value = other;
  earlier.clear();
  if (other) void earlier.load((signal) => source.start({ run: other.name, process: 'first' }, signal));
}

async function watchRuns(): Promise<void> {
  try {
    const found = await source.list();
    if (JSON.stringify(found) !== JSON.stringify(runs.value)) runs.value = found;
    if (!place.value) {
      const at = wanted();
      if (at) open(at);
      else failure.value = null;
    } else {
      followNewest();
    }
  } catch (error) {
    if (!place.value) failure.value = error instanceof Error ? error.message : String(error);
  }
  if (!source.live) return;
  clearTimeout(nextLook);
  nextLook = window.setTimeout(() => void watchRuns(), !place.value ? 1000 : running.value ? RUNS_SELDOM : RUNS_EVERY);
}

/** The run in the page's address, else the one that the command names, else the newest; null as long as there is none. */
function wanted(): Place | null {
  const asked = new URLSearchParams(location.hash.slice(1));
  const { asked: run, askedProcess: process, runs: all } = runs.value!;
  if (!all.length) return null;
  if (!source.live) return { run: all[0].name, process: 'first' };
  if (!asked.has('run') && run !== null && !all.some((each) => each.name === run)) return null; // it has written nothing yet
  follows = !asked.has('run') && run === null;
  return { run: asked.get('run') ?? run ?? 'newest', process: asked.get('process') ?? process ?? 'first' };
}

/** Go on to a run that has begun: where nobody chose a run, the one that is shown is over, and nothing is looked at closely. */
function followNewest(): void {
  const next = newer.value;
  if (!follows || !next || running.value || range.value || trace.value || base.value || paused.value) return;
  open({ run: next.name, process: 'first' });
}

/** Show a run that somebody chose: the address keeps it. */
export function pick(at: Place): void {
  follows = false;
  history.replaceState(null, '', `#${new URLSearchParams({ ...at }).toString()}`);
  open(at);
}

/** Begin. */
export function boot(): void {
  effect(() => void (running.value || watchRuns())); // at once when the run that is shown is over: another one may follow
  let before: Range | null | undefined;
  let beside: unknown;
  effect(() => {
    const [now, with_] = [part.value, base.value];
    if ((now !== before || with_ !== beside) && overview.peek()) look();
    before = now;
    beside = with_;
  });
  effect(() => {
    // the newest start before this one, once both are known
    const began = overview.value?.report.start ? (overview.value.began ?? null) : null;
    if (offered || began === null || !source.live) return;
    const older = siblings.value.find((each) => each.startSeconds !== null && each.began !== null && each.began < began);
    if (older) compareStart(older);
  });
}
