/** The report as the page reads it: keys of docs/report-schema.md. */

export interface Report {
  schema: string;
  run: string;
  process: string;
  other_processes: string[];
  service: { name: string; version: string | null };
  python: string | null;
  platform: {
    os: string | null;
    architecture: string | null;
    cpus: number | null;
    usable_cpus: number | null;
    container_cpus: number | null;
    memory_bytes: number | null;
    container_memory_bytes: number | null;
  };
  start?: Start | null;
  findings: { kind: string; severity: 'error' | 'warning'; message: string }[];
  ended: Ended | null;
  score: {
    points: number | null;
    lowest_points: number | null;
    judged: number;
    unknown: number;
    reasons: { budget: string; points: number | null; text: string }[];
  };
  budgets: Budget[];
  alerts: Alert[];
  alerts_before: number;
  metrics: Metric[];
  cost: { init_seconds: number | null; cpu_seconds: number | null; memory_bytes: number | null; dropped_records: number | null };
}

export interface Start {
  began: string | null;
  complete: boolean;
  seconds: number;
  budget: { state: string; limit_seconds: number; why_unknown: string | null; last_known: string[] };
  ready: { rule: string | null; inferred: boolean; asked_for: string | null };
  usable_seconds: number | null;
  cold: { causes: string[]; compiled_modules: number | null; page_faults: number | null; disk_read_bytes: number | null };
  cpu_seconds: number | null;
  phases: Phase[];
  bottlenecks: {
    name: string;
    kind: string;
    seconds: number;
    share: number;
    why: string | null;
    file: string | null;
    line: number | null;
  }[];
  recommendations: { text: string; saving_seconds: number; reason: string; file: string | null; line: number | null }[];
}

export interface Phase {
  name: string;
  inside: string | null;
  began_seconds: number;
  seconds: number;
}

export interface Ended {
  state: 'exit' | 'exception' | 'signal' | 'shutdown' | 'silent' | 'running';
  exit_code: number | null;
  signal: string | null;
  exception: string | null;
  message: string | null;
  core: boolean;
  out_of_memory: boolean;
  phase: string | null;
  import: string | null;
  file: string | null;
  line: number | null;
  last_record_seconds: number | null;
  unfinished: { path: string[]; kind: string; began: string | null; file: string | null; line: number | null }[];
}

export interface Budget {
  name: string;
  metric: string | null;
  unit: string | null;
  of: string | null;
  state: 'ok' | 'pending' | 'exceeded' | 'unknown' | 'gone';
  value: number | null;
  limit: number;
  was_exceeded: boolean;
}

export interface Alert {
  budget: string;
  metric: string | null;
  unit: string | null;
  severity: 'info' | 'warning' | 'critical';
  escalated: number;
  since: string | null;
  seconds: number;
  ended: string | null;
  end: 'resolved' | 'open' | 'not resolved' | 'gone';
  value: number | null;
  peak: number | null;
  limit: number | null;
  running: string | null;
  trace_id: string | null;
  text: string | null;
}

export interface Metric {
  name: string;
  unit: string | null;
  of: string | null;
  last: number;
  slope_per_second: number | null;
  reaches: { budget: string; limit: number; in_seconds: number; plus_minus_seconds: number }[];
}

/** How the process ended, in words. */
export function endOf(ended: Ended | null): string {
  if (!ended) return 'how it ended is not recorded';
  switch (ended.state) {
    case 'running':
      return 'running';
    case 'exit':
      return ended.exit_code === null ? 'exited' : `exited with code ${ended.exit_code}`;
    case 'exception':
      return `ended by ${ended.exception ?? 'an exception'}${ended.message ? `: ${ended.message}` : ''}`;
    case 'signal':
      return `ended by ${ended.signal ?? 'a signal'}${ended.out_of_memory ? ', out of memory' : ''}${ended.core ? ', core dumped' : ''}`;
    case 'shutdown':
      return 'recording ended by shutdown()';
    case 'silent':
      return 'ended without a word: killed, or a crash';
  }
}
