/**
 * The past of one series in at most 300 points, of each the lowest and the highest value: no peak is lost, nothing is averaged.
 *
 * Buckets lie on a grid that is fixed in time and only ever doubles, so that a chart that grows does not flicker.
 */

export const MOST = 300;

export interface Columns {
  times: number[];
  low: (number | null)[];
  high: (number | null)[];
}

export class Buckets implements Columns {
  readonly times: number[] = [];
  readonly low: (number | null)[] = [];
  readonly high: (number | null)[] = [];
  /** Milliseconds of a bucket; 0 as long as each point stands for itself. */
  width = 0;
  private readonly most: number;

  constructor(most = MOST) {
    this.most = most;
  }

  get length(): number {
    return this.times.length;
  }

  /** Add a point later than all others; null says that there is none here. What is not later is left out. */
  add(time: number, low: number | null, high: number | null = low): void {
    const end = this.times.length - 1;
    if (end >= 0 && time <= this.times[end]) {
      if (time < this.times[end]) return;
      this.join(end, low, high);
      return;
    }
    if (end >= 0 && this.width && this.cell(time) === this.cell(this.times[end])) {
      this.join(end, low, high);
      return;
    }
    this.times.push(time);
    this.low.push(low);
    this.high.push(high);
    if (this.times.length > this.most) this.widen();
  }

  /** Forget what is before *from*, all but one point, from which a line comes in at the left. */
  trim(from: number): void {
    let first = 0;
    while (first + 1 < this.times.length && this.times[first + 1] < from) first++;
    if (!first) return;
    this.times.splice(0, first);
    this.low.splice(0, first);
    this.high.splice(0, first);
  }

  private cell(time: number): number {
    return Math.floor(time / this.width);
  }

  private join(at: number, low: number | null, high: number | null): void {
    if (low === null || high === null) return;
    const [lowest, highest] = [this.low[at], this.high[at]];
    this.low[at] = lowest === null ? low : Math.min(lowest, low);
    this.high[at] = highest === null ? high : Math.max(highest, high);
  }

  private widen(): void {
    const span = this.times[this.times.length - 1] - this.times[0];
    while (this.times.length > this.most) {
      this.width = this.width ? this.width * 2 : 2 ** Math.ceil(Math.log2(Math.max(1, span / this.most)));
      let end = 0;
      for (let i = 1; i < this.times.length; i++) {
        if (this.cell(this.times[i]) === this.cell(this.times[end])) {
          this.join(end, this.low[i], this.high[i]);
        } else {
          end++;
          this.times[end] = this.times[i];
          this.low[end] = this.low[i];
          this.high[end] = this.high[i];
        }
      }
      this.times.length = this.low.length = this.high.length = end + 1;
    }
  }
}

/** Index of the last point at or before *time*, -1 before the first. */
export function indexAt(times: ArrayLike<number>, time: number): number {
  let below = -1;
  let above = times.length;
  while (above - below > 1) {
    const middle = (below + above) >> 1;
    if (times[middle] <= time) below = middle;
    else above = middle;
  }
  return below;
}

/**
 * Several series on one axis of moments until *until*: a value lasts until the next one. Of a bucket the first half is its lowest
 * value and the second its highest: neither a dip nor a peak is lost.
 *
 * @param last the newest value of each series, with which the lines end; null: the one before lasts.
 * @returns the moments, then one column for each series.
 */
export function joined(all: readonly Columns[], until: number, last: readonly (number | null)[] | null = null): [number[], ...(number | null)[][]] {
  const lines = all.map((each) => steps(each, until));
  const moments = [...new Set(lines.flatMap((each) => each.times))].sort((a, b) => a - b);
  if (moments.length && until > moments[moments.length - 1]) moments.push(until);
  const columns = lines.map((line, i) => {
    let at = -1;
    const found = moments.map((moment) => {
      while (at + 1 < line.times.length && line.times[at + 1] <= moment) at++;
      return at < 0 ? null : line.values[at];
    });
    if (last && found.length && found[found.length - 1] !== null) found[found.length - 1] = last[i];
    return found;
  });
  return [moments, ...columns];
}

/** A series as steps: one value at each moment, two moments for a bucket whose values differ. */
function steps({ times, low, high }: Columns, until: number): { times: number[]; values: (number | null)[] } {
  const found = { times: [] as number[], values: [] as (number | null)[] };
  times.forEach((time, i) => {
    if (time > until) return;
    found.times.push(time);
    found.values.push(low[i]);
    if (low[i] === high[i]) return;
    found.times.push((time + Math.max(time, Math.min(times[i + 1] ?? until, until))) / 2);
    found.values.push(high[i]);
  });
  return found;
}
