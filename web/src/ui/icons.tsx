/** Signs that say the same as the colour beside them. */

const PATHS = {
  ok: 'M3 8.5l3.2 3.2L13 4.8',
  warning: 'M8 2.5L14.2 13.5H1.8zM8 6.5v3.2M8 11.6v.2',
  critical: 'M5.2 2h5.6L14 5.2v5.6L10.8 14H5.2L2 10.8V5.2zM8 5v3.6M8 10.8v.2',
  info: 'M8 2a6 6 0 100 12A6 6 0 008 2zM8 7.2V11M8 5v.2',
  pending: 'M8 2a6 6 0 100 12A6 6 0 008 2zM8 4.8V8l2.2 1.6',
  unknown: 'M6 6a2 2 0 113.2 1.6C8.4 8.2 8 8.6 8 9.4M8 11.6v.2',
  gone: 'M4 8h8',
  up: 'M8 13V3.5M4 7.5l4-4 4 4',
  down: 'M8 3v9.5M4 8.5l4 4 4-4',
  pause: 'M5.5 3.5v9M10.5 3.5v9',
  play: 'M5 3.2v9.6l7.6-4.8z',
  sun: 'M8 5a3 3 0 100 6 3 3 0 000-6zM8 1.5v1.2M8 13.3v1.2M1.5 8h1.2M13.3 8h1.2M3.4 3.4l.9.9M11.7 11.7l.9.9M3.4 12.6l.9-.9M11.7 4.3l.9-.9',
  moon: 'M13 9.6A5.6 5.6 0 016.4 3a5.6 5.6 0 106.6 6.6z',
  close: 'M4 4l8 8M12 4l-8 8',
  open: 'M6 3.5l4.5 4.5L6 12.5',
  lost: 'M2 5.5c3.6-3 8.400-3 12 0M4.200 8.200c2.300-1.900 5.300-1.900 7.600 0M8 11.600v.2M2.500 13.500l11-11',
} as const;

export type Icon = keyof typeof PATHS;

export function Sign({ name, title }: { name: Icon; title?: string }) {
  return (
    <svg class="sign" viewBox="0 0 16 16" aria-hidden={title ? undefined : true} role={title ? 'img' : undefined} aria-label={title}>
      <path d={PATHS[name]} />
    </svg>
  );
}

export function severityIcon(severity: string): Icon {
  return severity === 'critical' ? 'critical' : severity === 'warning' ? 'warning' : 'info';
}
