"""Every way in which our spans and those of the OpenTelemetry API meet; test_context.py says what must come of it.

The argument says how the program uses OpenTelemetry: ``none`` imports the API after init() and has no SDK, ``early``
imports it and fetches its tracer before, ``before`` and ``after`` set an SDK provider of their own before or after.
Each row runs twice, during the start and after ready(), in a copy of the context; what it saw is printed as JSON.
"""

import asyncio
import contextvars
import json
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

mode = sys.argv[1]
exported = None


def set_provider():
    global exported
    from opentelemetry import trace
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    exported = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exported))
    trace.set_tracer_provider(provider)


if mode == "before":
    set_provider()
if mode == "early":
    from opentelemetry import trace

    tracer = trace.get_tracer("app")

import otel_perf as perf

perf.init("rows")
if mode == "after":
    set_provider()

from opentelemetry import baggage, context, propagate, trace
from opentelemetry.context import Context

if mode != "early":
    tracer = trace.get_tracer("app")

REMOTE = {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "tracestate": "vendor=1"}
saw = {"provider": type(trace.get_tracer_provider()).__name__}


def raw(name, **options):
    with tracer.start_as_current_span(name, **options):
        pass


@perf.profile("fast")
def fast(function, *args):
    return function(*args)


def raw_in_phase(row):
    with perf.phase(f"{row}.phase"):
        raw(f"{row}.raw")


def raw_in_fast_call(row):
    with perf.profile(f"{row}.call", span_threshold="10s"), perf.profile(f"{row}.inner", span_threshold="10s"):
        raw(f"{row}.raw")
    with perf.profile(f"{row}.silent", span_threshold="10s"):
        context.get_value("suppress_instrumentation")


def raw_in_slow_call(row):
    with perf.profile(f"{row}.call", span_threshold="1ms"):
        raw(f"{row}.raw")
        time.sleep(0.002)


def ours_in_raw(row):
    with tracer.start_as_current_span(f"{row}.raw"):
        with perf.phase(f"{row}.phase"):
            raw(f"{row}.inner")
        with perf.profile(f"{row}.call", span_threshold=0):
            pass
        with perf.profile(f"{row}.fast", span_threshold="10s"):
            pass


def generator(row):
    @perf.profile(f"{row}.items", span_threshold="10s")
    def items():
        raw(f"{row}.inside")
        yield
        raw(f"{row}.inside2")

    with perf.phase(f"{row}.phase"):
        for _ in items():
            raw(f"{row}.consumer")


def remote_parent(row):
    token = context.attach(propagate.extract(REMOTE))
    with perf.phase(f"{row}.phase"):
        raw(f"{row}.raw")
        saw[f"{row}.header"] = carrier = {}
        propagate.inject(carrier)
    raw(f"{row}.direct")
    context.detach(token)
    raw(f"{row}.after")


def explicit_context(row):
    span = tracer.start_span(f"{row}.elsewhere")
    with perf.phase(f"{row}.phase"):
        here = context.get_current()
        raw(f"{row}.given", context=trace.set_span_in_context(span))
        raw(f"{row}.empty", context=Context())
        raw(f"{row}.remote", context=propagate.extract(REMOTE))
        with tracer.start_as_current_span(f"{row}.other"):
            raw(f"{row}.back", context=here)
    span.end()


def empty_context_attached(row):
    with perf.phase(f"{row}.phase"):
        token = context.attach(Context())
        raw(f"{row}.raw")
        with perf.phase(f"{row}.inner"):
            pass
        context.detach(token)
        raw(f"{row}.after")


def inject(row):
    with perf.phase(f"{row}.phase"):
        saw[f"{row}.phase"] = carrier = {}
        propagate.inject(carrier)
    with perf.profile(f"{row}.call", span_threshold="10s"):
        saw[f"{row}.call"] = carrier = {}
        propagate.inject(carrier)


def asyncio_rows(row):
    def work(name):
        raw(name)

    async def child(name):
        await asyncio.sleep(0)
        with tracer.start_as_current_span(name), perf.profile(f"{name}.call", span_threshold=0):
            await asyncio.sleep(0.001)

    @perf.profile(f"{row}.coroutine", span_threshold="10s")
    async def coroutine():
        await child(f"{row}.awaited")

    async def late(name, event):
        await event.wait()
        for part in "12":
            raw(f"{name}.raw{part}")
        with perf.profile(f"{name}.call", span_threshold=0):
            raw(f"{name}.inner")

    async def main():
        event = asyncio.Event()
        with perf.phase(f"{row}.phase"):
            await asyncio.gather(child(f"{row}.gather1"), child(f"{row}.gather2"))
            await asyncio.create_task(child(f"{row}.task"))
            await asyncio.to_thread(work, f"{row}.thread")
            await asyncio.get_running_loop().run_in_executor(None, work, f"{row}.bare")
            await coroutine()
            after_phase = asyncio.create_task(late(f"{row}.late", event))
            with perf.profile(f"{row}.quick", span_threshold="10s"):
                after_call = asyncio.create_task(late(f"{row}.late2", event))
        event.set()
        await asyncio.gather(after_phase, after_call)

    asyncio.run(main())


def copied_contexts(row):
    with perf.phase(f"{row}.phase"):
        open_copy = contextvars.copy_context()
        open_copy.run(raw, f"{row}.open")
        copy, again = contextvars.copy_context(), contextvars.copy_context()
    copy.run(raw, f"{row}.ended")
    thread = threading.Thread(target=again.run, args=(raw, f"{row}.thread"))
    thread.start()
    thread.join()


def threads(row):
    def attached(ctx):
        token = context.attach(ctx)
        raw(f"{row}.attached")
        with perf.profile(f"{row}.call", span_threshold=0):
            raw(f"{row}.inner")
        context.detach(token)
        raw(f"{row}.detached")

    def bare():
        raw(f"{row}.bare")
        with perf.profile(f"{row}.bare_call", span_threshold="10s"):
            raw(f"{row}.bare_inner")
        token = context.attach(baggage.set_baggage("key", "value"))
        with perf.phase(f"{row}.bare_attached"):
            pass
        context.detach(token)

    with perf.phase(f"{row}.phase"), ThreadPoolExecutor(1) as pool:
        pool.submit(attached, context.get_current()).result()
        pool.submit(bare).result()


def attach_outlives_phase(row):
    with perf.phase(f"{row}.phase"):
        token = context.attach(baggage.set_baggage("key", "value"))
    saw[f"{row}.during"] = baggage.get_baggage("key")
    raw(f"{row}.during")
    context.detach(token)
    saw[f"{row}.after"] = baggage.get_baggage("key")
    raw(f"{row}.after")
    with perf.phase(f"{row}.last"):
        pass


def attach_outlives_call(row):
    def before_request():
        span = tracer.start_span(f"{row}.request")
        first = context.attach(baggage.set_baggage("key", "value"))
        return span, first, context.attach(trace.set_span_in_context(span))

    span, first, token = fast(before_request)
    saw[f"{row}.during"] = baggage.get_baggage("key")
    raw(f"{row}.during")
    with perf.phase(f"{row}.phase"):
        raw(f"{row}.inner")
    for _ in range(20):  # soon its exit is the fast one
        fast(str)
    fast(context.detach, token)
    with perf.profile(f"{row}.teardown", span_threshold=0):
        context.detach(first)
        raw(f"{row}.left")
    span.end()
    saw[f"{row}.after"] = baggage.get_baggage("key")
    raw(f"{row}.after")


def detached_twice_over(row):
    """Work started by work that was started in a context which has been detached since."""

    async def inner(name, event):
        await event.wait()
        saw[name] = baggage.get_baggage("key")
        raw(name)
        with perf.profile(f"{name}.fast", span_threshold="10s"), perf.profile(f"{name}.call", span_threshold=0):
            saw[f"{name}.call"] = baggage.get_baggage("key")

    async def outer(event, later):
        await event.wait()
        with perf.phase(f"{row}.phase"):
            first = asyncio.create_task(inner(f"{row}.in_phase", later))
        with perf.profile("quick", span_threshold="10s"):
            second = asyncio.create_task(inner(f"{row}.in_call", later))
        await asyncio.sleep(0)
        later.set()
        await asyncio.gather(first, second)

    async def main():
        event, later = asyncio.Event(), asyncio.Event()
        with tracer.start_as_current_span(f"{row}.request"):
            token = context.attach(baggage.set_baggage("key", "value"))
            task = asyncio.create_task(outer(event, later))
            await asyncio.sleep(0)
            context.detach(token)
        event.set()
        await task

    asyncio.run(main())


def baggage_nests(row):
    token = context.attach(baggage.set_baggage("outer", "1"))
    with perf.phase(f"{row}.phase"):
        inner = context.attach(baggage.set_baggage("inner", "2"))
        with perf.profile(f"{row}.call", span_threshold=0):
            saw[f"{row}.both"] = dict(baggage.get_all())
            carrier = {}
            propagate.inject(carrier)
            saw[f"{row}.header"] = sorted(carrier["baggage"].split(","))
        context.detach(inner)
        saw[f"{row}.outer"] = dict(baggage.get_all())
    context.detach(token)
    saw[f"{row}.none"] = dict(baggage.get_all())


def current_span_is_ours(row):
    with perf.phase(f"{row}.phase"):
        span = trace.get_current_span()
        saw[f"{row}.recording"] = span.is_recording()
        span.set_attribute("text", "value")
        span.set_attributes({"number": 1, "list": [1, 2]})
        span.add_event("event", {"key": "value"}, 1_700_000_000_000_000_000)
        span.record_exception(ValueError("message"), {"more": True})
        span.set_status(trace.Status(trace.StatusCode.ERROR, "went wrong"))
    saw[f"{row}.ended"] = span.is_recording()
    span.set_attribute("late", True)
    with perf.profile(f"{row}.call", span_threshold="10s"):
        trace.get_current_span().set_attribute("text", "value")


ROWS = [
    raw_in_phase, raw_in_fast_call, raw_in_slow_call, ours_in_raw, generator, remote_parent, explicit_context,
    empty_context_attached, inject, asyncio_rows, copied_contexts, threads, attach_outlives_phase, attach_outlives_call,
    detached_twice_over, baggage_nests, current_span_is_ours,
]  # fmt: skip
for when in ("start", "later"):
    for function in ROWS:
        contextvars.copy_context().run(function, f"{when}.{function.__name__}")
    if when == "start":
        perf.ready()
if exported is not None:
    trace.get_tracer_provider().force_flush()
    saw["exported"] = [
        [span.name, span.context.span_id, span.parent.span_id if span.parent else 0, span.context.trace_id]
        for span in exported.get_finished_spans()
    ]
print(json.dumps(saw))
