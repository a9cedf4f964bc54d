/** Something that is fetched, perhaps again and again: what it was last, whether it is on its way, what went wrong. */

import { signal } from '@preact/signals';

export class Resource<T> {
  readonly value = signal<T | null>(null);
  readonly error = signal<string | null>(null);
  readonly busy = signal(false);
  /** Milliseconds that the last answer took, and when it came. */
  took = 0;
  came = -Infinity;
  private running: AbortController | null = null;

  /** Fetch; what was on its way is given up. The old value stays until the new one is there. */
  async load(fetch: (abort: AbortSignal) => Promise<T>): Promise<void> {
    this.running?.abort();
    const mine = (this.running = new AbortController());
    this.busy.value = true;
    const began = performance.now();
    try {
      const value = await fetch(mine.signal);
      if (mine.signal.aborted) return;
      this.error.value = null;
      this.value.value = value;
    } catch (error) {
      if (mine.signal.aborted) return;
      this.error.value = error instanceof Error ? error.message : String(error);
    }
    this.came = performance.now();
    this.took = this.came - began;
    this.busy.value = false;
  }

  /** Forget everything. */
  clear(): void {
    this.running?.abort();
    this.running = null;
    this.value.value = this.error.value = null;
    this.busy.value = false;
    this.came = -Infinity;
  }
}
