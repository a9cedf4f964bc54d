/** The box beside the pointer that says what is under it; pictures have the same in words for those who do not see it. */

import { signal } from '@preact/signals';
import type { ComponentChildren } from 'preact';
import { useLayoutEffect, useRef } from 'preact/hooks';

const AWAY = 14; // pixels from the pointer

export const tip = signal<{ x: number; y: number; content: ComponentChildren } | null>(null);

export function Tip() {
  const box = useRef<HTMLDivElement>(null);
  const now = tip.value;
  useLayoutEffect(() => {
    if (!now || !box.current) return;
    const { offsetWidth: width, offsetHeight: height, style } = box.current;
    const left = now.x + AWAY + width > innerWidth - 8 ? Math.max(8, now.x - AWAY - width) : now.x + AWAY;
    const top = now.y + AWAY + height > innerHeight - 8 ? Math.max(8, now.y - AWAY - height) : now.y + AWAY;
    style.transform = `translate(${Math.round(left)}px, ${Math.round(top)}px)`;
  });
  if (!now) return null;
  return (
    <div class="tip" ref={box} aria-hidden="true">
      {now.content}
    </div>
  );
}
