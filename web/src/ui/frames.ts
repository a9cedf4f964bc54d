/**
 * The page's own budget: 30 frames a second. Counts frames as long as something goes on, and never otherwise: a page that
 * rests costs nothing.
 */

import { signal } from '@preact/signals';

export const LIMIT = 1000 / 30 + 1; // ms of a frame: 34
const KEPT = 600; // frames, ten seconds of 60
const AWAKE = 1500; // ms after the last thing that happened

export interface Pace {
  /** Frames a second, and the time of a frame that 95 of 100 stay below, in ms. */
  fps: number;
  p95: number;
  frames: number;
}

export const pace = signal<Pace | null>(null);

const times = new Float64Array(KEPT);
let kept = 0;
let next = 0;
let until = 0;
let last = 0;
let told = 0;
let asked = 0;

/** Say that something happens now. */
export function wake(): void {
  until = performance.now() + AWAKE;
  if (!asked && document.visibilityState === 'visible') {
    last = 0;
    asked = requestAnimationFrame(frame);
  }
}

function frame(now: number): void {
  asked = 0;
  if (document.visibilityState !== 'visible') return;
  if (last) {
    times[next] = now - last;
    next = (next + 1) % KEPT;
    kept = Math.min(kept + 1, KEPT);
  }
  last = now;
  if (now - told >= 1000 && kept >= 20) {
    told = now;
    pace.value = judged();
  }
  if (now < until) asked = requestAnimationFrame(frame);
}

/** What the frames of the last ten seconds of work took. */
export function judged(): Pace {
  const sorted = times.slice(0, kept).sort();
  const sum = sorted.reduce((total, each) => total + each, 0);
  return { fps: kept ? (1000 * kept) / sum : 0, p95: sorted[Math.min(kept - 1, Math.floor(kept * 0.95))] ?? 0, frames: kept };
}
