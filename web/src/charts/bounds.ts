/** What the axis of values shows. */

const HEADROOM = 1.12;

/** The lowest and the highest value of the axis: 0, all values and all *limits* are on it. */
export function boundsOf(low: number | null, high: number | null, limits: readonly number[]): [number, number] {
  const all = [0, low ?? 0, high ?? 0, ...limits];
  const [least, most] = [Math.min(...all), Math.max(...all)];
  return [least * HEADROOM, (most || (least ? 0 : 1)) * HEADROOM];
}
