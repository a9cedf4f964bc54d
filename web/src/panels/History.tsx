/** What was exceeded, which calls were slowest, what the program runs on, what otel-perf cost it. */

import { amount, bytes, count, duration, parsed, plural, three, visible } from '../format.ts';
import type { Alert, Report } from '../report.ts';
import { markOf, unitOf } from '../standing.ts';
import { overview, range } from '../state.ts';
import { Sign, severityIcon } from '../ui/icons.tsx';
import { Empty, Moment, Section, useHeld } from '../ui/parts.tsx';
import { TraceButton } from './Well.tsx';

export function History() {
  const found = overview.value;
  return (
    <Section id="history" title="History and details">
      {found ? (
        <div class="history">
          <Alerts report={found.report} />
          <Slowest />
          <div class="details">
            <System report={found.report} />
            <Cost report={found.report} />
          </div>
        </div>
      ) : (
        <div class="table-wait" aria-busy="true" />
      )}
    </Section>
  );
}

function isIn(from: number | null, to: number | null): boolean {
  const chosen = range.value;
  if (!chosen) return true;
  return (from ?? 0) <= chosen.to && (to ?? Infinity) >= chosen.from;
}

function Alerts({ report }: { report: Report }) {
  const all = report.alerts;
  const shown = all.filter((each) => isIn(parsed(each.since), parsed(each.ended))).reverse();
  const outside = all.length - shown.length;
  const [rows, holder] = useHeld(shown, (each) => `${each.budget} ${each.since}`, range.value);
  return (
    <div class="panel">
      <h3>
        Alerts <span class="dim">{all.length ? count(all.length + report.alerts_before) : ''}</span>
      </h3>
      {!all.length ? (
        <Empty>
          <Sign name="ok" /> No budget was exceeded.
        </Empty>
      ) : !shown.length ? (
        <Empty>No alert in the range; {plural(outside, 'alert')} outside of it.</Empty>
      ) : (
        <div class="table-box scroller" tabIndex={0} role="group" aria-label="Alerts">
          <table ref={holder} class="stacked">
            <thead>
              <tr>
                <th scope="col">budget</th>
                <th scope="col" class="left">
                  severity
                </th>
                <th scope="col">from</th>
                <th scope="col">lasted</th>
                <th scope="col">peak</th>
                <th scope="col">limit</th>
                <th scope="col" class="left">
                  end
                </th>
                <th scope="col">
                  <span class="hidden">trace</span>
                </th>
              </tr>
            </thead>
            <tbody>
              {rows.map((each) => (
                <AlertRow key={`${each.budget} ${each.since}`} alert={each} />
              ))}
            </tbody>
          </table>
        </div>
      )}
      {shown.length > 0 && (outside > 0 || report.alerts_before > 0) && (
        <p class="detail">
          {[outside > 0 && `${plural(outside, 'alert')} outside of the range`, report.alerts_before > 0 && `${count(report.alerts_before)} before them`]
            .filter(Boolean)
            .join('; ')}
        </p>
      )}
    </div>
  );
}

function AlertRow({ alert }: { alert: Alert }) {
  const open = alert.end === 'open';
  const unit = unitOf(alert);
  return (
    <tr class={open ? `open ${alert.severity}` : ''} title={alert.text ? visible(alert.text) : undefined}>
      <th scope="row">{visible(alert.budget)}</th>
      <td class={`left ${alert.severity}`}>
        <Sign name={severityIcon(alert.severity)} /> {alert.severity}
        {alert.escalated > 0 && ' (escalated)'}
      </td>
      <td data-title="from">
        <Moment at={parsed(alert.since)} beside={Date.now()} />
      </td>
      <td data-title="lasted">{duration(alert.seconds)}</td>
      <td data-title="peak">
        {alert.peak !== null && markOf(alert.metric)}
        {amount(alert.peak, unit)}
      </td>
      <td data-title="limit">{amount(alert.limit, unit)}</td>
      <td class="left">{alert.end}</td>
      <td>
        <TraceButton id={alert.trace_id} title={alert.running ?? alert.budget} inside={alert.running !== null} />
      </td>
    </tr>
  );
}

function Slowest() {
  const all = overview.value!.slowest;
  const shown = all.filter((each) => isIn(each.began, each.began + each.seconds * 1000));
  const [rows, holder] = useHeld(shown, (each) => each.spanId, range.value);
  return (
    <div class="panel slowest">
      <h3>Slowest calls</h3>
      {!all.length ? (
        <Empty>{overview.value!.empty.profile ?? 'No call was long enough to become a span.'}</Empty>
      ) : !shown.length ? (
        <Empty>None of the {plural(all.length, 'slowest call')} of the run lies in the range.</Empty>
      ) : (
        <div class="table-box scroller" tabIndex={0} role="group" aria-label="Slowest calls">
          <table ref={holder}>
            <thead>
              <tr>
                <th scope="col">call</th>
                <th scope="col" class="left">
                  kind
                </th>
                <th scope="col">began</th>
                <th scope="col">took</th>
                <th scope="col">
                  <span class="hidden">trace</span>
                </th>
              </tr>
            </thead>
            <tbody>
              {rows.map((each) => (
                <tr key={each.spanId}>
                  <th scope="row" title={visible(each.name)}>
                    <code>{visible(each.name)}</code>
                    {each.error && (
                      <span class="critical" title={visible(each.error)}>
                        {' '}
                        <Sign name="warning" /> error
                      </span>
                    )}
                  </th>
                  <td class="left">{each.kind}</td>
                  <td>
                    <Moment at={each.began} beside={overview.value!.last ?? undefined} />
                  </td>
                  <td>{duration(each.seconds)}</td>
                  <td>
                    <TraceButton id={each.traceId} title={each.name} />
                  </td>
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      )}
    </div>
  );
}

function System({ report }: { report: Report }) {
  const { platform } = report;
  const usable = platform.usable_cpus;
  const facts: [string, string | null][] = [
    ['service', `${visible(report.service.name)}${report.service.version ? ` ${visible(report.service.version)}` : ''}`],
    ['process', report.process],
    ['run', report.run],
    ['Python', report.python],
    ['system', [platform.os, platform.architecture].filter(Boolean).join(', ') || null],
    [
      'CPUs',
      usable === null
        ? null
        : platform.cpus !== null && usable < platform.cpus
          ? `${three(usable)} of ${platform.cpus} usable${platform.container_cpus !== null ? " (the container's limit)" : ''}`
          : three(usable),
    ],
    [
      'memory',
      platform.container_memory_bytes !== null
        ? `${bytes(platform.container_memory_bytes)} (the container's limit)`
        : platform.memory_bytes === null
          ? null
          : bytes(platform.memory_bytes),
    ],
    ['recorded', `${plural(overview.value!.spans, 'span')}, ${bytes(overview.value!.total)}`],
  ];
  return (
    <div class="panel">
      <h3>System</h3>
      <Facts facts={facts} />
    </div>
  );
}

function Cost({ report }: { report: Report }) {
  const { cost } = report;
  const dropped = cost.dropped_records ?? 0;
  const facts: [string, string | null][] = [
    ['time in init()', cost.init_seconds === null ? null : duration(cost.init_seconds)],
    ['CPU of its worker', cost.cpu_seconds === null ? null : duration(cost.cpu_seconds)],
    ['memory', cost.memory_bytes === null ? null : bytes(cost.memory_bytes)],
    ['records dropped', cost.dropped_records === null ? null : count(cost.dropped_records)],
  ];
  return (
    <div class="panel">
      <h3>What otel-perf cost this program</h3>
      <Facts facts={facts} />
      {dropped > 0 && (
        <p class="warning">
          <Sign name="warning" /> Records were dropped: what is shown is not all there was.
        </p>
      )}
    </div>
  );
}

function Facts({ facts }: { facts: [string, string | null][] }) {
  return (
    <dl class="facts">
      {facts.map(([name, value]) => (
        <div key={name}>
          <dt>{name}</dt>
          <dd>{value ?? 'not recorded'}</dd>
        </div>
      ))}
    </dl>
  );
}
