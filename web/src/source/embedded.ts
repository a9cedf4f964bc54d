/** Data that lies in the page itself: `otel-perf report --html`. */

import type { Flame, FunctionsAnswer, Overview, RunList, SeriesAnswer, Waterfall } from '../api.ts';
import { SourceError, type Source } from './source.ts';

interface Embedded {
  list: RunList;
  overview: Overview;
  start: Waterfall | null;
  series: SeriesAnswer;
  flame: Flame;
  functions: FunctionsAnswer;
}

export class EmbeddedSource implements Source {
  readonly live = false;
  private readonly data: Embedded;

  constructor(text: string) {
    this.data = JSON.parse(text) as Embedded;
  }

  async list(): Promise<RunList> {
    return this.data.list;
  }

  async overview(): Promise<Overview> {
    return this.data.overview;
  }

  async start(): Promise<Waterfall | null> {
    return this.data.start;
  }

  async series(): Promise<SeriesAnswer> {
    return this.data.series;
  }

  async flame(): Promise<Flame> {
    return this.data.flame;
  }

  async functions(): Promise<FunctionsAnswer> {
    return this.data.functions;
  }

  async trace(_at: unknown, id: string): Promise<Waterfall> {
    if (this.data.start?.traceId === id) return this.data.start;
    throw new SourceError('this trace is not in the report; otel-perf view shows it', 404);
  }

  async traceFlame(): Promise<Flame> {
    throw new SourceError('a report holds no flame graph of a single trace; otel-perf view shows it', 404);
  }

  follow(): () => void {
    return () => {};
  }
}
