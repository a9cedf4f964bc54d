/** One trace: its waterfall, or its call paths. */

import { useSignal } from '@preact/signals';
import { useEffect, useMemo, useRef } from 'preact/hooks';
import type { Flame, Waterfall } from '../api.ts';
import { duration, visible } from '../format.ts';
import { FlameGraph } from '../flame/Flame.tsx';
import { Resource } from '../resource.ts';
import { place, source, trace } from '../state.ts';
import { Moment, Empty } from '../ui/parts.tsx';
import { Sign } from '../ui/icons.tsx';
import { WaterfallView } from '../waterfall/Waterfall.tsx';

export function TraceDialog() {
  const chosen = trace.value;
  const box = useRef<HTMLDialogElement>(null);
  useEffect(() => {
    if (chosen && !box.current!.open) box.current!.showModal();
    if (!chosen && box.current!.open) box.current!.close();
  }, [chosen]);
  return (
    <dialog class="trace" ref={box} aria-labelledby="trace-title" onClose={() => (trace.value = null)}>
      {chosen && <Trace key={chosen.id} id={chosen.id} title={chosen.title} />}
    </dialog>
  );
}

function Trace({ id, title }: { id: string; title: string }) {
  const found = useMemo(() => new Resource<Waterfall>(), [id]);
  const paths = useMemo(() => new Resource<Flame>(), [id]);
  const asFlame = useSignal(false);
  useEffect(() => {
    const at = place.value;
    if (at) void found.load((abort) => source.trace(at, id, abort));
  }, [id]);
  const show = (flame: boolean): void => {
    asFlame.value = flame;
    const at = place.value;
    if (flame && at && !paths.value.value) void paths.load((abort) => source.traceFlame(at, id, abort));
  };
  const whole = found.value.value;
  const tree = paths.value.value;
  const error = asFlame.value ? paths.error.value : found.error.value;
  return (
    <>
      <header class="trace-head">
        <h2 id="trace-title">
          Trace of <code>{visible(whole?.spans[0]?.name ?? title)}</code>
        </h2>
        {whole && (
          <span class="dim">
            {duration(whole.seconds)}, began <Moment at={whole.began} />
          </span>
        )}
        <span class="space" />
        <div class="segments" role="group" aria-label="Shown as">
          <button aria-pressed={!asFlame.value} onClick={() => show(false)}>
            Waterfall
          </button>
          <button aria-pressed={asFlame.value} onClick={() => show(true)}>
            Flame graph
          </button>
        </div>
        <button class="icon" onClick={() => (trace.value = null)} aria-label="Close" title="Close (Esc)">
          <Sign name="close" />
        </button>
      </header>
      {error ? (
        <Empty>{error}</Empty>
      ) : asFlame.value ? (
        tree ? (
          <FlameGraph flame={tree} of="the trace" label={`Flame graph of the trace of ${visible(title)}`} />
        ) : (
          <div class="flame-wait" aria-busy="true" />
        )
      ) : whole ? (
        <WaterfallView trace={whole} earlier={null} label={`Waterfall of the trace of ${visible(title)}`} of="the trace" />
      ) : (
        <div class="waterfall-wait" aria-busy="true" />
      )}
      <p class="detail dim">
        trace <code>{id}</code>
      </p>
    </>
  );
}
