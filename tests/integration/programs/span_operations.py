"""The same operations on a span of the light tracer and on one of the SDK; test_light_tracer.py compares the two.

Prints JSON: for each operation the name, and what a reader finds on our span and on the SDK's.
"""

import asyncio
import json
import logging
import sys

import otel_perf as perf

perf.init("operations")
perf.ready()

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode

logging.disable()
exporter = InMemorySpanExporter()
provider = TracerProvider()  # never the global one
provider.add_span_processor(SimpleSpanProcessor(exporter))
LINK = SpanContext(1 << 100, 1 << 60, is_remote=True)
INVALID = SpanContext(0, 0, is_remote=False)
kept = []


class Custom(Exception):
    pass


class Unprintable(Exception):
    def __str__(self):
        raise RuntimeError


def boom(error):
    raise error


def plain(tracer):
    tracer.start_span("plain").end()


def kind(tracer):
    tracer.start_span("kind", kind=SpanKind.PRODUCER).end()


def attributes(tracer):
    span = tracer.start_span("attributes", attributes={"text": "x", "number": 1, "float": 1.5, "yes": True, "again": 0})
    span.set_attribute("list", [1, 2, 3])
    span.set_attributes({"tuple": ("a", "b"), "again": 1, "unicode": "\u00fc\u4f60\U0001f600"})
    span.end()


def odd_attributes(tracer):
    with tracer.start_span("odd_attributes") as span:
        span.set_attribute("", "no key")
        span.set_attribute("bytes", b"abc")
        span.set_attribute("mixed", [1, "a"])
        span.set_attribute("none in list", ["a", None])
        span.set_attribute("nan", float("nan"))
        span.set_attribute("inf", float("-inf"))
        span.set_attribute("huge", 10**30)
        span.set_attributes({"fine": 1})


def after_the_end(tracer):
    span = tracer.start_span("after_the_end")
    span.end(1_700_000_000_000_000_000)
    span.set_attribute("late", 1)
    span.add_event("late")
    span.set_status(StatusCode.ERROR)
    span.update_name("late")
    span.record_exception(ValueError())
    span.end(1_800_000_000_000_000_000)
    kept.append(span)


def times(tracer):
    span = tracer.start_span("times", start_time=1_700_000_000_000_000_000)
    span.end(1_700_000_001_000_000_000)


def times_as_current(tracer):
    with tracer.start_as_current_span(
        "times_as_current", start_time=1_700_000_000_000_000_000, end_on_exit=False
    ) as span:
        pass
    span.end(end_time=1_700_000_000_500_000_000)


def events(tracer):
    span = tracer.start_span("events")
    span.add_event("bare", timestamp=1)
    span.add_event("full", {"key": "value", "list": [1.5]}, 1_700_000_000_000_000_000)
    span.end()


def links(tracer):
    span = tracer.start_span("links", links=[Link(LINK, {"key": "value"}), Link(LINK)])
    span.end()


def status_error_then_ok_then_error(tracer):
    span = tracer.start_span("status_error_then_ok_then_error")
    span.set_status(Status(StatusCode.ERROR, "first"))
    span.set_status(StatusCode.OK)
    span.set_status(StatusCode.ERROR, "second")
    span.end()


def status_unset_after_error(tracer):
    span = tracer.start_span("status_unset_after_error")
    span.set_status(StatusCode.ERROR, "first")
    span.set_status(Status(StatusCode.UNSET))
    span.end()


def status_ok_with_description(tracer):
    span = tracer.start_span("status_ok_with_description")
    span.set_status(Status(StatusCode.OK, "ignored"))
    span.end()


def update_name(tracer):
    span = tracer.start_span("update_name")
    span.update_name("renamed")
    span.end()


def record_exception(tracer):
    span = tracer.start_span("record_exception")
    try:
        boom(Custom("message"))
    except Custom as error:
        span.record_exception(error, {"more": 1}, 1_700_000_000_000_000_000)
        span.record_exception(error, escaped=True, timestamp=5)
    span.end()


def exception_leaves_span(tracer):
    with tracer.start_span("exception_leaves_span"):
        boom(ValueError("message"))


def exception_leaves_span_unrecorded(tracer):
    with tracer.start_span("exception_leaves_span_unrecorded", record_exception=False, set_status_on_exception=False):
        boom(ValueError("message"))


def exception_leaves_span_status_kept(tracer):
    with tracer.start_span("exception_leaves_span_status_kept") as span:
        span.set_status(StatusCode.OK)
        boom(ValueError("message"))


def interrupt_leaves_span(tracer):
    with tracer.start_span("interrupt_leaves_span"):
        boom(KeyboardInterrupt("stop"))


def exception_leaves_current_span(tracer):
    with tracer.start_as_current_span("exception_leaves_current_span"):
        boom(Custom("message"))


def exception_leaves_current_span_unrecorded(tracer):
    with tracer.start_as_current_span("unrecorded", record_exception=False, set_status_on_exception=False):
        boom(Custom("message"))


def exit_leaves_current_span(tracer):
    with tracer.start_as_current_span("exit_leaves_current_span"):
        boom(SystemExit(3))


def as_decorator(tracer):
    @tracer.start_as_current_span("as_decorator", attributes={"key": "value"})
    def function(a, b=2):
        trace.get_current_span().set_attribute("sum", a + b)
        return a + b

    kept.append(function(1) + function(1, b=3))


def as_async_decorator(tracer):
    @tracer.start_as_current_span("as_async_decorator")
    async def function(a):
        await asyncio.sleep(0.001)
        trace.get_current_span().set_attribute("inside", True)
        return a

    kept.append(asyncio.run(function(7)))


def nested(tracer):
    with tracer.start_as_current_span("outer") as outer:
        inner = tracer.start_span("inner")
        other = tracer.start_span("root", context=Context())
        kept.append([inner.parent.span_id == outer.get_span_context().span_id, other.parent])
        inner.end()
        other.end()


def limits(tracer):
    span = tracer.start_span(
        "limits", attributes={f"a{i}": i for i in range(6)}, links=[Link(LINK, {"n": i}) for i in range(6)]
    )
    span.set_attribute("a5", "x" * 40)
    span.set_attribute("list", ["y" * 40, "z"])
    for index in range(6):
        span.add_event(f"event{index}", {f"key{i}": "v" * 40 for i in range(6)}, timestamp=1)
    span.end()


OPERATIONS = [
    plain, kind, attributes, odd_attributes, after_the_end, times, times_as_current, events, links,
    status_error_then_ok_then_error, status_unset_after_error, status_ok_with_description, update_name,
    record_exception, exception_leaves_span, exception_leaves_span_unrecorded, exception_leaves_span_status_kept,
    interrupt_leaves_span, exception_leaves_current_span, exception_leaves_current_span_unrecorded,
    exit_leaves_current_span, as_decorator, as_async_decorator, nested, limits,
]  # fmt: skip


def plainly(attributes):
    found = {key: list(value) if isinstance(value, tuple) else repr(value) for key, value in (attributes or {}).items()}
    stack = found.get("exception.stacktrace")
    if stack:  # without the frames of the libraries in between
        found["exception.stacktrace"] = [line for line in stack.split("\\n  File") if __file__ in line]
    return found


def read(span):
    """Return what a reader finds on a finished span."""
    times = [span.start_time, span.end_time]
    return {
        "name": span.name,
        "kind": span.kind.name,
        "parent": span.parent is not None,
        "attributes": plainly(span.attributes),
        "events": [
            [e.name, plainly(e.attributes), e.timestamp if e.timestamp <= 1.7e18 else "now"] for e in span.events
        ],
        "links": [[link.context.span_id, plainly(link.attributes)] for link in span.links],
        "status": [span.status.status_code.name, span.status.description],
        "times": [time if time <= 1_700_000_001_000_000_000 else "now" for time in times],
        "dropped": [span.dropped_attributes, span.dropped_events, span.dropped_links],
    }


from otel_perf import recorder

emitted = []
recorder_emit = recorder.emit
light = sys.modules["otel_perf.tracing.light"]
light.emit = lambda span: (emitted.append(span), recorder_emit(span))  # what our folder gets, seen as objects
result = {}
for operation in OPERATIONS:
    found = []
    for tracer in (trace.get_tracer("app", "1.0"), provider.get_tracer("app", "1.0")):
        emitted.clear()
        exporter.clear()
        kept.clear()
        error = ""
        try:
            operation(tracer)
        except BaseException as caught:
            error = repr(caught)
        spans = emitted or exporter.get_finished_spans()
        found.append([[read(span) for span in spans], [repr(item) for item in kept if not hasattr(item, "end")], error])
    result[operation.__name__] = found
print(json.dumps(result))
