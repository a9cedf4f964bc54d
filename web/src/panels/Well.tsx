/** Is it well? The verdict, the score and what costs points, open alerts, budgets with what is left of them. */

import { computed } from '@preact/signals';
import * as timeline from '../charts/timeline.ts';
import { amount, bare, clock, duration, parsed, percent, short, three, visible, zoned } from '../format.ts';
import type { Alert, Budget, Metric, Report } from '../report.ts';
import { markOf, present, unitOf, type Measured } from '../standing.ts';
import { lost, overview, running, source, start, trace } from '../state.ts';
import { LIMIT, pace } from '../ui/frames.ts';
import { Sign, severityIcon, type Icon } from '../ui/icons.tsx';
import { Moment, Section, useFew } from '../ui/parts.tsx';

export function Well() {
  const found = overview.value;
  return (
    <Section id="well" title="Is it well?" beside={found && lost.value && <LastSeen since={lost.value.since} />}>
      {found ? (
        <>
          <div class="well">
            <Score report={found.report} />
            <div class="well-words">
              <p class="verdict">{visible(found.verdict)}</p>
              <Reasons report={found.report} />
              <OpenAlerts report={found.report} />
              <Findings report={found.report} damaged={found.damaged} />
            </div>
          </div>
          <Budgets report={found.report} />
        </>
      ) : (
        <div class="well-wait" aria-busy="true" />
      )}
    </Section>
  );
}

/** Says that all below it is old. */
function LastSeen({ since }: { since: number }) {
  return (
    <span class="hint">
      as it was when last seen, <time title={zoned(since)}>{clock(since)}</time>
    </span>
  );
}

const measured = computed((): Measured[] => {
  void timeline.news.value;
  return timeline.tracks.value.map((track) => {
    const { name, unit, limits } = track.series;
    return { name, unit, limits, last: timeline.latest(track) };
  });
});

function valueNow(budget: Budget): number | null {
  const begun = overview.value?.report.start;
  return present(budget, measured.value, begun?.complete ? begun.seconds : null);
}

function Score({ report }: { report: Report }) {
  const { points, judged, unknown, lowest_points: lowest } = report.score;
  if (points === null) {
    return (
      <div class="score">
        <b class="score-none">–</b>
        <span>no score: {unknown ? `${unknown} budgets unknown` : 'no budget was judged'}</span>
      </div>
    );
  }
  const fell = lowest !== null && Math.floor(lowest) < Math.floor(points);
  return (
    <div class="score">
      <span>
        <b class={points < 50 ? 'critical' : points < 100 ? 'warning' : ''}>{Math.floor(points)}</b> of 100
      </span>
      <span class="score-bar" aria-hidden="true">
        <i class={points < 50 ? 'bad' : points < 100 ? 'fair' : ''} style={{ width: `${points}%` }} />
      </span>
      <span class="dim">
        {judged} budget{judged === 1 ? '' : 's'} judged{unknown ? `, ${unknown} unknown` : ''}
        {fell && `; lowest ${Math.floor(lowest)}`}
      </span>
    </div>
  );
}

function Reasons({ report }: { report: Report }) {
  const { reasons } = report.score;
  const [shown, more] = useFew(reasons);
  if (!reasons.length) return null;
  return (
    <ul class="reasons" aria-label="What costs points">
      {shown.map((each) => (
        <li key={each.budget}>
          <b class="warning">{each.points === null ? '' : `−${three(each.points)}`}</b> {visible(each.budget)} {visible(each.text)}
        </li>
      ))}
      {more}
    </ul>
  );
}

const RANK = { critical: 0, warning: 1, info: 2 };

function OpenAlerts({ report: { alerts, budgets } }: { report: Report }) {
  const open = alerts.filter((each) => each.end === 'open').sort((a, b) => RANK[a.severity] - RANK[b.severity]);
  const [shown, more] = useFew(open);
  if (!open.length) {
    const left = alerts.filter((each) => each.end === 'not resolved');
    return (
      <p class="fine">
        <Sign name={left.length ? 'warning' : 'ok'} />
        {left.length
          ? `not resolved when it ended: ${[...new Set(left.map((each) => visible(each.budget)))].join(', ')}`
          : running.value
            ? lost.value
              ? 'no budget was exceeded when last seen'
              : 'no budget is exceeded now'
            : alerts.length
              ? 'every alert was resolved'
              : 'no budget was exceeded'}
      </p>
    );
  }
  return (
    <ul class="open-alerts" aria-label="Open alerts">
      {shown.map((each) => (
        <OpenAlert key={`${each.budget} ${each.since}`} alert={each} budget={budgets.find((one) => one.name === each.budget)} />
      ))}
      {more}
    </ul>
  );
}

function OpenAlert({ alert, budget }: { alert: Alert; budget: Budget | undefined }) {
  const { peak, limit } = alert;
  const unit = unitOf(alert);
  const mark = markOf(alert.metric);
  const now = (budget && valueNow(budget)) ?? alert.value; // if nobody knows it, that with which it was raised
  return (
    <li class={alert.severity}>
      <Sign name={severityIcon(alert.severity)} />
      <span>
        <b>{visible(alert.budget)}</b> {alert.severity}: {now !== null && mark}
        {amount(now, unit)}
        {peak !== null && peak !== now && `, peak ${mark}${amount(peak, unit)}`}, limit {amount(limit, unit)}, since{' '}
        <Moment at={parsed(alert.since)} beside={Date.now()} /> ({duration(alert.seconds)}){alert.running && `, while ${visible(alert.running)} ran`}
      </span>
      <TraceButton id={alert.trace_id} title={alert.running ?? alert.budget} inside={alert.running !== null} />
    </li>
  );
}

/** The trace that something is linked to; that of the start is on the page already, and of what was raised with nothing open: not *inside* of it. */
export function TraceButton({ id, title, inside = true }: { id: string | null; title: string; inside?: boolean }) {
  if (id && start.value.value?.traceId === id) {
    return (
      <a class="small" href="#start-title" onClick={(event) => (event.preventDefault(), document.getElementById('start-title')?.scrollIntoView())}>
        {inside ? 'in the start' : 'the start'}
      </a>
    );
  }
  if (!id || !source.live) return null;
  return (
    <button class="small" onClick={() => (trace.value = { id, title })} aria-label={`Trace of ${visible(title)}`}>
      Trace
    </button>
  );
}

function Findings({ report, damaged }: { report: Report; damaged: number }) {
  const ended = report.ended;
  const told = report.findings.some((each) => each.message.includes('unfinished: '));
  const unfinished = told || ended?.state === 'running' ? [] : (ended?.unfinished ?? []); // what is open now is no finding
  if (!report.findings.length && !damaged && !unfinished.length) return null;
  return (
    <ul class="findings" aria-label="Findings">
      {report.findings.map((each, i) => (
        <li key={i} class={each.severity === 'error' ? 'critical' : 'warning'}>
          <Sign name={each.severity === 'error' ? 'critical' : 'warning'} />
          <span>{visible(each.message)}</span>
        </li>
      ))}
      {unfinished.map((each, i) => (
        <li key={`u${i}`} class="warning">
          <Sign name="warning" />
          <span>
            unfinished: {each.path.map(visible).join(' > ')}
            {each.file && `, at ${visible(each.file)}${each.line ? `:${each.line}` : ''}`}
          </span>
        </li>
      ))}
      {damaged > 0 && (
        <li class="warning">
          <Sign name="warning" />
          <span>
            {damaged} line{damaged === 1 ? '' : 's'} of the run could not be read
          </span>
        </li>
      )}
    </ul>
  );
}

const SIGNS: Record<Budget['state'], Icon> = { ok: 'ok', pending: 'pending', exceeded: 'warning', unknown: 'unknown', gone: 'gone' };

function Budgets({ report }: { report: Report }) {
  const metrics = new Map(report.metrics.map((each) => [each.name, each]));
  return (
    <ul class="budgets" aria-label="Budgets">
      {ordered(report.budgets).map((each) => (
        <Card
          key={each.name}
          budget={each}
          metric={each.metric ? metrics.get(each.metric) : undefined}
          severity={report.alerts.findLast((alert) => alert.budget === each.name && (alert.end === 'open' || alert.end === 'not resolved'))?.severity ?? 'warning'}
        />
      ))}
      <FramesCard />
    </ul>
  );
}

const FIRST = ['startup', 'memory', 'idle', 'monitor']; // then the program's own, by name: cards never change places

function ordered(budgets: Budget[]): Budget[] {
  const rank = (name: string): number => (FIRST.includes(name) ? FIRST.indexOf(name) : FIRST.length);
  return [...budgets].sort((a, b) => rank(a.name) - rank(b.name) || (a.name < b.name ? -1 : 1));
}

function Card({ budget, metric, severity }: { budget: Budget; metric: Metric | undefined; severity: Alert['severity'] }) {
  const { limit, state } = budget;
  const value = valueNow(budget);
  const unit = unitOf(budget);
  const used = value === null || !(limit > 0) ? null : Math.max(0, value / limit);
  const reach = metric?.reaches.find((each) => each.budget === budget.name);
  return (
    <li class={`card ${state} ${state === 'exceeded' ? severity : ''}`} title={budget.metric ?? undefined}>
      <span class="card-name">{visible(budget.name)}</span>
      <span class="card-state">
        <Sign name={state === 'exceeded' ? severityIcon(severity) : SIGNS[state]} /> {state}
      </span>
      <span class="card-value">
        <b>
          {value !== null && markOf(budget.metric)}
          {unit?.endsWith('/s') ? amount(value, unit) : bare(value, unit)}
        </b>{' '}
        of {amount(limit, unit)}
        {budget.of && ` of ${budget.of}`}
      </span>
      <span class="bar" aria-hidden="true">
        <i style={{ width: `${Math.min(1, used ?? 0) * 100}%` }} />
      </span>
      <span class="card-words">{words(budget, value, used, unit)}</span>
      {reach ? (
        <span class="card-words warning">
          <Sign name="up" /> limit in {duration(reach.in_seconds)} at this rate
        </span>
      ) : (
        budget.was_exceeded && state === 'ok' && <span class="card-words">was exceeded before</span>
      )}
    </li>
  );
}

function words({ limit, state }: Budget, value: number | null, used: number | null, unit: string | null): string {
  if (state === 'gone') return 'not judged any more';
  if (state === 'unknown') return running.value ? 'not judged now' : 'not judged at the end';
  if (value === null || used === null) return 'its value is not known';
  if (used > 3) return `${short(used)} times the limit`;
  if (value > limit) return `${amount(value - limit, unit)} over, ${percent(used - 1)} of the limit`;
  return `headroom ${amount(limit - value, unit)}, ${percent(1 - used)} of limit`;
}

/** The page's own budget: it judges itself. */
function FramesCard() {
  const now = pace.value;
  const held = now === null ? null : now.p95 <= LIMIT;
  return (
    <li class={`card frames ${held === false ? 'exceeded warning' : held ? 'ok' : 'unknown'}`} title="Frames of this page; 95 of 100 in the last ten seconds of work are faster">
      <span class="card-name">this page</span>
      <span class="card-state">
        <Sign name={held === null ? 'unknown' : held ? 'ok' : 'warning'} /> {held === null ? 'unknown' : held ? 'ok' : 'exceeded'}
      </span>
      <span class="card-value">
        <b>{now ? `${Math.round(now.fps)} FPS` : '–'}</b> of at least 30 FPS
      </span>
      <span class="bar" aria-hidden="true">
        <i style={{ width: `${now ? Math.min(1, now.p95 / LIMIT) * 100 : 0}%` }} />
      </span>
      <span class="card-words">{now ? `frame p95 ${duration(now.p95 / 1000)}, limit ${Math.round(LIMIT)} ms` : 'counted while something moves'}</span>
    </li>
  );
}
