/**
 * Where the nodes of a flame graph lie: as wide as they took, siblings by name, so that nothing moves while times change.
 *
 * Widths are shares of the root. Children that ran at once add up to more than their caller: they share its width. Of a
 * difference a node is as wide as both times together, so that what is only in one of them is seen too.
 */

import type { Flame } from '../api.ts';
import { count, plural } from '../format.ts';

export interface Layout {
  size: number;
  /** Of each node: from 0 to 1. */
  begin: Float64Array;
  width: Float64Array;
  depth: Uint16Array;
  /** Nodes of each level, from left to right. */
  levels: Int32Array[];
  /** Children of node *n* are `order` from `first[n]` to `first[n + 1]`, from left to right. */
  order: Int32Array;
  first: Int32Array;
}

export function layOut(flame: Flame): Layout {
  const size = flame.name.length;
  const weight = (node: number): number => Math.max(0, flame.totalNs[node]) + Math.max(0, flame.baseTotalNs?.[node] ?? 0);
  const { order, first } = childrenOf(flame, size);
  const begin = new Float64Array(size);
  const width = new Float64Array(size);
  const depth = new Uint16Array(size);
  const levels: number[][] = [];
  if (size) width[0] = 1;
  const waiting = size ? [0] : [];
  while (waiting.length) {
    const node = waiting.pop()!;
    (levels[depth[node]] ??= []).push(node);
    let sum = 0;
    for (let i = first[node]; i < first[node + 1]; i++) sum += weight(order[i]);
    const whole = Math.max(weight(node), sum);
    let at = begin[node];
    for (let i = first[node]; i < first[node + 1]; i++) {
      const child = order[i];
      begin[child] = at;
      width[child] = whole > 0 ? (width[node] * weight(child)) / whole : 0;
      depth[child] = depth[node] + 1;
      at += width[child];
    }
    for (let i = first[node + 1] - 1; i >= first[node]; i--) waiting.push(order[i]); // the left one comes next
  }
  return { size, begin, width, depth, levels: levels.map((each) => Int32Array.from(each)), order, first };
}

function childrenOf(flame: Flame, size: number): { order: Int32Array; first: Int32Array } {
  const first = new Int32Array(size + 1);
  for (let node = 1; node < size; node++) first[flame.parent[node] + 1]++;
  for (let node = 0; node < size; node++) first[node + 1] += first[node];
  const order = new Int32Array(Math.max(0, size - 1));
  const next = first.slice(0, size);
  for (let node = 1; node < size; node++) order[next[flame.parent[node]]++] = node;
  const name = (node: number): string => flame.names[flame.name[node]];
  for (let node = 0; node < size; node++) {
    if (first[node + 1] - first[node] < 2) continue;
    const part = order.subarray(first[node], first[node + 1]);
    part.set(Array.from(part).sort((a, b) => (name(a) < name(b) ? -1 : name(a) > name(b) ? 1 : a - b)));
  }
  return { order, first };
}

/** The node at *x* (0 to 1) of a level, -1 where there is none. */
export function nodeAt(layout: Layout, level: number, x: number): number {
  const nodes = layout.levels[level];
  if (!nodes) return -1;
  const at = lastBefore(layout, nodes, x);
  if (at < 0) return -1;
  const node = nodes[at];
  return x < layout.begin[node] + layout.width[node] ? node : -1;
}

/** Index in *nodes* of the last one that begins at or before *x*, -1 if none does. */
export function lastBefore(layout: Layout, nodes: Int32Array, x: number): number {
  let below = -1;
  let above = nodes.length;
  while (above - below > 1) {
    const middle = (below + above) >> 1;
    if (layout.begin[nodes[middle]] <= x) below = middle;
    else above = middle;
  }
  return below;
}

/** The neighbours of a node as the keys walk through them; the node itself where there is none. */
export function neighbour(flame: Flame, layout: Layout, node: number, where: 'up' | 'down' | 'left' | 'right'): number {
  if (where === 'up') return Math.max(0, flame.parent[node]);
  if (where === 'down') {
    let widest = node;
    let most = 0;
    for (let i = layout.first[node]; i < layout.first[node + 1]; i++) {
      if (layout.width[layout.order[i]] <= most) continue;
      widest = layout.order[i];
      most = layout.width[widest];
    }
    return widest;
  }
  const nodes = layout.levels[layout.depth[node]];
  const at = lastBefore(layout, nodes, layout.begin[node]);
  let next = nodes.indexOf(node, Math.max(0, at - 64));
  next += where === 'left' ? -1 : 1;
  return nodes[next] ?? node;
}

/** Names from the root's child down to *node*, by which it is found again. */
export function pathOf(flame: Flame, node: number): string[] {
  const names: string[] = [];
  for (let each = node; each > 0; each = flame.parent[each]) names.push(flame.names[flame.name[each]]);
  return names.reverse();
}

/** How many call paths *of* something there are, and how many of them are not drawn. */
export function pathsOf(flame: Flame, of: string): string {
  const all = `${plural(flame.name.length - 1 + flame.folded, 'call path')} of ${of}`;
  return flame.folded ? `${all}, ${count(flame.folded)} of them, the shortest, not drawn` : all;
}

/** Which of *count* colours a module has: the same in every run. Source: FNV-1a, 32 bits. */
export function colorOf(module: string, count: number): number {
  let hash = 0x811c9dc5;
  for (let i = 0; i < module.length; i++) hash = Math.imul(hash ^ module.charCodeAt(i), 0x01000193);
  return (hash >>> 0) % count;
}

/**
 * How much a node differs from the baseline: -3 (much faster) to 3 (much slower), 0 as long as it is no more than noise.
 *
 * @param scale seconds of the baseline times this are comparable: ranges may be of different length.
 */
export function gradeOf(total: number, base: number, whole: number, scale: number): number {
  const difference = total - base * scale;
  const share = whole > 0 ? Math.abs(difference) / whole : 0;
  const grade = share > 0.1 ? 3 : share > 0.03 ? 2 : share > 0.005 ? 1 : 0;
  return difference < 0 ? -grade : grade;
}

/** Whether the FunctionRow *row* and a node's name are one function; *given* is what the server says of it. */
export function isSame(row: string, name: string, module: string, given: string | undefined): boolean {
  if (given) return row === given;
  return row === name || (module !== '' && row === `${module}.${name}`) || row.endsWith(`.${name}`);
}
