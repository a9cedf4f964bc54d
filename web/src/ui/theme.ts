/** Light and dark: the system's choice until the person makes one; and the page's colours, for what is drawn on a canvas. */

import { effect, signal } from '@preact/signals';

export type Theme = 'system' | 'light' | 'dark';

const KEY = 'otel-perf-theme';
const NAMES = [
  'bg', 'panel', 'line', 'grid', 'text', 'dim', 'accent', 'accent-soft', 'warning', 'warning-soft', 'critical', 'critical-soft',
  'pale', 'pale-strong', 'band', 'shadow', 'on-accent', 'slower-1', 'slower-2', 'slower-3', 'faster-1', 'faster-2', 'faster-3',
  ...Array.from({ length: 12 }, (_, i) => `flame-${i}`),
] as const; // prettier-ignore

export type Colors = Record<string, string>;

export const theme = signal<Theme>('system');
/** Counts up when colours have changed, so that what draws with them draws again. */
export const painted = signal(0);

const dark = matchMedia('(prefers-color-scheme: dark)');
const calm = matchMedia('(prefers-reduced-motion: reduce)');
let colors: Colors | null = null;
let printing = false;

/** Whether nothing should move by itself. */
export function isCalm(): boolean {
  return calm.matches;
}

/** Colours by the name of their variable in the style sheet. */
export function palette(): Colors {
  if (colors) return colors;
  const probe = document.createElement('i');
  probe.hidden = true;
  document.body.append(probe);
  colors = {};
  for (const name of NAMES) {
    probe.style.color = `var(--${name})`; // computed, as a variable itself is not: light-dark() is resolved
    colors[name] = getComputedStyle(probe).color;
  }
  probe.remove();
  return colors;
}

function changed(): void {
  colors = null;
  painted.value = painted.peek() + 1; // not read here: apply() runs as an effect
}

/** Draw in light colours as long as the page is printed. */
export function print(on: boolean): void {
  printing = on;
  apply();
}

function apply(): void {
  const root = document.documentElement;
  const chosen = printing ? 'light' : theme.value;
  if (chosen === 'system') delete root.dataset.theme;
  else root.dataset.theme = chosen;
  changed();
}

/** Whether dark colours are shown now. */
export function isDark(): boolean {
  return theme.value === 'system' ? dark.matches : theme.value === 'dark';
}

export function toggleTheme(): void {
  theme.value = isDark() ? 'light' : 'dark';
  try {
    localStorage.setItem(KEY, theme.value);
  } catch {
    // a page from disk may not keep anything
  }
}

export function startTheme(): void {
  try {
    const kept = localStorage.getItem(KEY);
    if (kept === 'light' || kept === 'dark') theme.value = kept;
  } catch {
    // as above
  }
  dark.addEventListener('change', changed);
  effect(apply);
}
