"""Our spans and those of the OpenTelemetry API nest in each other, in every version, mode and order.

programs/context_rows.py runs each row once a version and mode, in one real process; here is what must come of it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

PROGRAM = Path(__file__).parent / "programs" / "context_rows.py"
MODES = ("none", "early", "before", "after")
TOP = "^"  # below the start's root during the start, a root of its own after it
REMOTE = "b7ad6b7169203331"
REMOTE_TRACE = "0af7651916cd43dd8448eb211c80319c"

# For each row the parent of each span; "fast" is the decorated call of the program.
ROWS: dict[str, dict[str, str | None]] = {
    "raw_in_phase": {"phase": TOP, "raw": "phase"},
    "raw_in_fast_call": {"call": TOP, "inner": "call", "raw": "inner"},
    "raw_in_slow_call": {"call": TOP, "raw": "call"},
    "ours_in_raw": {"raw": TOP, "phase": "raw", "inner": "phase", "call": "raw"},
    "generator": {"phase": TOP, "items": "phase", "inside": "items", "inside2": "items", "consumer": "phase"},
    "remote_parent": {"phase": REMOTE, "raw": "phase", "direct": REMOTE, "after": TOP},
    "explicit_context": {
        "elsewhere": TOP, "phase": TOP, "given": "elsewhere", "empty": None, "remote": REMOTE, "other": "phase",
        "back": "phase",
    },
    "empty_context_attached": {"phase": TOP, "raw": None, "inner": None, "after": "phase"},
    "inject": {"phase": TOP, "call": TOP},
    "asyncio_rows": {
        "phase": TOP, "gather1": "phase", "gather1.call": "gather1", "gather2": "phase", "gather2.call": "gather2",
        "task": "phase", "task.call": "task", "thread": "phase", "bare": None, "coroutine": "phase",
        "awaited": "coroutine", "awaited.call": "awaited", "late.raw1": "phase", "late.raw2": "phase",
        "late.call": "phase", "late.inner": "late.call", "late2.raw1": "phase", "late2.raw2": "phase",
        "late2.call": "phase", "late2.inner": "late2.call",
    },
    "copied_contexts": {"phase": TOP, "open": "phase", "ended": "phase", "thread": "phase"},
    "threads": {
        "phase": TOP, "attached": "phase", "call": "phase", "inner": "call", "detached": None, "bare": None,
        "bare_call": TOP, "bare_inner": "bare_call", "bare_attached": TOP,
    },
    "attach_outlives_phase": {"phase": TOP, "during": "phase", "after": TOP, "last": TOP},
    "attach_outlives_call": {
        "request": "fast", "during": "request", "phase": "request", "inner": "phase", "teardown": "fast", "left": TOP,
        "after": TOP,
    },
    "detached_twice_over": {
        "request": TOP, "phase": "request", "in_phase": "phase", "in_phase.fast": "phase",
        "in_phase.call": "in_phase.fast", "in_call": "request", "in_call.fast": "request",
        "in_call.call": "in_call.fast",
    },
    "baggage_nests": {"phase": TOP, "call": "phase"},
    "current_span_is_ours": {"phase": TOP, "call": TOP},
}  # fmt: skip

_runs: dict[tuple[Path, str], tuple[list[dict[str, Any]], dict[str, Any], str]] = {}


@pytest.fixture(params=MODES)
def run(
    request: pytest.FixtureRequest, otel_versions: Path, run_python: Callable[..., Any], spans_of: Any, tmp_path: Path
) -> tuple[list[dict[str, Any]], dict[str, Any], str]:
    """Return the spans of the rows program in this version and mode, what it saw, and its mode; it runs once."""
    key = otel_versions, request.param
    if key not in _runs:
        result = run_python([PROGRAM, request.param], path=[otel_versions], site=False)
        assert (0, "") == (result.returncode, result.stderr)
        _runs[key] = spans_of(tmp_path), json.loads(result.stdout), request.param
    return _runs[key]


@pytest.mark.parametrize("row", ROWS)
def test_each_span_has_the_parent_that_its_context_says(run, row):
    spans, _, _ = run
    names = {span["span_id"]: span["name"] for span in spans}

    for when, top in (("start", "startup"), ("later", None)):
        prefix = f"{when}.{row}."
        found = {
            span["name"].removeprefix(prefix): names.get(span["parent_id"], span["parent_id"])
            for span in spans
            if span["name"].startswith(prefix)
        }
        found = {name: parent and parent.removeprefix(prefix) for name, parent in found.items()}

        assert {name: top if parent == TOP else parent for name, parent in ROWS[row].items()} == found


def test_the_tree_is_whole(run, assert_whole_tree):
    spans, _, _ = run

    assert_whole_tree(spans, external=[REMOTE])


def test_all_of_the_start_is_one_trace_but_what_other_contexts_begin(run):
    spans, _, _ = run
    (root,) = [span for span in spans if span["name"] == "startup"]
    begun = {span["name"] for span in spans if span["name"].startswith("start.") and span["parent_id"] is None}
    elsewhere = {f"start.{row}.{name}" for row, spans in ROWS.items() for name, parent in spans.items() if not parent}

    assert root["parent_id"] is None
    assert elsewhere == begun


def test_a_fast_call_is_a_span_only_when_one_opened_inside_or_its_id_was_asked(run):
    spans, _, _ = run
    names = [span["name"] for span in spans]

    assert [] == [name for name in names if name.endswith((".silent", "ours_in_raw.fast"))]
    assert 2 == names.count("fast")  # of six calls, the two that opened a span


def test_work_in_a_copy_of_an_ended_span_is_marked_detached(run):
    spans, _, _ = run
    marked = sorted(s["name"] for s in spans if s["attributes"].get("otel_perf.detached"))
    late = (
        "asyncio_rows.late.call",
        "asyncio_rows.late2.call",
        "attach_outlives_call.teardown",
        "detached_twice_over.in_phase.fast",
    )

    assert sorted(f"{when}.{name}" for when in ("start", "later") for name in late) == marked


def test_a_header_carries_the_ids_of_the_phase_or_call_that_injects(run):
    spans, saw, _ = run
    by_name = {span["name"]: span for span in spans}

    for when in ("start", "later"):
        for name in ("phase", "call"):
            span = by_name[f"{when}.inject.{name}"]
            assert {"traceparent": f"00-{span['trace_id']}-{span['span_id']}-01"} == saw[f"{when}.inject.{name}"]


def test_a_remote_parent_gives_its_trace_id_and_trace_state_to_what_is_below(run):
    spans, saw, _ = run
    by_name = {span["name"]: span for span in spans}

    for when in ("start", "later"):
        phase = by_name[f"{when}.remote_parent.phase"]
        header = {"traceparent": f"00-{REMOTE_TRACE}-{phase['span_id']}-01", "tracestate": "vendor=1"}
        assert header == saw[f"{when}.remote_parent.header"]
        assert REMOTE_TRACE == phase["trace_id"] == by_name[f"{when}.remote_parent.raw"]["trace_id"]
        assert 0x301 == phase["flags"]  # sampled, its parent is remote
        assert 0x101 == by_name[f"{when}.remote_parent.raw"]["flags"]


def test_what_was_attached_survives_the_phase_or_call_and_ends_with_its_detach(run):
    _, saw, _ = run

    for when in ("start", "later"):
        for row in ("attach_outlives_phase", "attach_outlives_call"):
            assert ("value", None) == (saw[f"{when}.{row}.during"], saw[f"{when}.{row}.after"])


def test_a_copied_context_keeps_its_baggage_after_the_detach(run):
    _, saw, _ = run

    for when in ("start", "later"):
        for name in ("in_phase", "in_phase.call", "in_call", "in_call.call"):
            assert saw[f"{when}.detached_twice_over.{name}"] == "value"


def test_baggage_nests_around_and_inside_ours(run):
    _, saw, _ = run

    for when in ("start", "later"):
        row = f"{when}.baggage_nests"
        assert {"outer": "1", "inner": "2"} == saw[f"{row}.both"]
        assert ["inner=2", "outer=1"] == saw[f"{row}.header"]
        assert {"outer": "1"} == saw[f"{row}.outer"]
        assert {} == saw[f"{row}.none"]


def test_what_is_set_on_the_current_span_is_recorded_on_our_phase_or_call(run):
    spans, saw, _ = run
    by_name = {span["name"]: span for span in spans}

    for when in ("start", "later"):
        phase = by_name[f"{when}.current_span_is_ours.phase"]
        call = by_name[f"{when}.current_span_is_ours.call"]
        set_there = {key: phase["attributes"].get(key) for key in ("text", "number", "list", "late")}
        event, exception = phase["events"]
        assert (True, False) == tuple(saw[f"{when}.current_span_is_ours.{name}"] for name in ("recording", "ended"))
        assert {"text": "value", "number": 1, "list": [1, 2], "late": None} == set_there
        assert {"name": "event", "time": 1_700_000_000_000_000_000, "attributes": {"key": "value"}} == event
        assert ("exception", "ValueError", "message", True) == (
            exception["name"],
            exception["attributes"]["exception.type"],
            exception["attributes"]["exception.message"],
            exception["attributes"]["more"],
        )
        assert {"code": 2, "message": "went wrong"} == phase["status"]
        assert call["attributes"]["text"] == "value"


def test_the_global_provider_is_never_ours(run):
    _, saw, mode = run

    assert saw["provider"] == ("ProxyTracerProvider" if mode in ("none", "early") else "TracerProvider")


def test_each_span_is_once_in_our_folder_and_once_at_the_applications_exporter(run):
    spans, saw, mode = run
    ours = sorted(
        (s["name"], int(s["span_id"], 16), int(s["parent_id"] or "0", 16), int(s["trace_id"], 16)) for s in spans
    )

    if mode in ("none", "early"):
        assert "exported" not in saw
    else:
        assert ours == sorted(map(tuple, saw["exported"]))


def test_raw_spans_keep_the_scope_of_their_tracer(run):
    spans, _, _ = run

    assert {"app"} == {span["scope"]["name"] for span in spans if span["name"].endswith(".raw")}


@pytest.mark.parametrize("sdk", [[], ["sdk"]], ids=["light", "sdk"])
def test_random_programs_nest_as_a_plain_context_variable_says(run_python, spans_of, assert_whole_tree, tmp_path, sdk):
    result = run_python([PROGRAM.with_name("random_nesting.py"), "1", "300", *sdk])
    assert (0, "") == (result.returncode, result.stderr)
    expected, wrong_baggage, still_open = json.loads(result.stdout)
    spans = spans_of(tmp_path)
    names = {span["span_id"]: span["name"] for span in spans}
    found = {s["name"]: names.get(s["parent_id"], s["parent_id"]) for s in spans if s["name"][0].isdigit()}

    assert_whole_tree(spans)
    assert expected == found
    assert ([], 0) == (wrong_baggage, still_open)
    assert len(expected) > 5000


# --- what is kept of the past -----------------------------------------------------------------------------


RESCHEDULING = """
    import asyncio, gc, sys
    import otel_perf as perf
    perf.init("rescheduling")
    perf.ready()
    from opentelemetry import baggage, context, trace
    from otel_perf import recorder

    tracer = trace.get_tracer("app")
    TIMES = 5000

    @({decorator})
    def callback(loop, left):
        {around}
            if left:
                loop.call_soon(callback, loop, left - 1)
            else:
                loop.stop()
                seen.append(count())

    def count():
        "Return how many frames the running context leads to."
        todo, found = [recorder.CURRENT.get()], {{}}
        while todo:
            item = todo.pop()
            if id(item) in found or item is recorder.CLOSED:
                continue
            if isinstance(item, (list, dict, tuple, recorder.SpanState)) or type(item).__name__ == "LazySpan":
                found[id(item)] = item
                todo += gc.get_referents(item)
        return sum(isinstance(item, list) and len(item) >= recorder.OWN for item in found.values())

    seen = []
    for times in (100, TIMES):
        loop = asyncio.new_event_loop()
        loop.call_soon(callback, loop, times)
        loop.run_forever()
        loop.close()
    print(*seen)
"""


@pytest.mark.parametrize(
    "decorator",
    ["perf.profile(span_threshold='10s')", "perf.profile(span_threshold=0)", "lambda function: function"],
    ids=["fast", "span", "plain"],
)
@pytest.mark.parametrize(
    "around",
    [
        "with perf.profile('inner', span_threshold='10s'):",
        "with perf.profile('inner', span_threshold=0):",
        "context.get_current()\n        if True:",
        "trace.get_current_span().get_span_context()\n        if True:",
        "with tracer.start_as_current_span('raw'):",
        "context.attach(baggage.set_baggage('a', 'b'))\n        if True:",
        "context.attach(context.set_value('a', 'b', context.Context()))\n        if True:",
        "with perf.profile('inner'), trace.use_span(trace.INVALID_SPAN):",
        "with trace.use_span(trace.get_current_span()), perf.profile('inner', span_threshold=0):",
        "context.attach(baggage.set_baggage('a', 'b'))\n        with perf.profile('inner', span_threshold=0):",
    ],
    ids=["call", "span", "context", "id", "raw", "attach", "attach-empty", "invalid", "use", "attach-span"],
)
def test_callbacks_that_reschedule_themselves_do_not_pile_up_frames(run_python, decorator, around):
    """Each runs in a copy of the context of the one before; nothing of that may keep all of them."""
    result = run_python(RESCHEDULING.format(decorator=decorator, around=around))

    assert (0, "") == (result.returncode, result.stderr)
    few, many = map(int, result.stdout.split())
    assert few == many
    assert many < 20


@pytest.mark.parametrize(
    "work",
    [
        "with tracer.start_as_current_span('raw'): pass",
        "with perf.profile('call', span_threshold='10s'): context.get_current()",
        "with perf.profile('call', span_threshold='10s'): trace.get_current_span().get_span_context()",
        "with perf.profile('call', span_threshold=0): context.detach(context.attach(baggage.set_baggage('a', 'b')))",
        "with perf.profile('call', span_threshold='10s'), tracer.start_as_current_span('raw'): pass",
        "contextvars.copy_context().run(lambda: context.attach(baggage.set_baggage('a', 'b')))",
        "context.attach(baggage.set_baggage('a', 'b'))",
        "with perf.phase('phase'): context.attach(context.get_current())",
        "tracer.start_span('never ended')",
        "with tracer.start_as_current_span('raw', context=propagate.extract(header())): pass",
    ],
)
@pytest.mark.parametrize("after", ["", "perf.shutdown()"], ids=["recording", "shut down"])
def test_nothing_is_left_for_the_garbage_collector_or_for_ever(run_python, work, after):
    """A program may run without the collector: there a cycle for each call would be a leak."""
    result = run_python(
        f"""
        import contextvars, gc, random
        import otel_perf as perf
        perf.init("cycles")
        perf.ready()
        from opentelemetry import baggage, context, propagate, trace
        from otel_perf import runtime
        tracer = trace.get_tracer("app")
        {after}

        def header():
            return {{"traceparent": f"00-{{random.getrandbits(128):032x}}-b7ad6b7169203331-01"}}

        def work():
            {work}

        def left(times):
            for _ in range(times):
                work()
            runtime._runtime.write(final=False)  # waits for what the worker has in hand
            return len(gc.get_objects())

        gc.disable()
        left(3000)  # caches are filled
        before = left(10)
        print(left(3000) - before)
        """,
        env={"OTEL_PERF_METRICS": "0"},  # whose rooms are loaded in the middle of it
    )

    assert (0, "") == (result.returncode, result.stderr)
    assert int(result.stdout) < 200


# --- the end of the start, switches, errors ---------------------------------------------------------------


def test_work_that_goes_on_after_the_start_is_no_part_of_its_trace(run_python, spans_of, assert_whole_tree, tmp_path):
    """A thread that carries a context of the start for ever would else add to the start's trace for ever."""
    result = run_python(
        """
        import threading
        import otel_perf as perf
        perf.init("going on")
        from opentelemetry import context, trace
        tracer = trace.get_tracer("app")
        ready = threading.Event()

        def serve(captured):
            context.attach(captured)
            with tracer.start_as_current_span("early request"):
                pass
            ready.wait()
            with tracer.start_as_current_span("request"), perf.profile("call", span_threshold=0):
                pass

        tracer.start_span("first").end()
        thread = threading.Thread(target=serve, args=[context.get_current()])
        thread.start()
        with perf.phase("long"):
            with tracer.start_as_current_span("before"):
                pass
            perf.ready()
            with tracer.start_as_current_span("after"):
                pass
        ready.set()
        thread.join()
        """
    )
    spans = spans_of(tmp_path)
    by_name = {span["name"]: span for span in spans}
    first, rest = sorted((s for s in spans if s["name"] == "long"), key=lambda span: span["start"])
    root = by_name["startup"]

    assert (0, "") == (result.returncode, result.stderr)
    assert_whole_tree(spans)
    assert {root["span_id"]} == {by_name[name]["parent_id"] for name in ("first", "early request")}
    assert (first["span_id"], first["trace_id"]) == (by_name["before"]["parent_id"], root["trace_id"])
    assert (rest["span_id"], rest["trace_id"]) == (by_name["after"]["parent_id"], by_name["after"]["trace_id"])
    assert [(first["trace_id"], first["span_id"])] == [(x["trace_id"], x["span_id"]) for x in rest["links"]]
    assert by_name["request"]["parent_id"] is None
    assert by_name["request"]["span_id"] == by_name["call"]["parent_id"]
    assert 3 == len({root["trace_id"], rest["trace_id"], by_name["request"]["trace_id"]})


def test_past_the_cap_of_forced_spans_the_tree_is_still_whole(run_python, spans_of, assert_whole_tree, tmp_path):
    result = run_python(
        """
        import time
        import otel_perf as perf
        perf.init("cap")
        from opentelemetry import trace
        tracer = trace.get_tracer("app")

        @perf.profile("call", span_threshold="10s")
        def call():
            tracer.start_span("raw").end()

        begun = time.monotonic()
        with perf.phase("phase"):
            for _ in range(14_000):
                call()
        print(time.monotonic() - begun)
        """
    )
    spans = spans_of(tmp_path)
    ids = {span["span_id"]: span["name"] for span in spans}
    seconds = float(result.stdout)
    calls = [span for span in spans if span["name"] == "call"]
    parents = [ids[span["parent_id"]] for span in spans if span["name"] == "raw"]

    assert (0, "") == (result.returncode, result.stderr)
    assert_whole_tree(spans)
    assert 14_000 == len(parents)
    assert 10_000 <= len(calls) <= 10_000 * (1 + int(seconds))
    assert len(calls) == parents.count("call")
    assert 14_000 - len(calls) == parents.count("phase")


def test_without_the_context_switch_both_worlds_are_apart_and_the_context_is_stock(run_python, spans_of, tmp_path):
    result = run_python(
        """
        import otel_perf as perf
        perf.init("apart")
        from opentelemetry import baggage, context, trace
        from otel_perf import tracing
        tracer = trace.get_tracer("app")
        with perf.phase("phase"):
            assert trace.get_current_span() is trace.INVALID_SPAN
            with tracer.start_as_current_span("raw"):
                with perf.phase("inner"), tracer.start_as_current_span("nested"):
                    pass
        print(type(context._RUNTIME_CONTEXT).__name__, tracing.status)
        """,
        env={"OTEL_PERF_CONTEXT": "0"},
    )
    spans = spans_of(tmp_path)
    ids = {span["span_id"]: span["name"] for span in spans}
    parents = {span["name"]: ids.get(span["parent_id"]) for span in spans}

    assert "ContextVarsRuntimeContext {'context': 'off', 'tracer': 'on', 'provider': 'on'}\n" == result.stdout
    assert (None, "raw") == (parents["raw"], parents["nested"])
    assert ("startup", "phase") == (parents["phase"], parents["inner"])


DETACHING = """
    import asyncio, logging, sys
    import otel_perf as perf
    perf.init("detach")
    from opentelemetry import baggage, context, trace

    class Handler(logging.Handler):
        def emit(self, record):
            error = record.exc_info and record.exc_info[1]
            print(record.levelname, record.getMessage(), type(error).__name__, "different Context" in str(error))

    logging.getLogger("opentelemetry").addHandler(Handler())
    logging.getLogger("opentelemetry").propagate = False

    async def items():
        token = context.attach(baggage.set_baggage("inside", "1"))
        try:
            yield 1
        finally:
            context.detach(token)

    async def main():
        generator = items()
        await generator.__anext__()
        print(baggage.get_all())
        await asyncio.create_task(generator.aclose())  # in another context than it was opened in
        print(baggage.get_all())

    asyncio.run(main())
    token = context.attach(baggage.set_baggage("twice", "1"))
    context.detach(token)
    context.detach(token)
    first = context.attach(baggage.set_baggage("first", "1"))
    second = context.attach(baggage.set_baggage("second", "1"))
    context.detach(first)  # in the wrong order
    print(baggage.get_all())
    context.detach(second)
    print(baggage.get_all())
    try:
        context.attach(None)
    except Exception as error:
        print(type(error))
"""


def test_wrong_detaches_do_and_log_what_they_do_without_us(otel_versions, run_python):
    ours = run_python(DETACHING, path=[otel_versions], site=False)
    stock = run_python(DETACHING, path=[otel_versions], site=False, env={"OTEL_SDK_DISABLED": "true"})

    assert (0, "") == (ours.returncode, ours.stderr)
    assert stock.stdout == ours.stdout
    assert ours.stdout.count("Failed to detach context") == 2


def test_the_worker_joins_the_api_where_imports_are_not_watched(run_python, spans_of, tmp_path):
    result = run_python(
        """
        import time
        import otel_perf as perf
        perf.init("unwatched")
        from opentelemetry import trace
        from otel_perf import tracing
        tracer = trace.get_tracer("app")
        end = time.monotonic() + 10
        while not tracing.status and time.monotonic() < end:
            time.sleep(0.05)
        with perf.phase("phase"), tracer.start_as_current_span("raw"):
            pass
        """,
        env={"OTEL_PERF_IMPORTS": "0"},
    )
    spans = {span["name"]: span for span in spans_of(tmp_path)}

    assert (0, "") == (result.returncode, result.stderr)
    assert spans["phase"]["span_id"] == spans["raw"]["parent_id"]


def test_a_foreign_span_or_context_that_raises_or_is_a_mock_breaks_nothing(
    run_python, spans_of, assert_whole_tree, tmp_path
):
    result = run_python(
        """
        import otel_perf as perf
        perf.init("hostile")
        from opentelemetry import context, trace

        class Hostile(trace.NonRecordingSpan):
            def get_span_context(self):
                raise RuntimeError("no")

        from unittest.mock import MagicMock
        tracer = trace.get_tracer("app")
        with trace.use_span(MagicMock()), perf.phase("below a mock"), tracer.start_as_current_span("raw"):
            pass
        with tracer.start_as_current_span("raw", context=trace.set_span_in_context(MagicMock())):
            pass
        for current in (trace.set_span_in_context(Hostile(None)), {"plain": "dict"}, "text"):
            token = context.attach(current)
            assert context.get_current() is current
            with perf.phase("phase"):
                pass
            context.detach(token)
        """
    )

    assert (0, "") == (result.returncode, result.stderr)
    spans = spans_of(tmp_path)
    assert_whole_tree(spans)
    assert 3 == [span["name"] for span in spans].count("phase")
    assert "below a mock" in {span["name"] for span in spans}


def test_attribute_that_is_ours_is_there_once(run_python, spans_of, tmp_path):
    """The reader of the tests refuses a span that has an attribute twice."""
    result = run_python(
        """
        import otel_perf as perf
        from opentelemetry import trace

        perf.init()

        @perf.profile(span_threshold=0)
        def handle():
            span = trace.get_current_span()
            span.set_attributes({"otel_perf.kind": "mine", "code.function.name": "mine", "order": 7})
            span.set_attribute("otel_perf.depth", 9)

        handle()
        """
    )

    assert 0 == result.returncode, result.stderr
    (span,) = [span for span in spans_of(tmp_path) if span["name"] == "handle"]
    assert (7, "function", 1) == tuple(
        span["attributes"][key] for key in ("order", "otel_perf.kind", "otel_perf.depth")
    )
