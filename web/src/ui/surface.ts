/** A canvas in a box that scrolls: as sharp as the screen, as large as the box, drawn on demand and at most once a frame. */

import { effect } from '@preact/signals';
import { wake } from './frames.ts';
import { painted } from './theme.ts';

export interface Painter {
  /** Draw what is seen of the content from *top* on, in CSS pixels. */
  (context: CanvasRenderingContext2D, width: number, height: number, top: number): void;
}

const PRINTED = 6000; // pixels that a printed picture is high at most
const PAPER = 1032; // pixels that it is wide: A4 across without its margins (css/print.css), at 96 to an inch

const surfaces = new Set<Surface>();
let printing = false;

export class Surface {
  readonly canvas: HTMLCanvasElement;
  readonly box: HTMLElement;
  private readonly spacer: HTMLElement;
  private readonly paint: Painter;
  private readonly stop: (() => void)[];
  private asked = 0;
  private content = 0;

  /** @param box a scrolling element that holds an element that holds the canvas. */
  constructor(box: HTMLElement, paint: Painter) {
    this.box = box;
    this.spacer = box.firstElementChild as HTMLElement;
    this.canvas = box.querySelector('canvas')!;
    this.paint = paint;
    const sizes = new ResizeObserver(() => this.invalidate());
    sizes.observe(box);
    const scrolled = (): void => {
      wake();
      this.invalidate();
    };
    box.addEventListener('scroll', scrolled, { passive: true });
    const colored = effect(() => {
      void painted.value;
      this.invalidate();
    });
    this.stop = [() => sizes.disconnect(), () => box.removeEventListener('scroll', scrolled), colored];
    surfaces.add(this);
  }

  destroy(): void {
    cancelAnimationFrame(this.asked);
    this.stop.forEach((each) => each());
    surfaces.delete(this);
  }

  /** Say how high the whole picture is. */
  setContent(height: number): void {
    if (height === this.content) return;
    this.content = height;
    this.spacer.style.height = `${height}px`;
    this.invalidate();
  }

  invalidate(): void {
    if (!this.asked) this.asked = requestAnimationFrame(() => this.draw());
  }

  /** Scroll so that the part from *top* to *bottom* is seen, below *covered* pixels. */
  reveal(top: number, bottom: number, covered = 0): void {
    const { box } = this;
    if (top < box.scrollTop + covered) box.scrollTop = top - covered;
    else if (bottom > box.scrollTop + box.clientHeight) box.scrollTop = bottom - box.clientHeight;
  }

  /** Where the pointer is in the picture. */
  locate(event: MouseEvent): { x: number; y: number } {
    const rect = this.canvas.getBoundingClientRect();
    return { x: event.clientX - rect.left, y: event.clientY - rect.top + (printing ? 0 : this.box.scrollTop) };
  }

  draw(): void {
    cancelAnimationFrame(this.asked);
    this.asked = 0;
    const { box, canvas } = this;
    const width = printing ? PAPER : box.clientWidth; // on other paper it is scaled
    const height = printing ? Math.min(this.content, PRINTED) : box.clientHeight;
    if (!width || !height) return;
    const ratio = printing ? 2 : devicePixelRatio || 1;
    const [w, h] = [Math.round(width * ratio), Math.round(height * ratio)];
    if (canvas.width !== w || canvas.height !== h) {
      canvas.width = w;
      canvas.height = h;
      canvas.style.width = printing ? '100%' : `${width}px`;
      canvas.style.height = printing ? 'auto' : `${height}px`;
    }
    const context = canvas.getContext('2d', { alpha: true })!;
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.clearRect(0, 0, width, height);
    this.paint(context, width, height, printing ? 0 : box.scrollTop);
  }
}

/** Draw every picture whole, for paper, or as much as the screen shows. */
export function printAll(on: boolean): void {
  printing = on;
  for (const each of surfaces) {
    each.canvas.width = 0; // sizes are taken anew
    each.draw();
  }
}
