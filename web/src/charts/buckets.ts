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

  /** The newest value, the highest of its bucket; null where there is none. */
  get last(): number | null {
    for (let i = this.high.length - 1; i >= 0; i--) if (this.high[i] !== null) return this.high[i];
    return null;
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

/** The low and high of *columns* at *time*: those of the point that holds there, as it lasts until the next one. */
export function valueAt(columns: Columns, time: number): [number, number] | null {
  const at = indexAt(columns.times, time);
  if (at < 0) return null;
  const [low, high] = [columns.low[at], columns.high[at]];
  return low === null || high === null ? null : [low, high];
}

/**
 * The high values of several series on one axis of moments until *until*: a value lasts until the next one.
 *
 * @returns the moments, then one column for each series.
 */
export function joined(all: readonly Columns[], until: number): [number[], ...(number | null)[][]] {
  const moments = [...new Set(all.flatMap((each) => each.times))].filter((each) => each <= until).sort((a, b) => a - b);
  if (moments.length && until > moments[moments.length - 1]) moments.push(until);
  const columns = all.map((each) => {
    let at = -1;
    return moments.map((moment) => {
      while (at + 1 < each.times.length && each.times[at + 1] <= moment) at++;
      return at < 0 ? null : each.high[at];
    });
  });
  return [moments, ...columns];
}
