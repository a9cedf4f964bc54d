/** Data from `otel-perf view`, and news of it by server-sent events. */

import type { Flame, FunctionsAnswer, Overview, RunList, Samples, SeriesAnswer, Waterfall } from '../api.ts';
import { SourceError, type Baseline, type Listener, type Place, type Range, type Source } from './source.ts';

const AGAIN = 2000; // ms between two attempts to find the server

async function get<T>(path: string, abort?: AbortSignal): Promise<T> {
  let answer: Response;
  try {
    answer = await fetch(path, { signal: abort ?? null, headers: { Accept: 'application/json' } });
  } catch (error) {
    if (error instanceof DOMException && error.name === 'AbortError') throw error;
    throw new SourceError('otel-perf view does not answer: was it stopped?', 0);
  }
  const body: unknown = await answer.json().catch(() => null);
  if (answer.ok && body !== null) return body as T;
  const says = (body as { error?: unknown } | null)?.error;
  throw new SourceError(typeof says === 'string' ? says : `the server answered ${answer.status}`, answer.status);
}

function at(place: Place, ...rest: string[]): string {
  return ['/api/runs', ...[place.run, place.process, ...rest].map(encodeURIComponent)].join('/');
}

function query(pairs: Record<string, string | number | null | undefined>): string {
  const search = new URLSearchParams();
  for (const [key, value] of Object.entries(pairs)) if (value !== null && value !== undefined) search.set(key, String(value));
  const text = search.toString();
  return text && `?${text}`;
}

function isSeen(): boolean {
  return document.visibilityState === 'visible';
}

export class HttpSource implements Source {
  readonly live = true;

  list(): Promise<RunList> {
    return get('/api/runs');
  }

  overview(place: Place, abort: AbortSignal): Promise<Overview> {
    return get(at(place), abort);
  }

  async start(place: Place, abort: AbortSignal): Promise<Waterfall | null> {
    try {
      return await get<Waterfall>(at(place, 'start'), abort);
    } catch (error) {
      if (error instanceof SourceError && error.status === 404) return null;
      throw error;
    }
  }

  series(place: Place, range: Range | null, points: number, abort: AbortSignal): Promise<SeriesAnswer> {
    return get(at(place, 'series') + query({ ...range, points }), abort);
  }

  flame(place: Place, range: Range | null, base: Baseline | null, abort: AbortSignal): Promise<Flame> {
    const asked = {
      ...range,
      base_from: base?.range?.from,
      base_to: base?.range?.to,
      base_run: base?.place?.run,
      base_process: base?.place?.process,
    };
    return get(at(place, 'flame') + query(asked), abort);
  }

  functions(place: Place, range: Range | null, abort: AbortSignal): Promise<FunctionsAnswer> {
    return get(at(place, 'functions') + query({ ...range }), abort);
  }

  trace(place: Place, id: string, abort: AbortSignal): Promise<Waterfall> {
    return get(at(place, 'traces', id), abort);
  }

  traceFlame(place: Place, id: string, abort: AbortSignal): Promise<Flame> {
    return get(at(place, 'flame') + query({ trace: id }), abort);
  }

  follow(place: Place, listener: Listener): () => void {
    let events: EventSource | null = null;
    let timer = 0;
    let over = false;
    let stood = false;

    const open = (): void => {
      events = new EventSource(at(place, 'events'));
      const on = <T>(name: string, tell: (data: T) => void): void =>
        events!.addEventListener(name, (event) => tell(JSON.parse((event as MessageEvent<string>).data) as T));
      events.addEventListener('open', () => {
        listener.connected(true, null, stood);
        stood = true;
      });
      events.addEventListener('error', () => {
        if (over) return;
        listener.connected(false, null, stood);
        if (events?.readyState === EventSource.CLOSED) retry(); // an answer that is none: the browser does not come back
      });
      on<Overview>('state', (overview) => listener.state(overview));
      on<Samples>('samples', (samples) => listener.samples(samples));
      on<{ read: number; total: number }>('progress', ({ read, total }) => listener.progress(read, total));
      on<{ error: string }>('gone', ({ error }) => {
        close();
        listener.gone(error);
      });
    };

    const retry = (): void => {
      events?.close();
      clearTimeout(timer);
      timer = window.setTimeout(() => {
        get<Overview>(at(place)).then(
          () => !over && isSeen() && open(),
          (error: unknown) => {
            if (over || !isSeen()) return;
            listener.connected(false, error instanceof SourceError && error.status ? error.message : null, stood);
            retry();
          },
        );
      }, AGAIN);
    };

    // a browser has six connections to a server for all its pages: one that nobody sees keeps none
    const turned = (): void => {
      clearTimeout(timer);
      events?.close();
      if (isSeen()) open();
    };

    const close = (): void => {
      over = true;
      clearTimeout(timer);
      events?.close();
      document.removeEventListener('visibilitychange', turned);
    };

    document.addEventListener('visibilitychange', turned);
    if (isSeen()) open();
    return close;
  }
}
