/** Which program, which process, how it is: the line that stays at the top. */

import { useSignal } from '@preact/signals';
import { useEffect } from 'preact/hooks';
import { clock, duration, moment, plural, visible, zoned } from '../format.ts';
import { endOf } from '../report.ts';
import { failure, help, lost, newer, overview, paused, pick, place, progress, row, running, runs, source } from '../state.ts';
import type { RunRow } from '../api.ts';
import { Sign, severityIcon } from '../ui/icons.tsx';
import { isDark, painted, toggleTheme } from '../ui/theme.ts';

const PARTS = [
  ['well', 'Now'],
  ['time', 'Time'],
  ['functions', 'Functions'],
  ['start', 'Start'],
  ['history', 'History'],
] as const;

export function Header() {
  const { service } = overview.value?.report ?? {};
  const score = overview.value?.report.score.points ?? null;
  const open = overview.value?.report.alerts.filter((each) => each.end === 'open') ?? [];
  const worst = open.some((each) => each.severity === 'critical') ? 'critical' : 'warning';
  return (
    <header class="top">
      <div class="top-line">
        <h1>
          {service ? visible(service.name) : 'otel-perf'} <span class="dim">{service?.version && visible(service.version)}</span>
        </h1>
        <State />
        {score !== null && (
          <a class={`top-score ${score < 100 ? 'warning' : ''}`} href="#well" onClick={(event) => goTo(event, 'well')}>
            score <b>{Math.floor(score)}</b>
          </a>
        )}
        {open.length > 0 && (
          <a class={`top-alerts ${worst}`} href="#well" onClick={(event) => goTo(event, 'well')}>
            <Sign name={severityIcon(worst)} />
            {plural(open.length, 'open alert')}
          </a>
        )}
        <span class="space" />
        <nav aria-label="Parts of the page">
          {PARTS.map(([id, title]) => (
            <a key={id} href={`#${id}`} onClick={(event) => goTo(event, id)}>
              {title}
            </a>
          ))}
        </nav>
        {source.live && <Runs />}
        <ThemeButton />
        <button class="icon" onClick={() => (help.value = true)} aria-label="Help: keys and words" title="Help (?)">
          ?
        </button>
      </div>
      <Notices />
    </header>
  );
}

function goTo(event: Event, id: string): void {
  event.preventDefault(); // the address keeps which run is shown
  const title = document.getElementById(`${id}-title`);
  title?.scrollIntoView({ block: 'start' });
  title?.focus({ preventScroll: true });
}

function ThemeButton() {
  void painted.value;
  const dark = isDark();
  return (
    <button class="icon" onClick={toggleTheme} aria-label={dark ? 'Light colours' : 'Dark colours'} title={dark ? 'Light colours (t)' : 'Dark colours (t)'}>
      <Sign name={dark ? 'sun' : 'moon'} />
    </button>
  );
}

/** In progress and for how long, or over and how. */
function State() {
  const now = useSignal(Date.now());
  const found = overview.value;
  const live = running.value && !lost.value;
  useEffect(() => {
    if (!live) return;
    const timer = setInterval(() => !paused.value && (now.value = Date.now()), 1000);
    return () => clearInterval(timer);
  }, [live]);
  if (!found || failure.value) return null;
  const began = found.began;
  const title = began === null ? undefined : `began ${zoned(began)}`;
  const old = began === null ? null : Math.max(0, ((running.value ? now.value : (found.last ?? began)) - began) / 1000);
  const age = old === null ? null : duration(old >= 1 ? Math.floor(old) : old);
  if (lost.value) {
    return (
      <span class="state critical" title={title}>
        <Sign name="lost" /> disconnected since {clock(lost.value.since)}
      </span>
    );
  }
  if (!running.value) {
    return (
      <span class="state" title={title}>
        <i class="dot" aria-hidden="true" />
        {found.running ? 'in progress when this was written' : visible(endOf(found.report.ended))}
        {age && ` after ${age}`}
      </span>
    );
  }
  return (
    <span class="state" title={title}>
      <i class={paused.value ? 'dot' : 'dot live'} aria-hidden="true" />
      {paused.value ? 'paused' : 'live'}
      {age && `, up ${age}`}
    </span>
  );
}

function Runs() {
  const all = runs.value?.runs ?? [];
  const here = place.value;
  const processes = row.value?.processes ?? [];
  return (
    <>
      <select
        class="runs"
        aria-label="Run"
        value={here?.run ?? ''}
        onChange={(event) => pick({ run: event.currentTarget.value, process: 'first' })}
      >
        {!here && all.length > 0 && <option value="">no process yet</option>}
        {here && !row.value && <option value={here.run}>{here.run}</option>}
        {all.map((each) => (
          <option key={each.name} value={each.name}>
            {titleOf(each)}
          </option>
        ))}
      </select>
      {processes.length > 1 && (
        <select
          class="processes"
          aria-label="Process"
          value={here?.process ?? ''}
          onChange={(event) => here && pick({ run: here.run, process: event.currentTarget.value })}
        >
          {processes.map((each) => (
            <option key={each.name} value={each.name}>
              {each.running ? '● ' : ''}
              {each.name} {visible(each.service)}
            </option>
          ))}
        </select>
      )}
    </>
  );
}

/** A run in a list: when, what, how long its start took. */
export function titleOf(run: RunRow): string {
  const when = run.began === null ? run.name : moment(run.began);
  const start = run.startSeconds === null ? '' : `, ${duration(run.startSeconds)}`;
  return `${run.running ? '● ' : ''}${when}  ${visible(run.service)}${run.version ? ` ${visible(run.version)}` : ''}${start}`;
}

const AGAIN =
  'If otel-perf view is over, start it again and open the address that it prints; ' +
  `with --port ${location.port || 'N'} this page goes on then, too.`;

/** What is not as it should be with the page itself: no server, a large run that is still being read, a newer run. */
function Notices() {
  const gone = lost.value;
  const part = progress.value;
  const next = newer.value;
  return (
    <div class="notices" role="status">
      {gone && (
        <p class="notice bad">
          <Sign name="lost" />
          <span>
            Disconnected since <time title={zoned(gone.since)}>{clock(gone.since)}</time>. {gone.says ?? AGAIN}
          </span>
        </p>
      )}
      {part && (
        <p class="notice">
          <span>Reading the run: {Math.floor((100 * part.read) / Math.max(1, part.total))} % of {Math.round(part.total / 1e6)} MB</span>
          <progress value={part.read} max={part.total} aria-label="Part of the run that is read" />
        </p>
      )}
      {next && !running.value && (
        <p class="notice">
          <span>
            A newer run has begun: {titleOf(next)}
          </span>
          <button onClick={() => pick({ run: next.name, process: 'first' })}>Show it</button>
        </p>
      )}
    </div>
  );
}
