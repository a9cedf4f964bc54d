/** Why was the start slow? The waterfall, what it was slow for, and an earlier start beside it. */

import { useRef } from 'preact/hooks';
import { bytes, change, duration, percent, place, visible } from '../format.ts';
import type { Start as Facts } from '../report.ts';
import { compareStart, earlier, earlierRun, overview, siblings, source, start } from '../state.ts';
import { Empty, Section } from '../ui/parts.tsx';
import type { WaterfallCanvas } from '../waterfall/canvas.ts';
import { phasesOf } from '../waterfall/rows.ts';
import { WaterfallView } from '../waterfall/Waterfall.tsx';
import { titleOf } from './Header.tsx';

export function Start() {
  const canvas = useRef<WaterfallCanvas | null>(null);
  const trace = start.value.value;
  const facts = overview.value?.report.start ?? null;
  const came = start.came > 0 || start.error.value !== null;
  const error = start.error.value;
  if (error) {
    return (
      <Section id="start" title="The start">
        <Empty>The start could not be read: {error}</Empty>
      </Section>
    );
  }
  if (!trace || !trace.spans.length) {
    return (
      <Section id="start" title="The start">
        {came && !start.busy.value ? (
          <Empty>{overview.value?.empty.start ?? 'This process recorded no start: call perf.init() early, or run it with otel-perf run.'}</Empty>
        ) : (
          <div class="waterfall-wait" aria-busy="true" />
        )}
      </Section>
    );
  }
  return (
    <Section id="start" title={titleFor(facts, trace.seconds)} beside={source.live && <Earlier />}>
      {facts && <Words facts={facts} />}
      <div class="pair">
        <div class="pair-wide">
          <WaterfallView
            trace={trace}
            earlier={earlier.value.value}
            label={`Waterfall of the start, ${duration(trace.seconds)}`}
            of="the start"
            hold={(made) => (canvas.current = made)}
          />
        </div>
        <div class="pair-narrow">
          {facts && <Causes facts={facts} find={(name) => canvas.current?.find(name)} />}
          <Differences />
        </div>
      </div>
    </Section>
  );
}

function titleFor(facts: Facts | null, seconds: number): string {
  if (!facts) return `The start: ${duration(seconds)}`;
  if (!facts.complete) return `The start, as far as it went: ${duration(seconds)}`;
  return facts.budget.state === 'exceeded' ? 'Why was the start slow?' : `The start: ${duration(seconds)}`;
}

function Words({ facts }: { facts: Facts }) {
  const { budget, ready, cold, usable_seconds: usable } = facts;
  const left = budget.limit_seconds - facts.seconds;
  const ended = overview.value?.report.ended;
  const open = ended?.state === 'running' ? ended.unfinished[0] : undefined; // of a start that goes on: what it does now
  const parts = [
    `${duration(facts.seconds)}, ${
      budget.state === 'within'
        ? `within the limit of ${duration(budget.limit_seconds)} (${duration(left)} left)`
        : budget.state === 'exceeded'
          ? `over the limit of ${duration(budget.limit_seconds)}${left < 0 ? ` by ${duration(-left)}` : ''}`
          : `limit ${duration(budget.limit_seconds)} not judged${budget.why_unknown ? `: ${budget.why_unknown}` : ''}`
    }`,
    ready.rule && `ended by ${ready.rule}${ready.inferred ? ' (inferred)' : ''}`,
    usable !== null && `usable after ${duration(usable)}`,
    !facts.complete && open && `${open.path.map(visible).join(' > ')} is open${open.file ? `, ${place(open.file, open.line)}` : ''}`,
    cold.causes.length > 0 && `cold start: ${cold.causes.join(', ')}${cold.disk_read_bytes ? ` (${bytes(cold.disk_read_bytes)} read)` : ''}`,
  ];
  return <p class={`start-words ${budget.state === 'exceeded' ? 'critical' : ''}`}>{parts.filter(Boolean).join(' · ')}</p>;
}

function Earlier() {
  const others = siblings.value.filter((each) => each.startSeconds !== null);
  if (!others.length) return <span class="hint">no other start of this service to compare with</span>;
  return (
    <div class="tools">
      <label class="select">
        Beside it{' '}
        <select
          value={earlierRun.value?.name ?? 'none'}
          onChange={(event) => compareStart(others.find((each) => each.name === event.currentTarget.value) ?? null)}
        >
          <option value="none">no other start</option>
          {others.map((each) => (
            <option key={each.name} value={each.name}>
              {titleOf(each)}
            </option>
          ))}
        </select>
      </label>
    </div>
  );
}

function Causes({ facts, find }: { facts: Facts; find: (name: string) => void }) {
  const { bottlenecks, recommendations } = facts;
  if (!bottlenecks.length && !recommendations.length) return <Empty>Nothing in it took long enough to be worth a line.</Empty>;
  return (
    <>
      {bottlenecks.length > 0 && (
        <>
          <h3>What its end waited for</h3>
          <ol class="causes">
            {bottlenecks.map((each, i) => (
              <li key={i}>
                <button class="link" onClick={() => find(each.name)} title="Show it in the waterfall">
                  <code>{visible(each.name === 'startup' ? 'own code of the program' : each.name)}</code>
                </button>
                <span class="saving">
                  {duration(each.seconds)}, {percent(each.share)}
                </span>
                {each.why && <p>{visible(shortWhy(each.why, each.file, each.line))}</p>}
                <Where file={each.file} line={each.line} />
              </li>
            ))}
          </ol>
        </>
      )}
      {recommendations.length > 0 && (
        <>
          <h3>What to change</h3>
          <ol class="causes">
            {recommendations.map((each, i) => (
              <li key={i}>
                <span class="saving" title="By which the start becomes shorter, at most">
                  saves {duration(each.saving_seconds)}
                </span>
                <p>{visible(shortWhy(each.text, each.file, each.line))}</p>
                <Where file={each.file} line={each.line} />
              </li>
            ))}
          </ol>
        </>
      )}
    </>
  );
}

function Where({ file, line }: { file: string | null; line: number | null }) {
  if (!file) return null;
  return (
    <span class="place" title={visible(file)}>
      {visible(place(file, line))}
    </span>
  );
}

/** The sentence without the place, which stands below it in full. */
function shortWhy(text: string, file: string | null, line: number | null): string {
  const name = file?.split(/[\\/]/).pop();
  if (!name || !line) return text;
  const words = text.split(' ').filter((each) => !each.replace(/[,:]$/, '').endsWith(`${name}:${line}`));
  return words.join(' ').replace(/[,:]$/, '');
}

/** Difference of each phase to the earlier start. */
function Differences() {
  const [now, before] = [start.value.value, earlier.value.value];
  const error = earlier.error.value;
  if (error) return <Empty>The other start could not be read: {error}</Empty>;
  if (!now || !before || !earlierRun.value) return null;
  const [here, there] = [phasesOf(now), phasesOf(before)];
  const keys = [...new Set([...here.keys(), ...there.keys()])];
  if (!keys.length) return null;
  const rows = keys.map((key) => {
    const [a, b] = [here.get(key), there.get(key)];
    const names = JSON.parse(key) as string[];
    return {
      key,
      depth: names.length - 1,
      name: names[names.length - 1],
      now: a === undefined ? null : now.spans[a].seconds,
      before: b === undefined ? null : before.spans[b].seconds,
    };
  });
  const whole = now.seconds - before.seconds;
  return (
    <>
      <h3>Against the start of {titleOf(earlierRun.value)}</h3>
      <table class="differences">
        <thead>
          <tr>
            <th scope="col">phase</th>
            <th scope="col">then</th>
            <th scope="col">now</th>
            <th scope="col">difference</th>
          </tr>
        </thead>
        <tbody>
          {rows.map((each) => (
            <tr key={each.key}>
              <th scope="row">
                <span style={{ paddingLeft: `${each.depth * 12}px` }}>{visible(each.name)}</span>
              </th>
              <td>{duration(each.before)}</td>
              <td>{duration(each.now)}</td>
              <td>{each.now === null || each.before === null ? (each.now === null ? 'gone' : 'new') : <Change by={each.now - each.before} />}</td>
            </tr>
          ))}
          <tr class="sum">
            <th scope="row">whole start</th>
            <td>{duration(before.seconds)}</td>
            <td>{duration(now.seconds)}</td>
            <td>
              <Change by={whole} />
            </td>
          </tr>
        </tbody>
      </table>
    </>
  );
}

const NOISE = 5e-3; // seconds

function Change({ by }: { by: number }) {
  return <span class={by > NOISE ? 'warning' : by < -NOISE ? 'better' : ''}>{change(by, duration)}</span>;
}

