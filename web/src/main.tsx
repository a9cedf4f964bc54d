/** The local page of otel-perf, and its HTML report: puts the parts together. */

import { effect } from '@preact/signals';
import { render } from 'preact';
import 'uplot/dist/uPlot.min.css';
import './css/base.css';
import './css/panels.css';
import './css/print.css';
import * as board from './charts/board.ts';
import { Charts } from './charts/Charts.tsx';
import { visible } from './format.ts';
import { Functions } from './panels/Functions.tsx';
import { Header } from './panels/Header.tsx';
import { Help } from './panels/Help.tsx';
import { History } from './panels/History.tsx';
import { Start } from './panels/Start.tsx';
import { TraceDialog } from './panels/Trace.tsx';
import { Well } from './panels/Well.tsx';
import { boot, failure, overview, place, runs, source } from './state.ts';
import { startKeys } from './ui/keys.ts';
import { startPrint } from './ui/print.ts';
import { startTheme } from './ui/theme.ts';
import { Tip } from './ui/Tip.tsx';

function Page() {
  return (
    <>
      <a class="skip" href="#content" onClick={(event) => (event.preventDefault(), document.getElementById('content')?.focus())}>
        To the content
      </a>
      <Header />
      <main id="content" tabIndex={-1}>{failure.value ? <Failure /> : runs.value && !place.value ? <Waiting /> : <Panels />}</main>
      <Tip />
      <TraceDialog />
      <Help />
    </>
  );
}

function Panels() {
  return (
    <>
      <Well />
      <Charts />
      <Functions />
      <Start />
      <History />
      <footer class="foot">
        {source.live ? 'otel-perf view' : 'otel-perf report --html'} · everything here stays on this machine
      </footer>
    </>
  );
}

/** There is no run yet, or not the one that the command names: how to make one. */
function Waiting() {
  const { asked, folder } = runs.value!;
  return (
    <div class="waiting">
      <h2>No process yet</h2>
      <p>
        <code>otel-perf run -- python app.py</code>
      </p>
      <p class="dim">
        or <code>perf.init()</code> in the program itself. This page opens{' '}
        {asked === null ? 'the first run' : <>the first process of run <code>{asked}</code></>} that appears in <code>{folder}</code>.
      </p>
    </div>
  );
}

function Failure() {
  return (
    <div class="waiting" role="alert">
      <h2>This run cannot be shown</h2>
      <p>{failure.value}</p>
      <p>
        <button onClick={() => location.reload()}>Try again</button>
      </p>
    </div>
  );
}

startTheme();
startKeys();
startPrint();
effect(() => {
  const service = overview.value?.report.service.name;
  document.title = service ? `${visible(service)} – otel-perf` : 'otel-perf';
});
const app = document.getElementById('app')!;
app.replaceChildren(); // the line that was there until now
render(<Page />, app);
boot();
board.boot();
