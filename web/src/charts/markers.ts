/** Moments that charts mark: in the order in which they happened, and which of them have room for a sign. */

import type { Marker } from '../api.ts';
import { parsed } from '../format.ts';
import type { Alert } from '../report.ts';

const MOST = 1000;
const SAME = 1500; // ms between an alert and its marker

/** Markers with others that came later: by time, however they were read, each once, the newest that there is room for. */
export function merged(before: readonly Marker[], more: readonly Marker[]): Marker[] {
  const found = new Map<string, Marker>();
  for (const each of [...before, ...more]) found.set(JSON.stringify([each.time, each.kind, each.budget, each.text]), each);
  return [...found.values()].sort((a, b) => a.time - b.time).slice(-MOST);
}

/** Whether a marker says that something is wrong. */
export function isBad(marker: Marker): boolean {
  return marker.kind === 'alert' || marker.kind === 'escalated' || marker.kind === 'stall';
}

/**
 * Which markers, from left to right, have a sign: those that do not overlap the one before them. What is wrong goes before what
 * is well.
 *
 * @param places where each is, in pixels.
 * @param apart pixels between two signs.
 */
export function signed(markers: readonly Marker[], places: readonly number[], apart: number): boolean[] {
  const found = markers.map(() => false);
  const taken: number[] = []; // by what is wrong
  markers.forEach((marker, i) => {
    if (!isBad(marker) || (taken.length && places[i] - taken[taken.length - 1] < apart)) return;
    found[i] = true;
    taken.push(places[i]);
  });
  let [last, next] = [-Infinity, 0];
  markers.forEach((marker, i) => {
    if (isBad(marker)) return;
    while (next < taken.length && taken[next] <= places[i]) last = Math.max(last, taken[next++]);
    if (places[i] - last < apart || (next < taken.length && taken[next] - places[i] < apart)) return;
    found[i] = true;
    last = places[i];
  });
  return found;
}

/** Beginnings and ends of *alerts*, after *from*, that no marker tells: they were read later than a sample that came after them. */
export function untold(markers: readonly Marker[], alerts: readonly Alert[], from: number): number[] {
  const found: number[] = [];
  for (const { budget, since, ended } of alerts) {
    for (const [moment, kind] of [[parsed(since), 'alert'], [parsed(ended), 'resolved']] as const) {
      if (moment === null || moment <= from) continue;
      const told = markers.some((each) => each.budget === budget && each.kind === kind && Math.abs(each.time - moment) < SAME);
      if (!told) found.push(moment);
    }
  }
  return found;
}
