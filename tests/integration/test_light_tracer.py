"""Spans of the plain API without an SDK are what the SDK would have made of the same calls.

programs/span_operations.py makes each call on our tracer and on an SDK tracer in one process; here both are compared.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

PROGRAM = Path(__file__).parent / "programs" / "span_operations.py"
OPERATIONS = (
    "plain", "kind", "attributes", "odd_attributes", "after_the_end", "times", "times_as_current", "events", "links",
    "status_error_then_ok_then_error", "status_unset_after_error", "status_ok_with_description", "update_name",
    "record_exception", "exception_leaves_span", "exception_leaves_span_unrecorded",
    "exception_leaves_span_status_kept", "interrupt_leaves_span", "exception_leaves_current_span",
    "exception_leaves_current_span_unrecorded", "exit_leaves_current_span", "as_decorator", "as_async_decorator",
    "nested", "limits",
)  # fmt: skip
ENVIRONMENTS = {
    "defaults": {},
    "own limits": {
        "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT": "4",
        "OTEL_EVENT_ATTRIBUTE_COUNT_LIMIT": "3",
        "OTEL_LINK_ATTRIBUTE_COUNT_LIMIT": "0",
        "OTEL_SPAN_EVENT_COUNT_LIMIT": "2",
        "OTEL_SPAN_LINK_COUNT_LIMIT": "3",
        "OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT": "10",
        "OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT": "20",
    },
    "general limits": {"OTEL_ATTRIBUTE_COUNT_LIMIT": "2", "OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT": "5"},
    "nothing allowed": {
        "OTEL_ATTRIBUTE_COUNT_LIMIT": "0",
        "OTEL_SPAN_EVENT_COUNT_LIMIT": "0",
        "OTEL_SPAN_LINK_COUNT_LIMIT": "0",
    },
}

_results: dict[str, dict[str, list]] = {}
_spans: dict[str, list] = {}


@pytest.fixture(params=ENVIRONMENTS)
def compared(request, run_python, spans_of, tmp_path):
    """Return for each operation what came of it on our tracer and on the SDK's; and the name of the environment."""
    if request.param not in _results:
        result = run_python([PROGRAM], env=ENVIRONMENTS[request.param])
        assert (0, "") == (result.returncode, result.stderr)
        _results[request.param] = json.loads(result.stdout)
        _spans[request.param] = spans_of(tmp_path)
    return _results[request.param], _spans[request.param]


def test_every_operation_is_compared(compared):
    assert set(OPERATIONS) == compared[0].keys()


@pytest.mark.parametrize("operation", OPERATIONS)
def test_our_span_is_what_the_sdk_makes_of_the_same_calls(compared, operation):
    ours, sdk = compared[0][operation]

    assert sdk[0], "the SDK recorded a span"
    assert sdk == ours


@pytest.mark.parametrize("operation", OPERATIONS)
def test_the_folder_has_what_a_reader_of_the_span_finds(compared, operation):
    (ours, _, _), _ = compared[0][operation]
    in_folder = {span["name"]: span for span in compared[1] if span["scope"]["name"] == "app"}

    for span in ours:
        found = in_folder[span["name"]]
        assert [*span["attributes"]] == [*found["attributes"]]
        assert [name for name, _, _ in span["events"]] == [event["name"] for event in found["events"]]
        assert [[*fields] for _, fields, _ in span["events"]] == [[*event["attributes"]] for event in found["events"]]
        assert [f"{link:016x}" for link, _ in span["links"]] == [link["span_id"] for link in found["links"]]
        code = {"UNSET": 0, "OK": 1, "ERROR": 2}[span["status"][0]]
        assert {"code": code, "message": span["status"][1] or ""} == found["status"]
        for given, at in zip(span["times"], ("start", "end"), strict=True):
            assert given in ("now", found[at])
        assert found["scope"]["version"] == "1.0"


def test_nothing_that_an_application_gives_reaches_it_as_an_error(
    otel_versions, run_python, assert_whole_tree, spans_of, tmp_path
):
    """Without an SDK the API is a no-op that takes anything; so must we."""
    result = run_python(
        """
        import logging
        logging.disable()
        import otel_perf as perf
        perf.init("hostile")
        from opentelemetry import trace

        class Hostile:
            def __str__(self): raise RuntimeError("str")
            __repr__ = __len__ = __iter__ = __bool__ = __eq__ = __hash__ = __int__ = __str__

        class HostileError(Exception):
            __str__ = __repr__ = Hostile.__str__

        tracer = trace.get_tracer("app")
        odd = [None, 1, 1.5, float("nan"), "text", b"bytes", [], {}, [1], {"a": 1}, {"a": Hostile()}, {1: 2}, object(), Hostile()]
        for item in odd:
            for _ in range(1):
                span = tracer.start_span("raw", attributes=item, links=item, start_time=item, kind=item)
                for call in (
                    lambda: span.set_attribute(item, item),
                    lambda: span.set_attribute("key", item),
                    lambda: span.set_attributes(item),
                    lambda: span.add_event(item, item, item),
                    lambda: span.add_event("event", {"key": item}),
                    lambda: span.add_link(item, item),
                    lambda: span.set_status(item, item),
                    lambda: span.set_status(trace.StatusCode.ERROR, item),
                    lambda: span.update_name(item),
                    lambda: span.record_exception(HostileError(), item, item),
                    lambda: span.record_exception(item),
                ):
                    call()
                span.end(item)
        with perf.phase("phase"):
            span = trace.get_current_span()
            for item in odd:
                span.set_attribute(item, item)
                span.set_attribute("key", item)
                span.set_attributes(item)
                span.add_event(item, item, item)
                span.add_event("event", {"key": item})
                span.set_status(item, item)
                span.set_status(trace.StatusCode.ERROR, item)
                span.record_exception(HostileError(), item, item)
                span.record_exception(item)
        try:
            with perf.phase("failing"):
                raise HostileError
        except HostileError:
            pass
        """,
        path=[otel_versions],
        site=False,
    )
    spans = spans_of(tmp_path)

    assert (0, "") == (result.returncode, result.stderr)
    names = [span["name"] for span in spans]
    assert (1, 1) == (names.count("phase"), names.count("failing"))
    assert len([span for span in spans if span["scope"]["name"] == "app"]) == 14


SWITCHED_OFF = """
    import otel_perf as perf
    perf.init("off")
    from opentelemetry import trace
    from otel_perf import tracing
    tracer = trace.get_tracer("app")
    with perf.phase("phase"):
        with tracer.start_as_current_span("raw") as raw:
            raw.set_attribute("lost", True)
            with perf.phase("inner"):
                print(raw.is_recording(), type(raw).__name__)
    print(tracing.status["tracer"], tracing.status["context"])
"""


def test_without_the_tracer_switch_raw_spans_are_stock_no_ops(run_python, spans_of, assert_whole_tree, tmp_path):
    result = run_python(SWITCHED_OFF, env={"OTEL_PERF_TRACER": "0"})
    spans = {span["name"]: span for span in spans_of(tmp_path)}

    assert (0, "") == (result.returncode, result.stderr)
    assert "False NonRecordingSpan\noff on\n" == result.stdout
    assert "raw" not in spans
    assert "lost" not in spans["phase"]["attributes"]
    assert spans["phase"]["span_id"] == spans["inner"]["parent_id"]
    assert_whole_tree(spans.values())


def test_a_proxy_tracer_that_works_differently_leaves_the_api_as_it_was(run_python):
    result = run_python(
        """
        from opentelemetry import trace
        trace.ProxyTracer._tracer = None
        import otel_perf as perf
        perf.init("differently")
        from otel_perf import tracing
        print(tracing.status, trace.ProxyTracer._tracer)
        """
    )

    assert (0, "") == (result.returncode, result.stderr)
    assert (
        "{'context': 'on', 'tracer': 'RuntimeError: opentelemetry.trace.ProxyTracer has no property _tracer', "
        "'provider': 'on'} None\n"
    ) == result.stdout


def test_an_api_that_does_not_use_the_runtime_context_keeps_its_own(run_python):
    result = run_python(
        """
        from opentelemetry import context, trace
        stock = context._RUNTIME_CONTEXT
        context.get_current = lambda: context.Context()
        import otel_perf as perf
        perf.init("differently")
        from otel_perf import tracing
        print(tracing.status["context"], context._RUNTIME_CONTEXT is stock)
        """
    )

    assert (0, "") == (result.returncode, result.stderr)
    assert ("RuntimeError: the API does not read opentelemetry.context._RUNTIME_CONTEXT True\n") == result.stdout


def test_two_threads_that_end_one_span_record_it_once(run_python, spans_of, tmp_path):
    result = run_python(
        """
        import sys, threading
        import otel_perf as perf
        perf.init("ending")
        from opentelemetry import trace
        sys.setswitchinterval(1e-6)
        tracer = trace.get_tracer("app")
        spans = [tracer.start_span("raw") for _ in range(1000)]
        def end():
            for span in spans:
                span.end()
        threads = [threading.Thread(target=end) for _ in range(4)]
        [thread.start() for thread in threads]
        [thread.join() for thread in threads]
        """
    )

    assert (0, "") == (result.returncode, result.stderr)
    assert 1000 == [span["name"] for span in spans_of(tmp_path)].count("raw")
