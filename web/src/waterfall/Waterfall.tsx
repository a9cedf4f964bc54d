/** The waterfall with what it says in words: of the row under the pointer, or where the keys are. */

import { effect, useSignal } from '@preact/signals';
import { useEffect, useRef } from 'preact/hooks';
import type { Waterfall as Trace } from '../api.ts';
import { duration, percent, place, plural, visible } from '../format.ts';
import { searched } from '../flame/Flame.tsx';
import { query } from '../state.ts';
import { tip } from '../ui/Tip.tsx';
import { WaterfallCanvas } from './canvas.ts';
import type { Row } from './rows.ts';

interface Props {
  trace: Trace;
  earlier: Trace | null;
  label: string;
  /** What shares are of: `the start`. */
  of: string;
  /** Gives the picture to whoever wants to go to a span. */
  hold?: (canvas: WaterfallCanvas | null) => void;
}

export function WaterfallView({ trace, earlier, label, of, hold }: Props) {
  const box = useRef<HTMLDivElement>(null);
  const canvas = useRef<WaterfallCanvas | null>(null);
  const row = useSignal<Row | null>(null);
  const everything = useSignal(false);
  const now = useRef(trace);
  now.current = trace;
  useEffect(() => {
    const made = new WaterfallCanvas(box.current!, {
      at(found, where) {
        row.value = found;
        tip.value = found && where ? { ...where, content: <Says trace={now.current} row={found} of={of} /> } : null;
      },
    });
    canvas.current = made;
    hold?.(made);
    const stop = effect(() => made.search(searched(query.value)));
    return () => {
      stop();
      made.destroy();
      hold?.(null);
      tip.value = null;
    };
  }, []);
  useEffect(() => canvas.current!.show(trace, earlier), [trace, earlier]);
  const hidden = trace.folded;
  return (
    <div class="waterfall">
      <Legend trace={trace} earlier={earlier !== null} />
      <div
        class="waterfall-box scroller"
        ref={box}
        role="application"
        aria-roledescription="waterfall"
        aria-label={`${label}. Up and down walk, left and right fold, plus and minus zoom, 0 shows all.`}
        tabIndex={0}
      >
        <div>
          <canvas aria-hidden="true" />
        </div>
      </div>
      <div class="detail-row">
        <p class="detail" aria-live={row.value ? 'polite' : 'off'}>
          {row.value ? <Line trace={trace} row={row.value} of={of} /> : <Summary trace={trace} of={of} hidden={hidden} />}
        </p>
        <button
          aria-pressed={everything.value}
          onClick={() => {
            everything.value = !everything.value;
            canvas.current!.expand(everything.value);
          }}
        >
          {everything.value ? 'Fold short spans' : 'Show every span'}
        </button>
      </div>
    </div>
  );
}

/** What the colours mean, of those that there are. */
function Legend({ trace, earlier }: { trace: Trace; earlier: boolean }) {
  const keys = [
    ['alone', 'the end waited for this alone'],
    ['inside', 'for something in it'],
    ['spare', 'not for this'],
    earlier && ['then', 'in the other start'],
    trace.spans.some(({ error }) => error) && ['raised', 'raised an error'],
  ].filter((key) => key !== false);
  return (
    <p class="legend">
      {keys.map(([name, says]) => (
        <span key={name}>
          <i class={`key ${name}`} /> {says}
        </span>
      ))}
    </p>
  );
}

function Summary({ trace, of, hidden }: { trace: Trace; of: string; hidden: number }) {
  return (
    <>
      {plural(trace.spans.length, 'span')} of {of} in {duration(trace.seconds)}
      {hidden > 0 && `; ${plural(hidden, 'span')} more, the shortest, are left out`}
      {trace.partial && '; the file was not read to its end: there may be more'}
    </>
  );
}

function Line({ trace, row, of }: { trace: Trace; row: Row; of: string }) {
  if (row.more) return <>{plural(row.more, 'short span')}, {duration(row.seconds)} together: Enter opens them</>;
  const span = trace.spans[row.span];
  if (!span) return null;
  const critical = span.onPath;
  return (
    <>
      <code>{visible(span.name)}</code> {span.kind}, {duration(span.seconds)} ({percent(share(trace, span.seconds))} of {of}) from{' '}
      {duration(span.begin)} on
      {span.self !== null && `, self ${duration(span.self)}`}
      {critical > 0 && `, ${duration(critical)} alone on the critical path`}
      {span.why && `: ${span.why}`}
      {span.file && (
        <>
          {' '}
          <span class="place" title={span.file}>
            {place(span.file, span.line)}
          </span>
        </>
      )}
      {span.error && <span class="critical"> {visible(span.error)}</span>}
    </>
  );
}

function share(trace: Trace, seconds: number): number | null {
  return trace.seconds > 0 ? seconds / trace.seconds : null;
}

function Says({ trace, row, of }: { trace: Trace; row: Row; of: string }) {
  if (row.more) {
    return (
      <>
        {plural(row.more, 'short span')}, {duration(row.seconds)} together
        <div class="tip-dim">a click opens them</div>
      </>
    );
  }
  const span = trace.spans[row.span];
  if (!span) return null;
  const critical = span.onPath;
  return (
    <>
      <code class="tip-name">{visible(span.name)}</code>
      <div class="tip-dim">
        {span.kind}
        {span.marks.length > 0 && `, ${span.marks.join(', ')}`}
      </div>
      <dl>
        <dt>time</dt>
        <dd>
          {duration(span.seconds)}, {percent(share(trace, span.seconds))} of {of}
        </dd>
        <dt>from</dt>
        <dd>
          {duration(span.begin)} to {duration(span.begin + span.seconds)}
        </dd>
        {span.self !== null && (
          <>
            <dt>self</dt>
            <dd>{duration(span.self)}</dd>
          </>
        )}
        {critical > 0 && (
          <>
            <dt>critical</dt>
            <dd>{duration(critical)} in it alone</dd>
          </>
        )}
      </dl>
      {span.why && <div>{span.why}</div>}
      {span.file && <div class="tip-dim">{place(span.file, span.line)}</div>}
      {span.error && <div class="critical">{visible(span.error)}</div>}
    </>
  );
}
