/**
 * What the page is told, over HTTP or embedded in a report: the contract between `otel_perf/view/` and the page.
 *
 * Moments are milliseconds since 1970 (fractions allowed), durations seconds, sizes bytes. Whatever is unknown is null. Names come
 * from the program that was measured: they may hold anything and are only ever set as text.
 *
 *     GET /api/runs                                        RunList
 *     GET /api/runs/RUN/PROCESS                            Overview
 *     GET /api/runs/RUN/PROCESS/start                      Waterfall (404: no start was recorded)
 *     GET /api/runs/RUN/PROCESS/series?from=&to=&points=   SeriesAnswer
 *     GET /api/runs/RUN/PROCESS/flame?from=&to=            Flame; &base_from=&base_to=[&base_run=&base_process=] for a difference;
 *                                                          ?trace=ID for one trace
 *     GET /api/runs/RUN/PROCESS/functions?from=&to=        FunctionsAnswer
 *     GET /api/runs/RUN/PROCESS/traces/ID                  Waterfall
 *     GET /api/runs/RUN/PROCESS/events                     server-sent events, see Push
 *
 * RUN may be `newest`, PROCESS `first`. An error is {"error": "what, and how to mend it"} with its HTTP status.
 */

import type { Report } from './report.ts';

export interface RunList {
  folder: string;
  /** The run that the command line names, null: the newest; and the process, null: the one that started first. */
  asked: string | null;
  askedProcess: string | null;
  runs: RunRow[];
}

export interface RunRow {
  name: string;
  service: string;
  version: string | null;
  began: number | null;
  /** Of the start. */
  startSeconds: number | null;
  verdict: "within" | "exceeded" | "unknown" | null;
  running: boolean;
  processes: ProcessRow[];
}

export interface ProcessRow {
  name: string;
  service: string;
  running: boolean;
}

/**
 * What `otel-perf report --json` writes (docs/report-schema.md), the same words and numbers; without `start.critical_path`
 * and `start.off_the_path`, which the waterfall has.
 */
export interface Overview {
  report: Report;
  /** The verdict of the report's first line. */
  verdict: string;
  running: boolean;
  /** Of the process's creation, and of its last record. */
  began: number | null;
  last: number | null;
  /** Bytes of the run that were read, and that there are: less while a large run is being read. */
  read: number;
  total: number;
  spans: number;
  /** Lines that could not be read. */
  damaged: number;
  /** Calls of the whole run by duration, the slowest first, at most 50. */
  slowest: SlowCall[];
  /** Why nothing is there to see in a panel, and how to mend that: keys `profile`, `metrics`, `start`. */
  empty: Record<string, string>;
}

export interface SlowCall {
  name: string;
  kind: string;
  began: number;
  seconds: number;
  traceId: string;
  spanId: string;
  error: string | null;
}

/** A start, or any trace: spans in pre-order. */
export interface Waterfall {
  traceId: string;
  began: number;
  seconds: number;
  /** Seconds that a start may take; null of any other trace. */
  limit: number | null;
  spans: WaterfallSpan[];
  /** Spans that were left out: the shortest. */
  folded: number;
  /** Of a trace in a large file: reading took too long, so there may be more of it. */
  partial?: boolean;
}

export interface WaterfallSpan {
  id: string;
  /** Index in the list, -1 of a root. */
  parent: number;
  depth: number;
  name: string;
  kind: "startup" | "phase" | "import" | "function" | "operation" | "span";
  /** Seconds after the beginning of the trace. */
  begin: number;
  seconds: number;
  self: number | null;
  /** Parts of it that lie on the critical path, [from, to] in seconds after the beginning. */
  critical: [number, number][];
  /** Seconds of it on the critical path: its parts may be joined, where they are many. */
  onPath: number;
  /** Why it took so long, in words. */
  why: string | null;
  file: string | null;
  line: number | null;
  error: string | null;
  marks: string[];
}

export interface SeriesAnswer {
  from: number;
  to: number;
  series: Series[];
  markers: Marker[];
}

/**
 * One metric: in each of at most `points` parts of the time its lowest and highest value, so that no peak is lost; null where
 * sampling stopped. What only ever grows comes as a rate, its unit ends in `/s`.
 */
export interface Series {
  /** OpenTelemetry name, with `{key=value}` where it has attributes. */
  name: string;
  label: string;
  unit: string;
  /** What a share is of. */
  of: string | null;
  /** `main` charts are always shown, `more` behind the toggle. */
  group: "main" | "more";
  times: number[];
  low: (number | null)[];
  high: (number | null)[];
  last: number | null;
  limits: { budget: string; limit: number; idle: boolean }[];
  trend: { perSecond: number; reaches: { budget: string; limit: number; inSeconds: number }[] } | null;
}

export interface Marker {
  time: number;
  kind: "alert" | "escalated" | "resolved" | "stall" | "ready";
  severity: "info" | "warning" | "critical";
  text: string;
  budget: string | null;
}

/**
 * A call tree. Columns of equal length, a row a node in pre-order; row 0 is the root, "all". A node is at least as wide as
 * what is in it: its own call may still go on, or its children ran side by side.
 */
export interface Flame {
  from: number | null;
  to: number | null;
  names: string[];
  /** Of each name the `name` of its FunctionRow, empty where there is none. */
  functions: string[];
  /** Index in `names`. */
  name: number[];
  parent: number[];
  totalNs: number[];
  selfNs: number[];
  calls: (number | null)[];
  /** Of a difference: the same in the baseline. */
  baseTotalNs?: number[];
  baseSelfNs?: number[];
  /** A name's module, for its colour. */
  modules: string[];
  /** Nodes that were left out of the record, as one. */
  overflow: boolean;
  /** Nodes that were left out of this answer: the lightest. */
  folded: number;
  /** Of a trace in a large file: reading took too long, so there may be more of it. */
  partial?: boolean;
}

export interface FunctionsAnswer {
  functions: FunctionRow[];
  hidden: number;
}

export interface FunctionRow {
  name: string;
  kind: "function" | "operation";
  calls: number;
  total: number;
  self: number | null;
  min: number | null;
  max: number | null;
  p50: number | null;
  p95: number | null;
  /** The percentiles are those of calls; else they are from the buckets of a histogram, as is max in a range. */
  exact: boolean;
  maxExact: boolean;
}

/**
 * Server-sent events; `id:` is the position, so that a browser that comes back is told only what it missed (after more
 * than ten minutes: ask for the series again). The first `samples` repeats the last ten seconds. A comment comes at least
 * every four seconds. The stream is of one process to its end: the one that the address names when it is asked for. `gone`
 * is the last event.
 *
 *     event: state      data: Overview without `report.start` once that is over (it does not change); at most once a second
 *     event: samples    data: Samples; once a second, raw 1 Hz points since the last
 *     event: progress   data: {"read": bytes, "total": bytes} while a large run is being read
 *     event: gone       data: {"error": …}; the run was removed
 */
export interface Samples {
  series: { name: string; times: number[]; values: number[] }[];
  markers: Marker[];
}
