/**
 * Numbers and moments as people read them; the same words as the report's (`otel_perf/amounts.py`):
 * tests/unit/amounts.json holds both to them.
 *
 * Durations are seconds, moments milliseconds since 1970.
 */

const NONE = '–';
const COUNTED = ['', 'k', 'M', 'G', 'T', 'P', 'E'];
const TINY = 1e-6; // below which a number is only told to be less

/** At most three significant digits of a value from 0 to 1000, and no needless zero. */
export function three(value: number): string {
  const digits = value < 9.995 ? 2 : value < 99.95 ? 1 : 0;
  const text = value.toFixed(digits);
  return digits ? text.replace(/\.?0+$/, '') : text;
}

function scaled(value: number, units: readonly string[], step = 1000): string {
  for (const unit of units.slice(0, -1)) {
    if (value < step * 0.9995) return `${three(value)} ${unit}`.trim(); // what rounds to 1000 is 1 of the next
    value /= step;
  }
  return `${three(value)} ${units[units.length - 1]}`;
}

/** `412 ms`, `1.93 s`, `2 min 4 s`, `3 h 5 min`. */
export function duration(seconds: number | null | undefined): string {
  if (seconds === null || seconds === undefined || !Number.isFinite(seconds)) return NONE;
  if (seconds < 0) return `−${duration(-seconds)}`;
  if (seconds < 59.95) return seconds < 0.5e-9 ? '0 ms' : scaled(seconds * 1e9, ['ns', 'µs', 'ms', 's']);
  const whole = Math.round(seconds);
  const [first, second, size] = whole < 3600 ? ['min', 's', 60] : whole < 360_000 ? ['h', 'min', 3600] : ['d', 'h', 86_400];
  const many = Math.floor(whole / size);
  const rest = size === 60 ? whole % size : Math.floor((whole % size) / (size === 3600 ? 60 : 3600));
  return rest ? `${many} ${first} ${rest} ${second}` : `${many} ${first}`;
}

/** A number of things: exact below 1000, else `12.3 k`. */
export function count(number: number | null | undefined): string {
  if (number === null || number === undefined || !Number.isFinite(number)) return NONE;
  const size = Math.abs(number);
  return (number <= -1 ? '−' : '') + (size < 1000 ? String(Math.trunc(size)) : scaled(size, COUNTED));
}

/** Bytes as `2.3 MB` (10⁶). */
export function bytes(number: number | null | undefined): string {
  if (number === null || number === undefined || !Number.isFinite(number)) return NONE;
  return (number < 0 ? '−' : '') + scaled(Math.abs(number), ['B', 'kB', 'MB', 'GB', 'TB', 'PB', 'EB']);
}

/** `1 run`, `2 runs`. */
export function plural(number: number, noun: string): string {
  return `${count(number)} ${noun}${number === 1 ? '' : 's'}`;
}

/** A number of any size with at most three significant digits, never in powers of ten. */
export function short(value: number): string {
  const size = Math.abs(value);
  const sign = value < 0 ? '−' : '';
  if (size >= 999.5) return sign + scaled(size, COUNTED);
  if (size > 0 && size < TINY) return value < 0 ? '>−0.000001' : '<0.000001';
  return sign + String(Number(size.toPrecision(3)));
}

/**
 * A value of a metric with its unit.
 *
 * @param unit as OpenTelemetry writes it; `%` for a share that is meant in percent; `…/s` for a rate.
 */
export function amount(value: number | null | undefined, unit: string | null | undefined): string {
  if (value === null || value === undefined || !Number.isFinite(value)) return NONE;
  const rate = unit?.endsWith('/s') ?? false;
  const base = rate ? unit!.slice(0, -2) : (unit ?? '');
  const per = rate ? '/s' : '';
  if (base === 's') return rate ? `${duration(value)} per s` : duration(value);
  if (base === 'By') return bytes(value) + per;
  const number = short(base === '%' ? value * 100 : value);
  let noun = base === '1' ? '' : base === '{cpu}' ? 'core' : base.replace(/[{}]/g, '').replaceAll('_', ' ');
  if (base.startsWith('{') && number !== '1') noun = pluralOf(noun);
  return `${number} ${noun}`.trimEnd() + per;
}

function pluralOf(noun: string): string {
  if (/[^s]s$/.test(noun)) return noun; // it is one already
  if (/[^aeiou]y$/.test(noun)) return `${noun.slice(0, -1)}ies`;
  return noun + (/(ss|x|ch|sh)$/.test(noun) ? 'es' : 's');
}

/** The same without the name of what is counted, for a table or an axis that says it elsewhere. */
export function bare(value: number | null | undefined, unit: string | null | undefined): string {
  if (value === null || value === undefined || !Number.isFinite(value)) return NONE;
  const base = unit?.replace(/\/s$/, '') ?? '';
  if (base === 's' || base === 'By' || base === '%') return amount(value, base);
  return short(value);
}

/** A share of something; the caller says of what. */
export function percent(share: number | null | undefined): string {
  if (share === null || share === undefined || !Number.isFinite(share)) return NONE;
  return `${short(share * 100)} %`;
}

/** A change: `+12 ms`, `−3.4 ms`, `±0`. */
export function change(difference: number, say: (value: number) => string): string {
  if (difference === 0) return '±0';
  return difference > 0 ? `+${say(difference)}` : `−${say(-difference)}`;
}

const two = (number: number): string => String(number).padStart(2, '0');

/** Local time of day, `14:02:11`; with tenths if they matter. */
export function clock(moment: number | null | undefined, tenths = false): string {
  if (moment === null || moment === undefined) return NONE;
  const at = new Date(moment);
  if (Number.isNaN(at.getTime())) return NONE;
  const text = `${two(at.getHours())}:${two(at.getMinutes())}:${two(at.getSeconds())}`;
  return tenths ? `${text}.${Math.floor(at.getMilliseconds() / 100)}` : text;
}

/** Local day and time of day, `2026-11-28 14:02:11`; the day only where it is another than that of *beside*. */
export function moment(at: number | null | undefined, beside?: number): string {
  if (at === null || at === undefined) return NONE;
  const date = new Date(at);
  if (Number.isNaN(date.getTime())) return NONE;
  const day = `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())}`;
  return beside !== undefined && new Date(beside).toDateString() === date.toDateString() ? clock(at) : `${day} ${clock(at)}`;
}

/** All of a moment, with its zone: for a title. */
export function zoned(at: number | null | undefined): string {
  if (at === null || at === undefined || Number.isNaN(new Date(at).getTime())) return '';
  const date = new Date(at);
  const offset = -date.getTimezoneOffset();
  const sign = offset < 0 ? '−' : '+';
  const zone = `UTC${sign}${two(Math.floor(Math.abs(offset) / 60))}:${two(Math.abs(offset) % 60)}`;
  return `${moment(at)}.${String(date.getMilliseconds()).padStart(3, '0')} ${zone}`;
}

/** Milliseconds since 1970 of an ISO 8601 text, null of anything else. */
export function parsed(text: string | null | undefined): number | null {
  const at = text ? Date.parse(text) : NaN;
  return Number.isNaN(at) ? null : at;
}

/** Where something stands: `plugins/checksums.py:46`, the last parts of the path that fit into *most* characters. */
export function place(file: string | null, line: number | null, most = 48): string {
  if (!file) return '';
  const parts = file.split(/[\\/]/).filter(Boolean);
  let text = parts.pop() ?? file;
  while (parts.length && text.length + parts[parts.length - 1].length + 1 <= most) text = `${parts.pop()}/${text}`;
  return line ? `${text}:${line}` : text;
}

/** Text as one line in which nothing hides: control and direction characters are written out. */
export function visible(text: string): string {
  const plain = text.replace(/\s+/g, ' ').trim();
  return plain.replace(/[\p{Cc}\p{Cf}\p{Co}\p{Cs}\p{Zl}\p{Zp}]/gu, (each) => `\\u{${each.codePointAt(0)!.toString(16)}}`) || '(no name)';
}

/** *text* in at most *most* characters, its middle left out. */
export function cut(text: string, most: number): string {
  if (text.length <= most) return text;
  if (most < 4) return text.slice(0, Math.max(0, most));
  const tail = Math.floor((most - 1) / 2);
  return `${text.slice(0, most - 1 - tail)}…${text.slice(text.length - tail)}`;
}
