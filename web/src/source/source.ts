/** Where the page's data comes from: a server that reads the run folder, or the report file that the page is in. */

import type { Flame, FunctionsAnswer, Overview, RunList, Samples, SeriesAnswer, Waterfall } from '../api.ts';

export interface Place {
  run: string;
  process: string;
}

/** A part of the time, in milliseconds since 1970. */
export interface Range {
  from: number;
  to: number;
}

export interface Baseline {
  range: Range | null;
  /** Another run; null is the one that is shown. */
  place: Place | null;
}

export interface Listener {
  state(overview: Overview): void;
  samples(samples: Samples): void;
  progress(read: number, total: number): void;
  gone(error: string): void;
  /** The connection stands, perhaps *again*, or it does not; *says* is what the server says of it, if it says anything. */
  connected(stands: boolean, says: string | null, again: boolean): void;
}

export interface Source {
  /** There is a server: other runs, news, any range of the time, any trace. */
  readonly live: boolean;
  list(): Promise<RunList>;
  overview(at: Place, abort: AbortSignal): Promise<Overview>;
  /** Null where no start was recorded. */
  start(at: Place, abort: AbortSignal): Promise<Waterfall | null>;
  series(at: Place, range: Range | null, points: number, abort: AbortSignal): Promise<SeriesAnswer>;
  flame(at: Place, range: Range | null, base: Baseline | null, abort: AbortSignal): Promise<Flame>;
  functions(at: Place, range: Range | null, abort: AbortSignal): Promise<FunctionsAnswer>;
  trace(at: Place, id: string, abort: AbortSignal): Promise<Waterfall>;
  traceFlame(at: Place, id: string, abort: AbortSignal): Promise<Flame>;
  /** Tell *listener* what is new, until the function that is returned is called. */
  follow(at: Place, listener: Listener): () => void;
}

/** What the server says went wrong, and how to mend it. */
export class SourceError extends Error {
  readonly status: number;

  constructor(message: string, status: number) {
    super(message);
    this.status = status;
  }
}
