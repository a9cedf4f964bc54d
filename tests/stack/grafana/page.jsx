// Draws a dashboard with Grafana's own libraries: each panel's recorded answers go through the transformations of the
// dashboard's JSON (@grafana/data) and are drawn by the components that Grafana's panels are made of. What is drawn by
// Grafana's core alone (traces, logs, state timeline, bar chart) is shown as the table that it would get.
const {
  applyFieldOverrides, createTheme, dateTime, getDisplayProcessor, getFieldDisplayName, getFieldDisplayValues,
  getFieldDisplayValuesProxy,
  locationUtil, standardFieldConfigEditorRegistry, standardTransformers, standardTransformersRegistry, toDataFrame,
  transformDataFrame, ThemeContext,
} = require('@grafana/data');
const { checkFields, FlameGraph, getMessageCheckFieldsResult } = require('@grafana/flamegraph');
const { BigValue, GlobalStyles, PortalContainer, Table, TimeSeries } = require('@grafana/ui');
const React = require('react');
const { createRoot } = require('react-dom/client');
require('uplot/dist/uPlot.min.css');

const COLUMN = 60, ROW = 38; // pixels of a dashboard's grid
const theme = createTheme({ colors: { mode: 'dark' } });
const standard = ['displayName', 'unit', 'decimals', 'min', 'max', 'noValue', 'thresholds', 'mappings', 'color', 'links'];

// As Grafana registers them: an editor each, of which only the way to override is needed here.
const editors = ['custom.cellOptions', 'custom.filterable', 'custom.align', ...standard].map((id) => {
  const isCustom = id.startsWith('custom.');
  const path = isCustom ? id.slice('custom.'.length) : id;
  return { id: isCustom ? id : path, path, isCustom, name: id, process: (value) => value, shouldApply: () => true };
});
standardFieldConfigEditorRegistry.setInit(() => editors);
const seen = new Set(); // the list has joinByField twice
standardTransformersRegistry.setInit(() =>
  Object.values(standardTransformers)
    .filter((one) => one.id && !seen.has(one.id) && seen.add(one.id))
    .map((one) => ({ id: one.id, name: one.name, transformation: one, editor: () => null, description: '' }))
);
locationUtil.initialize({ config: { appSubUrl: '' }, getTimeRangeForUrl: () => ({}), getVariablesUrlParams: () => ({}) });

const same = (text) => text;
const strict = (text) => encodeURIComponent(text).replace(/[!'()*]/g, (one) => `%${one.charCodeAt(0).toString(16).toUpperCase()}`);
const formats = { percentencode: strict, uriencode: encodeURI };

/** Fill in the cells of a row as Grafana's core does, known from reading: DataMacro and formatRegistry of its scenes. */
function filled(text, scopedVars, format) {
  const { frame, rowIndex } = scopedVars?.__dataContext?.value ?? {};
  return text.replace(/\$\{__data\.fields\.(\w+)(?::(\w+))?\}/g, (whole, name, own) =>
    rowIndex === undefined ? whole : formats[own ?? format](String(getFieldDisplayValuesProxy({ frame, rowIndex })[name] ?? '')));
}

/** Return the frames that the panel would get. */
function prepared(panel, frames, replaceVariables = same) {
  let series;
  const context = { interpolate: (text) => text };
  transformDataFrame(panel.transformations ?? [], frames.map(toDataFrame), context).subscribe((found) => { series = found; });
  const fieldConfig = panel.fieldConfig ?? { defaults: {}, overrides: [] };
  const data = applyFieldOverrides({
    data: series, fieldConfig, theme, timeZone: 'utc', replaceVariables,
    fieldConfigRegistry: standardFieldConfigEditorRegistry,
  });
  for (const frame of data) {
    for (const field of frame.fields) {
      field.config = { ...field.config, custom: { ...fieldConfig.defaults.custom, ...field.config.custom } };
      field.display = getDisplayProcessor({ field, theme, timeZone: 'utc' });
    }
  }
  return data;
}

function Drawn({ panel, frames, range, width, height }) {
  const data = prepared(panel, frames);
  const rows = data.reduce((sum, frame) => sum + frame.length, 0);
  if (!rows) {
    return <div className="nothing" style={{ padding: 8 }}>{panel.fieldConfig?.defaults?.noValue ?? 'No data'}</div>;
  }
  if (panel.type === 'flamegraph') {
    const wrong = checkFields(data[0]);
    return wrong ? <b className="wrong">{getMessageCheckFieldsResult(wrong)}</b> : <div style={{ height, display: 'flex', flexDirection: 'column' }}><FlameGraph data={data[0]} getTheme={() => theme} stickyHeader={false} /></div>;
  }
  if (panel.type === 'timeseries') {
    const timeRange = { from: dateTime(range[0]), to: dateTime(range[1]), raw: { from: dateTime(range[0]), to: dateTime(range[1]) } };
    return <TimeSeries frames={data} width={width} height={height} timeRange={timeRange} timeZone="utc" legend={panel.options.legend} options={panel.options} />;
  }
  if (panel.type === 'stat') {
    const [first] = getFieldDisplayValues({ fieldConfig: panel.fieldConfig, reduceOptions: panel.options.reduceOptions, replaceVariables: (text) => text, theme, data, timeZone: 'utc' });
    return <BigValue width={width} height={height} value={{ ...first.display, title: '' }} theme={theme} colorMode="value" graphMode="none" justifyMode="center" />;
  }
  return <Table data={data[0]} width={width} height={height} columnMinWidth={70} />;
}

const CORE = { traces: 'waterfall', logs: 'log lines', 'state-timeline': 'state timeline', barchart: 'bar chart' };

function Panel({ panel, frames, range }) {
  const { x, y, w, h } = panel.gridPos;
  const width = w * COLUMN - 10, height = h * ROW - 10;
  const note = CORE[panel.type] ? ` (drawn by Grafana as a ${CORE[panel.type]})` : '';
  const box = { position: 'absolute', left: x * COLUMN, top: y * ROW, width, height, overflow: 'hidden' };
  if (panel.type === 'row') {
    return <h4 style={box}>{panel.title}</h4>;
  }
  return (
    <div style={{ ...box, background: theme.colors.background.primary, border: `1px solid ${theme.colors.border.weak}` }} data-panel={panel.title}>
      <div style={{ padding: '2px 8px', height: 28, fontWeight: 500 }}>{panel.title}<small style={{ opacity: 0.6 }}>{note}</small></div>
      <div style={{ height: height - 30 }}><Drawn panel={panel} frames={frames} range={range} width={width - 4} height={height - 34} /></div>
    </div>
  );
}

class Guarded extends React.Component {
  state = {};
  static getDerivedStateFromError = (error) => ({ error });
  render() {
    return this.state.error ? <b className="wrong">{this.props.title}: {String(this.state.error)}</b> : this.props.children;
  }
}

let root;
/** Draw panels, each with its frames; range in milliseconds. */
window.draw = (panels, answers, range) => {
  root?.unmount();
  const place = document.getElementById('root');
  place.style.height = `${Math.max(...panels.map((panel) => (panel.gridPos.y + panel.gridPos.h) * ROW))}px`;
  root = createRoot(place);
  root.render(
    <ThemeContext.Provider value={theme}>
      <GlobalStyles />
      {panels.map((panel, number) => (
        <Guarded key={number} title={panel.title}><Panel panel={panel} frames={answers[number]} range={range} /></Guarded>
      ))}
      <PortalContainer />
    </ThemeContext.Provider>
  );
};

/** Return what the panel reads: name, type and values of each field; and what the flame graph says of it. */
window.fields = (panel, frames) => {
  const data = prepared(panel, frames);
  const wrong = data[0] && panel.type === 'flamegraph' ? checkFields(data[0]) : undefined;
  return {
    wrong: wrong ? getMessageCheckFieldsResult(wrong) : '',
    frames: data.map((frame) => frame.fields.map((field) => ({
      name: field.name, shown: getFieldDisplayName(field, frame, data), type: field.type, values: Array.from(field.values),
      texts: Array.from(field.values).slice(0, 500).map((value) => { const made = field.display(value); return `${made.prefix ?? ''}${made.text}${made.suffix ?? ''}`; }),
    }))),
  };
};

/** Return the addresses that a click on each row opens: all that its fields have. */
window.links = (panel, frames) => {
  const [data] = prepared(panel, frames, filled);
  return Array.from({ length: data.length }, (_, valueRowIndex) =>
    data.fields.flatMap((field) => field.getLinks?.({ valueRowIndex }).map((link) => link.href) ?? []));
};
window.ready = true;
