/** Small things that every panel uses. */

import type { ComponentChildren, RefObject } from 'preact';
import { useRef, useState } from 'preact/hooks';
import { moment, zoned } from '../format.ts';

/** A part of the page with a heading, what belongs beside it, and its content. */
export function Section({ id, title, beside, children }: { id: string; title: string; beside?: ComponentChildren; children: ComponentChildren }) {
  return (
    <section id={id} class="section" aria-labelledby={`${id}-title`}>
      <header class="section-head">
        <h2 id={`${id}-title`} tabIndex={-1}>
          {title}
        </h2>
        {beside}
      </header>
      {children}
    </section>
  );
}

const FEW = 8;

/** The first rows of a list, and the row that shows the others: what comes below must stay within reach. */
export function useFew<T>(all: T[]): [T[], ComponentChildren] {
  const [whole, setWhole] = useState(false);
  if (all.length <= FEW + 1) return [all, null];
  const text = whole ? 'Show fewer' : `Show ${all.length - FEW} more`;
  return [
    whole ? all : all.slice(0, FEW),
    <li key="more">
      <button class="small" aria-expanded={whole} onClick={() => setWhole(!whole)}>
        {text}
      </button>
    </li>,
  ];
}

/** Local time, with all of it and its zone on hover. */
export function Moment({ at, beside }: { at: number | null; beside?: number }) {
  if (at === null) return <>–</>;
  return (
    <time dateTime={new Date(at).toISOString()} title={zoned(at)}>
      {moment(at, beside)}
    </time>
  );
}

/** What a panel says that has nothing to show. */
export function Empty({ children }: { children: ComponentChildren }) {
  return <p class="empty">{children}</p>;
}

/**
 * Keep the order of rows while the pointer is over the table or the focus in one of them: nothing moves away under a click.
 *
 * @returns the rows, and a ref for the table that holds them.
 */
export function useHeld<T>(rows: T[], key: (row: T) => string, anew: unknown): [T[], RefObject<HTMLTableElement | null>] {
  const holder = useRef<HTMLTableElement>(null);
  const order = useRef<{ keys: string[]; anew: unknown }>({ keys: [], anew: undefined });
  const table = holder.current; // asked as it is now: a listener would have to be there before the pointer comes
  const used = table !== null && (table.matches(':hover') || table.tBodies[0].contains(document.activeElement));
  const held = used && order.current.anew === anew;
  if (!held) {
    order.current = { keys: rows.map(key), anew };
    return [rows, holder];
  }
  const place = new Map(order.current.keys.map((each, i) => [each, i]));
  const kept = [...rows].sort((a, b) => (place.get(key(a)) ?? place.size) - (place.get(key(b)) ?? place.size));
  return [kept, holder];
}
