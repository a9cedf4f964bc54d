/** Where the time went: call paths as a picture, of a range, of a trace, or as the difference of two. */

import { effect, useSignal } from '@preact/signals';
import { useEffect, useRef } from 'preact/hooks';
import type { Flame as Tree } from '../api.ts';
import { change, count, duration, percent, visible } from '../format.ts';
import { functions, marked, query } from '../state.ts';
import { tip } from '../ui/Tip.tsx';
import { FlameCanvas } from './canvas.ts';
import { isSame, pathOf, pathsOf } from './layout.ts';

/** Names with *words* in them, whatever their case; null if there is nothing to search for. */
export function searched(words: string): ((name: string) => boolean) | null {
  const text = words.trim().toLowerCase();
  return text ? (name) => name.toLowerCase().includes(text) : null;
}

export function FlameGraph({ flame, scale = 1, of, label }: { flame: Tree; scale?: number; of: string; label: string }) {
  const box = useRef<HTMLDivElement>(null);
  const canvas = useRef<FlameCanvas | null>(null);
  const at = useSignal(-1);
  const said = useSignal<{ flame: Tree; node: number } | null>(null);
  const tree = useRef(flame);
  tree.current = flame;
  useEffect(() => {
    const made = new FlameCanvas(box.current!, {
      at(node, where) {
        at.value = node < tree.current.name.length ? node : -1;
        const path = (one: { flame: Tree; node: number } | null): string => (one ? pathOf(one.flame, one.node).join('\n') : '');
        const next = at.value < 0 ? null : { flame: tree.current, node };
        if (!next || !said.value || path(next) !== path(said.value)) said.value = next;
        tip.value = at.value < 0 || !where ? null : { ...where, content: <Says flame={tree.current} node={node} scale={scale} of={of} /> };
      },
      choose(node) {
        marked.value = node > 0 ? tree.current.names[tree.current.name[node]] : null;
      },
    });
    canvas.current = made;
    const stop = effect(() => made.search(searched(query.value)));
    return () => {
      stop();
      made.destroy();
      tip.value = null;
    };
  }, [scale, of]);
  useEffect(() => {
    canvas.current!.show(flame, scale);
    canvas.current!.search(searched(query.value));
  }, [flame, scale, of]);
  useEffect(
    () =>
      effect(() => {
        const name = marked.value;
        const rows = functions.value.value?.functions ?? [];
        const row = rows.find((each) => each.name === name);
        canvas.current?.mark(name === null ? null : (each) => isMarked(tree.current, each, name, row?.name));
      }),
    [flame, scale, of],
  );
  const node = at.value < 0 ? (canvas.current?.focus ?? -1) : at.value;
  return (
    <div class="flame">
      <div
        class="flame-box scroller"
        ref={box}
        role="application"
        aria-roledescription="flame graph"
        aria-label={`${label}. Arrow keys walk, Enter zooms, Backspace goes back, n finds the next.`}
        tabIndex={0}
      >
        <div>
          <canvas aria-hidden="true" />
        </div>
      </div>
      <p class="detail">
        {node >= 0 && node < flame.name.length ? <Line flame={flame} node={node} scale={scale} of={of} /> : <Summary flame={flame} of={of} />}
      </p>
      {/* what is read out loud: when another call is chosen, not whenever the times of a run in progress change */}
      <p class="hidden" aria-live="polite">
        {said.value && <Line flame={said.value.flame} node={said.value.node} scale={scale} of={of} />}
      </p>
    </div>
  );
}

/** Whether the name at *index* is the one that was marked, here or in the table. */
function isMarked(flame: Tree, index: number, name: string, row: string | undefined): boolean {
  const here = flame.names[index];
  return here === name || (row !== undefined && isSame(row, here, flame.modules[index] ?? '', flame.functions?.[index]));
}

function Summary({ flame, of }: { flame: Tree; of: string }) {
  return (
    <>
      {duration(flame.totalNs[0] / 1e9)} in {pathsOf(flame, of)}
      {flame.overflow && '; what did not fit in the record is one node'}
      {flame.partial && '; the file was not read to its end: there may be more'}
    </>
  );
}

function numbers(flame: Tree, node: number, scale: number) {
  const total = flame.totalNs[node] / 1e9;
  const base = flame.baseTotalNs?.[node];
  return {
    name: visible(flame.names[flame.name[node]]),
    module: flame.modules[flame.name[node]] ?? '',
    total,
    self: flame.selfNs[node] / 1e9,
    share: flame.totalNs[0] > 0 ? flame.totalNs[node] / flame.totalNs[0] : null,
    calls: flame.calls[node],
    before: base === undefined ? null : (base * scale) / 1e9,
  };
}

function Line({ flame, node, scale, of }: { flame: Tree; node: number; scale: number; of: string }) {
  const { name, total, self, share, calls, before } = numbers(flame, node, scale);
  return (
    <>
      <code>{name}</code> total {duration(total)}, self {duration(self)}, {percent(share)} of {of}
      {calls !== null && `, ${count(calls)} call${calls === 1 ? '' : 's'}`}
      {before !== null && `; before ${duration(before)}: ${change(total - before, duration)}`}
    </>
  );
}

function Says({ flame, node, scale, of }: { flame: Tree; node: number; scale: number; of: string }) {
  const { name, module, total, self, share, calls, before } = numbers(flame, node, scale);
  return (
    <>
      <code class="tip-name">{name}</code>
      {module && <div class="tip-dim">{visible(module)}</div>}
      <dl>
        <dt>total</dt>
        <dd>
          {duration(total)}, {percent(share)} of {of}
        </dd>
        <dt>self</dt>
        <dd>{duration(self)}</dd>
        {calls !== null && (
          <>
            <dt>calls</dt>
            <dd>{count(calls)}</dd>
          </>
        )}
        {before !== null && (
          <>
            <dt>before</dt>
            <dd>
              {duration(before)} ({change(total - before, duration)})
            </dd>
          </>
        )}
      </dl>
    </>
  );
}
