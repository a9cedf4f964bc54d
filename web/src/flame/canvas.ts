/** The flame graph on its canvas: what is drawn, what is under the pointer, what the keys do. */

import type { Flame } from '../api.ts';
import { change, duration, visible } from '../format.ts';
import { wake } from '../ui/frames.ts';
import { Surface } from '../ui/surface.ts';
import { isCalm, palette } from '../ui/theme.ts';
import { colorOf, gradeOf, lastBefore, layOut, neighbour, nodeAt, pathOf, type Layout } from './layout.ts';

const ROW = 19;
const FONT = '11.5px ui-monospace, SFMono-Regular, Menlo, Consolas, monospace';
const LEAST = 0.4; // pixels of a node that is drawn
const SEEN = 6; // pixels of a node that the keys are at
const NAMED = 26; // pixels of a node that has a name
const COLORS = 12;
const SHALLOW = 236; // pixels of a picture that is low
const MOVE = 160; // ms that it takes to zoom

export interface Handlers {
  /** The pointer or the keys are at a node, -1 none; *at* is where in the window. */
  at(node: number, at: { x: number; y: number } | null): void;
  /** A node was clicked. */
  choose(node: number): void;
}

export class FlameCanvas {
  readonly surface: Surface;
  layout: Layout | null = null;
  /** The node that is as wide as the picture. */
  top = 0;
  /** The node that the keys are at, -1 none. */
  focus = -1;
  private flame: Flame | null = null;
  private names: string[] = [];
  private colors: number[] = [];
  private scale = 1;
  private from = 0;
  private width = 1;
  private moving = 0;
  private hovered = -1;
  private pointer: { x: number; y: number } | null = null;
  private matches: (name: number) => boolean = () => false;
  private searching = false;
  private isMarked: (name: number) => boolean = () => false;
  private marking = false;
  private letter = 7;
  private readonly handlers: Handlers;

  constructor(box: HTMLElement, handlers: Handlers) {
    this.handlers = handlers;
    this.surface = new Surface(box, (context, width, height, top) => this.paint(context, width, height, top));
    const { canvas } = this.surface;
    canvas.addEventListener('pointermove', (event) => this.hover(this.nodeUnder(event), event));
    canvas.addEventListener('pointerleave', () => this.hover(-1, null));
    canvas.addEventListener('click', (event) => {
      const node = this.nodeUnder(event);
      if (node < 0) return;
      this.focus = node;
      handlers.choose(node);
      this.zoom(node);
    });
    box.addEventListener('keydown', (event) => this.key(event));
    box.addEventListener('blur', () => this.hover(-1, null));
  }

  destroy(): void {
    cancelAnimationFrame(this.moving);
    this.surface.destroy();
  }

  /** Show *flame*; what was zoomed to and focused stays if it is still there. *scale* is that of gradeOf(). */
  show(flame: Flame, scale: number): void {
    const old = this.flame;
    const kept = old ? [this.top, this.focus, this.hovered].map((node) => (node < 0 ? null : pathOf(old, node))) : [];
    this.flame = flame;
    this.scale = scale;
    this.layout = layOut(flame);
    this.names = flame.names.map(visible);
    this.colors = flame.names.map((name, i) => colorOf(flame.modules[i] || name, COLORS));
    const [top, focus, hovered] = kept.map((key) => (key === null ? -1 : find(flame, this.layout!, key)));
    this.top = Math.max(0, top ?? 0);
    this.focus = focus ?? -1;
    this.hovered = hovered ?? -1;
    this.jump();
    const high = this.layout.levels.length * ROW + 4;
    this.surface.setContent(high);
    if (high > SHALLOW) this.surface.box.classList.add('deep'); // and stays so: it never jumps back
    this.handlers.at(this.hovered, this.hovered < 0 ? null : this.pointer);
    this.surface.invalidate();
  }

  /** Which names are searched for, null if none are. */
  search(matches: ((name: string) => boolean) | null): void {
    const found = matches && this.flame ? this.flame.names.map(matches) : null;
    this.searching = found !== null;
    this.matches = (name) => found?.[name] ?? false;
    this.surface.invalidate();
  }

  /** Which names are the function that is marked, null if none is. */
  mark(matches: ((name: number) => boolean) | null): void {
    this.marking = matches !== null;
    this.isMarked = matches ?? (() => false);
    this.surface.invalidate();
  }

  /** Make *node* as wide as the picture. */
  zoom(node: number): void {
    if (!this.layout) return;
    this.top = node;
    const [from, width] = [this.from, this.width];
    const [to, wide] = [this.layout.begin[node], Math.max(this.layout.width[node], 1e-9)];
    cancelAnimationFrame(this.moving);
    if (isCalm()) {
      this.jump();
      return;
    }
    const began = performance.now();
    const step = (now: number): void => {
      wake();
      const part = Math.min(1, Math.max(0, (now - began) / MOVE));
      const eased = 1 - (1 - part) ** 3;
      this.from = from + (to - from) * eased;
      this.width = width + (wide - width) * eased;
      this.surface.draw();
      if (part < 1) this.moving = requestAnimationFrame(step);
    };
    this.moving = requestAnimationFrame(step);
  }

  private jump(): void {
    if (!this.layout?.size) return;
    this.from = this.layout.begin[this.top];
    this.width = Math.max(this.layout.width[this.top], 1e-9);
    this.surface.invalidate();
  }

  /** Go to *node* with the keys, and show it. */
  goTo(node: number): void {
    const { layout } = this;
    if (!layout || !this.flame || node < 0) return;
    this.focus = node;
    const middle = layout.begin[node] + layout.width[node] / 2;
    if (middle < this.from || middle > this.from + this.width || layout.depth[node] < layout.depth[this.top]) {
      let top = this.top;
      const holds = (each: number): boolean =>
        layout.begin[each] <= middle && middle <= layout.begin[each] + layout.width[each] && layout.depth[each] <= layout.depth[node];
      while (top > 0 && !holds(top)) top = this.flame.parent[top];
      this.zoom(top);
    }
    // what is too narrow to be seen is made wider, with its caller if that is enough
    const narrow = (each: number): boolean => (layout.width[node] / layout.width[each]) * this.surface.canvas.clientWidth < SEEN;
    if (narrow(this.top)) this.zoom(narrow(this.flame.parent[node]) ? node : this.flame.parent[node]);
    const y = layout.depth[node] * ROW;
    this.surface.reveal(y, y + ROW);
    this.surface.invalidate();
    const rect = this.surface.canvas.getBoundingClientRect();
    const x = ((Math.max(layout.begin[node], this.from) - this.from) / this.width) * rect.width;
    this.handlers.at(node, { x: rect.left + Math.min(Math.max(x, 0), rect.width), y: rect.top + y - this.surface.box.scrollTop + ROW });
  }

  private key(event: KeyboardEvent): void {
    const { flame, layout } = this;
    if (!flame || !layout?.size || event.ctrlKey || event.metaKey || event.altKey) return;
    const where = { ArrowUp: 'up', ArrowDown: 'down', ArrowLeft: 'left', ArrowRight: 'right' }[event.key] as 'up' | undefined;
    if (where) this.goTo(this.focus < 0 ? this.top : neighbour(flame, layout, this.focus, where));
    else if (event.key === 'Home') this.goTo(0);
    else if ((event.key === 'Enter' || event.key === ' ') && this.focus >= 0) {
      this.handlers.choose(this.focus);
      this.zoom(this.focus);
    } else if (event.key === 'Backspace' || (event.key === 'Escape' && this.top)) {
      this.zoom(event.key === 'Escape' ? 0 : Math.max(0, flame.parent[this.top]));
    } else if (event.key === 'n' || event.key === 'N') this.match(event.key === 'n' ? 1 : -1);
    else return;
    event.preventDefault();
    event.stopPropagation();
  }

  /** Go to the next node that is searched for. */
  match(step: number): void {
    const { flame, layout } = this;
    if (!flame || !layout?.size || !this.searching) return;
    for (let i = 1; i <= layout.size; i++) {
      const node = (((Math.max(this.focus, 0) + step * i) % layout.size) + layout.size) % layout.size;
      if (this.matches(flame.name[node])) {
        this.goTo(node);
        return;
      }
    }
  }

  private nodeUnder(event: MouseEvent): number {
    const { layout } = this;
    if (!layout?.size) return -1;
    const { x, y } = this.surface.locate(event);
    return nodeAt(layout, Math.floor(y / ROW), this.from + (x / this.surface.canvas.clientWidth) * this.width);
  }

  private hover(node: number, event: MouseEvent | FocusEvent | null): void {
    if (node !== this.hovered) {
      this.hovered = node;
      wake();
      this.surface.invalidate();
    }
    this.pointer = event instanceof MouseEvent ? { x: event.clientX, y: event.clientY } : null;
    this.handlers.at(node, this.pointer);
  }

  // --- drawing -------------------------------------------------------------------------------------------------------

  private paint(context: CanvasRenderingContext2D, width: number, height: number, top: number): void {
    const { layout } = this;
    if (!layout?.size) return;
    context.font = FONT;
    context.textBaseline = 'middle';
    this.letter = context.measureText('0').width;
    const first = Math.floor(top / ROW);
    const last = Math.min(layout.levels.length - 1, Math.floor((top + height) / ROW));
    for (let level = first; level <= last; level++) this.paintLevel(context, level, width, level * ROW - top);
  }

  private paintLevel(context: CanvasRenderingContext2D, level: number, width: number, y: number): void {
    const { flame, layout, from } = this;
    const colors = palette();
    const nodes = layout!.levels[level];
    const scale = width / this.width;
    const end = from + this.width;
    let painted = -1;
    for (let i = Math.max(0, lastBefore(layout!, nodes, from)); i < nodes.length; i++) {
      const node = nodes[i];
      const begin = layout!.begin[node];
      if (begin >= end) break;
      const right = Math.min((begin + layout!.width[node] - from) * scale, width);
      const left = Math.max((begin - from) * scale, 0);
      if (right <= painted || right - left < LEAST) continue;
      painted = right;
      this.paintNode(context, node, left, y, right - left, colors, flame!);
    }
  }

  private paintNode(
    context: CanvasRenderingContext2D,
    node: number,
    x: number,
    y: number,
    wide: number,
    colors: Record<string, string>,
    flame: Flame,
  ): void {
    const name = flame.name[node];
    const above = this.layout!.depth[node] < this.layout!.depth[this.top]; // a caller of what is zoomed to
    const faded = (this.searching && !this.matches(name)) || (this.marking && !this.searching && !this.isMarked(name));
    const found = (this.searching && this.matches(name)) || (this.marking && this.isMarked(name));
    const base = flame.baseTotalNs?.[node];
    context.globalAlpha = above ? 0.55 : 1;
    context.fillStyle =
      node === 0 ? colors.pale : base !== undefined ? gradeColor(this.grade(node, base), colors) : colors[`flame-${this.colors[name]}`];
    if (faded && node) context.fillStyle = colors.pale;
    const gap = wide > 3 ? 1 : 0;
    context.fillRect(x, y + 1, Math.max(wide - gap, 0.5), ROW - 1);
    context.globalAlpha = 1;
    if (found && wide > 1) {
      context.strokeStyle = colors.accent;
      context.lineWidth = 2;
      context.strokeRect(x + 1, y + 2, Math.max(wide - gap - 2, 0.5), ROW - 3);
    }
    if (node === this.hovered || node === this.focus) {
      context.strokeStyle = colors.text;
      context.lineWidth = node === this.focus ? 2 : 1;
      context.strokeRect(x + 0.5, y + 1.5, Math.max(wide - gap - 1, 0.5), ROW - 2);
    }
    if (wide < NAMED) return;
    const took = base === undefined ? '' : change((flame.totalNs[node] - base * this.scale) / 1e9, duration);
    const letters = Math.floor((wide - 8) / this.letter);
    const text = this.names[name];
    const shown = took && letters > text.length + took.length + 2 ? `${text}  ${took}` : text;
    context.fillStyle = faded && node ? colors.dim : colors.text;
    context.fillText(shown.length > letters ? `${shown.slice(0, Math.max(1, letters - 1))}…` : shown, x + 4, y + ROW / 2 + 1, wide - 6);
  }

  private grade(node: number, base: number): number {
    const { flame, scale } = this;
    return gradeOf(flame!.totalNs[node], base, Math.max(flame!.totalNs[0], (flame!.baseTotalNs?.[0] ?? 0) * scale), scale);
  }
}

function gradeColor(grade: number, colors: Record<string, string>): string {
  return grade === 0 ? colors.pale : colors[`${grade > 0 ? 'slower' : 'faster'}-${Math.abs(grade)}`];
}

/** The node at the end of a path, -1 if there is none. */
function find(flame: Flame, layout: Layout, path: string[]): number {
  let node = layout.size ? 0 : -1;
  for (const name of path) {
    let next = -1;
    for (let i = layout.first[node]; i < layout.first[node + 1]; i++) {
      if (flame.names[flame.name[layout.order[i]]] === name) next = layout.order[i];
    }
    if (next < 0) return -1;
    node = next;
  }
  return node;
}
