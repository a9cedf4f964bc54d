"""What no program should give us: only the item itself is affected, and every line stays valid OTLP."""

from __future__ import annotations

import base64
import json
import re
import sys
import time

import pytest
from google.protobuf import json_format
from opentelemetry.proto.logs.v1.logs_pb2 import LogsData
from opentelemetry.proto.metrics.v1.metrics_pb2 import MetricsData
from opentelemetry.proto.trace.v1.trace_pb2 import TracesData

MESSAGES = {"traces": TracesData, "metrics": MetricsData, "logs": LogsData}


def as_protobuf_json(item):
    """Return OTLP/JSON as protobuf's own JSON, where ids are base64."""
    if isinstance(item, list):
        return [as_protobuf_json(each) for each in item]
    if not isinstance(item, dict):
        return item
    ids = ("traceId", "spanId", "parentSpanId")
    return {
        key: base64.b64encode(bytes.fromhex(value)).decode() if key in ids else as_protobuf_json(value)
        for key, value in item.items()
    }


@pytest.fixture
def valid(recorded, tmp_path):
    """Return a function that has the official messages read every line, and gives what was recorded."""

    def check(whole=True):
        lines = 0
        for file in tmp_path.glob(".otel-perf/*/*/*.jsonl"):
            for line in file.read_text(encoding="utf-8").splitlines():
                json_format.Parse(
                    json.dumps(as_protobuf_json(json.loads(line))), MESSAGES[file.name.partition(".")[0]]()
                )
                lines += 1
        assert lines
        return recorded(whole)

    return check


# --- names ------------------------------------------------------------------------------------------------------------

NAMES = (
    "", " ", "\0", "\n\r\t", "a;b;c", "../../etc/passwd", "/", ".", "\x1b[31mred\x1b[0m", "<script>alert(1)</script>",
    "%s %d {0} {name}", "\u202eright to left", "\U0001f600", "é", "e\u0301", '"quoted" \\ back', "\ud800", "a\udfffb",
    "\ud83d\ude00", "x" * 1024, "all", "startup", "otel_perf.overflow", "(other)", "\u2028\u2029", "\x7f\x80\x9f",
)  # fmt: skip


def as_written(name: str) -> str:
    return name.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def test_names_of_any_content_are_names(run_python, valid, tmp_path, otel_perf):
    result = run_python(
        f"""
        import otel_perf as perf
        perf.init(service="names", version="\\x1b[0m")
        from opentelemetry import trace
        tracer = trace.get_tracer("app")
        for name in {NAMES!r}:
            with perf.phase(name), perf.profile(name, span_threshold=0), perf.operation(name):
                with tracer.start_as_current_span(name):
                    pass
            @perf.profile(name, span_threshold=0)
            def decorated(): pass
            decorated()
            perf.enter_phase(name)
            perf.counter("calls").add(1, {{"name": name, name: name}})
        """
    )

    assert (0, "") == (result.returncode, result.stderr)
    found = valid()
    for name in NAMES:
        spans = [span for span in found.spans if span["name"] == as_written(name)]
        assert 6 <= len(spans), repr(name)
    assert len(NAMES) == sum(found.last("calls").values())
    shown = run_python(["-m", "otel_perf", "report"])
    assert (0, "") == (shown.returncode, shown.stderr)
    assert "\x1b[31m" not in shown.stdout
    assert "\x80" not in shown.stdout


def test_a_str_of_the_programs_own_kind_is_its_text(run_python, valid):
    result = run_python(
        """
        import otel_perf as perf
        perf.init(service="kinds")

        def fails(*_, **__): raise RuntimeError("mine")

        class Own(str):
            __slots__ = ()
            __getitem__ = __len__ = __str__ = __repr__ = __format__ = __eq__ = __hash__ = __iter__ = encode = fails

        with perf.phase(Own("phase")), perf.profile(Own("block"), span_threshold=0), perf.operation(Own("op")):
            pass
        perf.enter_phase(Own("entered"))
        perf.profile(Own("function"), span_threshold=0)(lambda: 0)()
        perf.ready()
        """
    )

    assert (0, "") == (result.returncode, result.stderr)
    found = valid()
    for name in ("phase", "block", "op", "entered", "function"):
        found.one(name)


@pytest.mark.slow
def test_a_million_names_are_bounded_in_memory_and_every_call_is_counted(run_python, valid, tmp_path):
    result = run_python(
        """
        import resource, sys
        import otel_perf as perf
        perf.init(service="names")
        perf.ready()

        def resident():
            return int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize() / 2**20

        def work(begin, end):
            for i in range(begin, end):
                with perf.profile(f"name {i}"):
                    pass

        work(0, 20_000)
        before = resident()
        work(20_000, 1_000_000)
        print(resident() - before)
        for i in range(3_000):
            @perf.profile
            def decorated(): pass
            decorated.__wrapped__.__qualname__ = f"f{i}"
            perf.profile(f"again {i}", span_threshold=0)(decorated)()
        """,
        timeout=110,
    )

    assert (0, "") == (result.returncode, result.stderr)
    if sys.platform == "linux":
        assert float(result.stdout) < 20
    found = valid()
    series = {
        m["attributes"]["function"]: m["point"] for m in found.metrics if m["metric"] == "otel_perf.function.duration"
    }
    assert 1_000_000 + 2 * 3_000 == sum(point["count"] for point in series.values())
    assert 2_001 == len(series)
    assert series["otel_perf.overflow"]["count"] > 1_000_000
    assert 3_000 == len([span for span in found.spans if span["name"].startswith("again ")])
    size = sum(file.stat().st_size for file in tmp_path.glob(".otel-perf/*/*/metrics.jsonl"))
    assert size < 50_000_000


# --- values -----------------------------------------------------------------------------------------------------------


def test_two_megabytes_of_text_anywhere_cost_themselves_only(run_python, valid, tmp_path):
    result = run_python(
        """
        import otel_perf as perf
        long = "é" * 2**20  # two megabytes
        perf.init(service=long, version=long)
        from opentelemetry import trace
        tracer = trace.get_tracer(long, long)
        with perf.phase(long), perf.profile(long, span_threshold=0), perf.operation(long):
            trace.get_current_span().set_attribute(long, long)
            perf.counter("calls").add(1, {"text": long, long: 1})
            perf.counter("calls").add(1)
            with tracer.start_as_current_span(long, attributes={"text": long}) as span:
                span.add_event(long, {"text": long})
                span.set_status(trace.StatusCode.ERROR, long)
        try:
            with perf.profile("raises", span_threshold=0), tracer.start_as_current_span("raw"):
                raise ValueError(long)
        except ValueError:
            pass
        with perf.profile("after", span_threshold=0):
            pass
        perf.ready()
        """
    )

    assert (0, "") == (result.returncode, result.stderr)
    found = valid()
    assert found.one("after")
    assert found.one("raises")["events"][0]["attributes"]["exception.message"].startswith("é" * 4096)
    assert 2 == sum(found.last("calls").values())
    assert 3 == len([span for span in found.spans if span["name"] == "é" * 1024])
    shown = run_python(["-m", "otel_perf", "report"])
    assert (0, "") == (shown.returncode, shown.stderr)
    assert len(shown.stdout) < 20_000


def test_objects_that_raise_whatever_is_asked_of_them_pass_through_untouched(run_python, valid):
    result = run_python(
        """
        import otel_perf as perf
        perf.init(service="objects")
        from opentelemetry import trace
        tracer, calls, depth = trace.get_tracer("app"), perf.counter("calls"), perf.gauge("depth")

        def fails(*_): raise RuntimeError("mine")

        class Odd:
            __eq__ = __hash__ = __str__ = __repr__ = __bool__ = __len__ = __iter__ = __format__ = fails
            __getattr__ = __int__ = __float__ = __index__ = __contains__ = __getitem__ = __reduce_ex__ = fails

        class OddError(Exception):
            __eq__ = __hash__ = __str__ = __repr__ = __bool__ = fails

        class Meta(type):
            __eq__ = __hash__ = __repr__ = __bool__ = fails

        class Class(metaclass=Meta):
            @perf.profile(span_threshold=0)
            def method(self, *args, **kwargs): return args[0]

            @perf.profile
            def raises(self, error): raise error

            @perf.profile
            def steps(self, *args): yield from args

        odd, one, error = Odd(), Class(), OddError()
        for _ in range(3):
            assert one.method(odd, key=odd) is odd
            assert next(one.steps(odd)) is odd
            calls.add(1, {"odd": odd, "fine": 1})
            depth.set(2, {odd.__class__: 1})
            with perf.phase("phase"), perf.operation("op"), tracer.start_as_current_span("raw") as span:
                span.set_attribute("odd", odd)
                span.set_attribute("fine", 1)
                trace.get_current_span().add_event("event", {"odd": odd})
            for block in (perf.profile("block", span_threshold=0), perf.operation("op"), tracer.start_as_current_span("raw")):
                try:
                    with block:
                        one.raises(error)
                except OddError as caught:
                    assert caught is error
                else:
                    raise SystemExit("swallowed")
        for wrong in (odd, Class, one, 7, None, b"x"):
            for call in (perf.phase, perf.operation, perf.enter_phase, perf.counter, perf.gauge, perf.timer):
                try:
                    call(wrong)
                except TypeError as refused:
                    assert len(str(refused)) < 300
                else:
                    raise SystemExit(f"{call} took {type(wrong)}")
        """
    )

    assert (0, "", "") == (result.returncode, result.stdout, result.stderr)
    found = valid()
    assert (3, 3, 6, 6, 3) == tuple(map(found.count, ("phase", "Class.method", "op", "raw", "block")))
    assert 3 == sum(found.last("calls").values())
    assert {"<exception str() failed>"} == {
        event["attributes"]["exception.message"]
        for span in found.spans
        for event in span["events"]
        if event["name"] == "exception"
    }


def test_times_that_cannot_be_are_the_moments_own_and_numbers_that_are_none_are_dropped(
    run_python, valid, spans_of, assert_whole_tree, tmp_path
):
    """A span that ends before it begins stays as it was given, as with the SDK; all around it is whole."""
    result = run_python(
        """
        import decimal, fractions, time
        import otel_perf as perf
        perf.init(service="times")
        from opentelemetry import trace
        tracer, calls, depth, spent = trace.get_tracer("app"), perf.counter("calls"), perf.gauge("depth"), perf.timer("spent")
        with perf.phase("CoreInit"):
            now = time.time_ns()
            for begin, end in ((-5, -7), (10**30, -(10**30)), (float("nan"), float("inf")), ("soon", "late"), (now, 2**63)):
                span = tracer.start_span("odd", start_time=begin)
                span.add_event("event", timestamp=end)
                span.end(end)
            for begin, end in ((now, now - 10**9), (now + 10**17, now), (now, 0)):
                tracer.start_span("reversed", start_time=begin).end(end)
        for odd in (float("nan"), float("inf"), -float("inf")):
            calls.add(odd)
            depth.set(odd)
            spent.record(odd)
        for odd in (-1, -0.5, decimal.Decimal(-1), fractions.Fraction(-1, 3)):
            for measure in (calls.add, spent.record):
                try:
                    measure(odd)
                except ValueError:
                    continue
                raise SystemExit(f"{measure} took {odd}")
        calls.add(1)
        depth.set(-0.0)
        spent.record(0)
        with perf.profile("after", span_threshold=0):
            pass
        """
    )

    assert (0, "", "") == (result.returncode, result.stdout, result.stderr)
    found = valid(whole=None)
    spans = spans_of(tmp_path)
    reverse = [span for span in spans if span["name"] == "reversed"]
    others = [span for span in spans if span["name"] != "reversed"]
    assert_whole_tree(others)
    now = time.time_ns()
    odd = [span for span in others if span["name"] == "odd"]
    assert (3, 5) == (len(reverse), len(odd))
    events = [event["time"] for span in odd for event in span["events"]]
    for moment in (*events, *(span[key] for span in others for key in ("start", "end"))):
        assert now - 60 * 10**9 < moment <= now
    assert {span["span_id"] for span in others if span["name"] == "CoreInit"} == {span["parent_id"] for span in reverse}
    assert (1, 1) == (sum(found.last("calls").values()), sum(found.last("spent").values()))
    shown = run_python(["-m", "otel_perf", "report"])
    assert 0 == shown.returncode
    assert "skipped 3 damaged values (span that ends before it starts)" in shown.stderr
    assert not re.search(r"[-−]\d+(\.\d+)? (s|ms|µs)", shown.stdout), shown.stdout
