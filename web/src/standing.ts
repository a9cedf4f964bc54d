/** Where budgets stand now: what their metric was last, not what was written when they were judged last, which may be ten seconds ago. */

import type { Budget } from './report.ts';

/** A series as far as a budget asks for it. */
export interface Measured {
  name: string;
  unit: string;
  last: number | null;
  limits: readonly { budget: string; idle: boolean }[];
}

/**
 * The newest value of what a budget judges, the one that its chart ends with; null if nobody knows it.
 *
 * That of a budget for idling is what was judged, as its metric says nothing while the program works; so is a rate, a percentile
 * and a sum of several series, which are in no chart.
 */
export function present(budget: Budget, measured: readonly Measured[], startSeconds: number | null): number | null {
  if (budget.state === 'gone') return budget.value;
  if (budget.metric === 'otel_perf.startup.duration') return budget.value ?? startSeconds;
  const one = measured.find(({ limits }) => limits.some((each) => each.budget === budget.name)) ?? measured.find(({ name }) => name === budget.metric);
  const limit = one?.limits.find((each) => each.budget === budget.name);
  if (!one || limit?.idle || (!limit && isRate(one.unit, budget.unit))) return budget.value;
  return one.last ?? budget.value;
}

/** The unit in which values of a budget or an alert are written: a share in percent, what is judged as a rate per second. */
export function unitOf({ metric, unit, of }: { metric: string | null; unit: string | null; of?: string | null }): string | null {
  const base = unit === '1' && of ? '%' : unit;
  return metric?.startsWith('rate(') ? `${base ?? ''}/s` : base;
}

/** What stands before a value that is judged, as everywhere: `~` of a percentile, which is estimated from buckets. */
export function markOf(metric: string | null): string {
  return metric && /^p\d/.test(metric) && metric.endsWith(')') ? '~' : '';
}

/** Whether a series is told as growth per second (a share of the time is, too), where the budget judges what it grew to. */
function isRate(unit: string, judged: string | null): boolean {
  return unit.endsWith('/s') || (unit === '%' && judged !== '1' && judged !== '%');
}
