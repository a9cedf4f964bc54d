"""An application's own TracerProvider, set whenever it likes: it wins, and each span is once in each place."""

from __future__ import annotations

import json

SDK = """
    import json, logging, sys, threading, time
    from opentelemetry import trace
    from opentelemetry.sdk.trace import TracerProvider, SpanProcessor
    from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor, SpanExporter, SpanExportResult

    class Exporter(SpanExporter):
        "Prints what it has got when it is shut down."
        def __init__(self):
            self.spans, self.down = [], False
        def export(self, spans):
            if self.down:
                print("exported after shutdown", [span.name for span in spans], file=sys.stderr)
            self.spans += [(s.name, s.context.span_id, s.parent.span_id if s.parent else 0) for s in spans]
            return SpanExportResult.SUCCESS
        def shutdown(self):
            self.down = True
            print(json.dumps(self.spans))

    def provider_with(processor, **options):
        provider = TracerProvider(**options)
        provider.add_span_processor(processor(Exporter()))
        return provider

    import otel_perf as perf
"""


def flat(spans):
    return sorted((s["name"], int(s["span_id"], 16), int(s["parent_id"] or "0", 16)) for s in spans)


def exported(result):
    return sorted(map(tuple, json.loads(result.stdout.splitlines()[-1])))


def test_a_provider_set_in_the_middle_of_the_start_gets_all_of_it(run_python, spans_of, assert_whole_tree, tmp_path):
    """What had ended before it was set waits for it."""
    result = run_python(
        f"""{SDK}
    perf.init("middle")
    tracer = trace.get_tracer("app")
    with perf.phase("CoreInit"):
        with tracer.start_as_current_span("light"):
            pass
    time.sleep(0.4)  # the worker has written these
    with perf.phase("UI"):
        trace.set_tracer_provider(provider_with(BatchSpanProcessor))
        with tracer.start_as_current_span("sdk"), perf.profile("call", span_threshold=0):
            pass
    perf.ready()
    with perf.phase("later"):
        pass
    """
    )
    spans = spans_of(tmp_path)

    assert (0, "") == (result.returncode, result.stderr)
    assert_whole_tree(spans)
    assert flat(spans) == exported(result)
    assert {"startup", "CoreInit", "light", "sdk", "call", "later"} <= {span["name"] for span in spans}


def test_a_start_that_only_the_exit_ends_reaches_the_provider_before_it_is_shut_down(
    otel_versions, run_python, spans_of, assert_whole_tree, tmp_path
):
    """The provider registered its shutdown after our exit: without care its backend would lack the root."""
    result = run_python(
        f"""{SDK}
    perf.init("never ready")
    trace.set_tracer_provider(provider_with(BatchSpanProcessor))
    with perf.phase("CoreInit"), trace.get_tracer("app").start_as_current_span("sdk"):
        pass
    perf.enter_phase("UI")
    """,
        path=[otel_versions],
        site=False,
    )
    spans = spans_of(tmp_path)

    assert (0, "") == (result.returncode, result.stderr)
    assert_whole_tree(spans)
    assert flat(spans) == exported(result)
    (root,) = [span for span in spans if span["name"] == "startup"]
    assert root["attributes"]["otel_perf.ready"] == "exit"


def test_flushing_the_provider_flushes_ours_too(run_python):
    result = run_python(
        f"""{SDK}
    perf.init("flush")
    provider = provider_with(BatchSpanProcessor)
    trace.set_tracer_provider(provider)
    late = Exporter()
    provider.add_span_processor(BatchSpanProcessor(late))
    perf.ready()
    with perf.phase("just now"):
        pass
    provider.force_flush()
    print("just now" in [name for name, _, _ in late.spans])
    """
    )

    assert (0, "") == (result.returncode, result.stderr)
    assert result.stdout.startswith("True\n")


def test_the_application_may_set_its_provider_once_as_without_us(otel_versions, run_python):
    result = run_python(
        f"""{SDK}
    perf.init("once")
    tracer = trace.get_tracer("app")
    print(type(trace.get_tracer_provider()).__name__, type(tracer).__name__)
    trace.set_tracer_provider(TracerProvider())
    print(type(trace.get_tracer_provider()).__name__, type(tracer.start_span("raw")).__module__)
    sys.stderr.write("second:\\n")
    trace.set_tracer_provider(TracerProvider())
    """,
        path=[otel_versions],
        site=False,
    )

    assert "ProxyTracerProvider ProxyTracer\nTracerProvider opentelemetry.sdk.trace\n" == result.stdout
    assert "second:\nOverriding of current TracerProvider is not allowed\n" == result.stderr


SAMPLER = f"""{SDK}
    from opentelemetry.sdk.trace.sampling import Decision, Sampler, SamplingResult

    class Counting(Sampler):
        "Keeps the roots whose name does not begin with drop, and what has a sampled parent."
        def __init__(self):
            self.asked = []
        def should_sample(self, parent_context, trace_id, name, *args, **kwargs):
            self.asked.append(name)
            trace.get_current_span().get_span_context()  # as samplers do that look for more
            parent = trace.get_current_span(parent_context).get_span_context()
            keep = parent.trace_flags.sampled if parent.is_valid else not name.startswith("drop")
            return SamplingResult(Decision.RECORD_AND_SAMPLE if keep else Decision.DROP)
        def get_description(self):
            return "counting"

    sampler = Counting()
"""


def test_the_applications_sampler_is_asked_once_for_each_root_of_ours(
    otel_versions, run_python, spans_of, assert_whole_tree, tmp_path
):
    result = run_python(
        f"""{SAMPLER}
    perf.init("sampler")
    trace.set_tracer_provider(TracerProvider(sampler=sampler))
    perf.ready()
    tracer = trace.get_tracer("app")
    with perf.phase("root"), perf.phase("below"), perf.profile("call", span_threshold="10s"):
        pass
    with perf.phase("drop phase"), perf.phase("drop below"):
        print(trace.get_current_span().is_recording())
        with tracer.start_as_current_span("raw below"), perf.phase("ours below"):
            pass
    with tracer.start_as_current_span("drop raw"), perf.phase("ours below raw"):
        pass
    with perf.profile("raw makes it a root", span_threshold="10s"), tracer.start_as_current_span("kept"):
        pass
    print(json.dumps(sampler.asked))
    """,
        path=[otel_versions],
        site=False,
    )
    spans = spans_of(tmp_path)

    assert (0, "") == (result.returncode, result.stderr)
    assert_whole_tree(spans)
    recording, asked = result.stdout.splitlines()
    assert recording == "False"
    assert ["root", "drop phase", "raw below", "drop raw", "raw makes it a root", "kept"] == json.loads(asked)
    later = {span["name"] for span in spans if span["parent_id"] is None or span["name"] in ("below", "kept")}
    assert {"startup", "root", "below", "raw makes it a root", "kept"} == later
    assert not {span["name"] for span in spans if "drop" in span["name"] or "ours below" in span["name"]}


def test_below_a_remote_span_the_applications_sampler_decides(run_python, spans_of, tmp_path):
    result = run_python(
        f"""{SAMPLER}
    perf.init("remote")
    trace.set_tracer_provider(TracerProvider(sampler=sampler))
    from opentelemetry import context, propagate
    for trace_id, flag in (("1" * 32, "01"), ("2" * 32, "00")):
        token = context.attach(propagate.extract({{"traceparent": f"00-{{trace_id}}-b7ad6b7169203331-{{flag}}"}}))
        with perf.phase("below " + flag):
            pass
        context.detach(token)
    """
    )

    assert (0, "") == (result.returncode, result.stderr)
    assert ["below 01"] == [s["name"] for s in spans_of(tmp_path) if s["name"].startswith("below")]


def test_a_sampler_that_is_itself_recorded_or_raises_or_waits_hurts_nobody(run_python, spans_of, tmp_path):
    """It is asked outside of our lock: another thread may need an id before the sampler can answer."""
    result = run_python(
        f"""{SAMPLER}
    class Odd(Counting):
        @perf.profile(span_threshold=0)
        def should_sample(self, parent_context, trace_id, name, *args, **kwargs):
            if name == "raises":
                raise RuntimeError
            if name == "waits":
                with trace.get_tracer("app").start_as_current_span("in the sampler"), perf.phase("in the sampler too"):
                    pass
                thread = threading.Thread(target=other)
                thread.start()
                thread.join(5)
                print("alive" if thread.is_alive() else "ended")
            return super().should_sample(parent_context, trace_id, name, *args, **kwargs)

    def other():
        with perf.phase("in another thread"):
            pass

    perf.init("odd")
    perf.ready()
    trace.set_tracer_provider(TracerProvider(sampler=Odd()))
    for name in ("raises", "waits"):
        with perf.phase(name):
            pass
    """
    )
    names = {span["name"] for span in spans_of(tmp_path)}

    assert (0, "") == (result.returncode, result.stderr)
    assert result.stdout == "ended\n"
    assert {"raises", "waits", "in another thread"} <= names


def test_processors_and_exporters_that_raise_or_ask_do_not_cost_us_a_span(
    run_python, spans_of, assert_whole_tree, tmp_path
):
    result = run_python(
        f"""{SDK}
    logging.disable()
    class Raising(SpanProcessor):
        def on_end(self, span):
            raise RuntimeError
        force_flush = on_end
    class Recorded(SpanProcessor):
        def on_end(self, span):
            with perf.profile("in the processor", span_threshold=0):
                pass
    perf.init("raising")
    provider = TracerProvider()
    trace.set_tracer_provider(provider)
    provider.add_span_processor(Recorded())
    provider.add_span_processor(Raising())
    for _ in range(10):
        with perf.phase("ours"):
            span = trace.get_tracer("app").start_span("theirs")
            try:
                span.end()
            except RuntimeError:
                pass
    perf.ready()
    """
    )
    spans = spans_of(tmp_path)
    names = [span["name"] for span in spans]

    assert (0, "") == (result.returncode, result.stderr)
    assert_whole_tree(spans)
    assert (10, 10) == (names.count("ours"), names.count("theirs"))


def test_spans_that_the_sdk_records_without_sampling_do_not_reach_the_folder(run_python, spans_of, tmp_path):
    result = run_python(
        f"""{SAMPLER}
    class RecordOnly(Sampler):
        def should_sample(self, *args, **kwargs):
            return SamplingResult(Decision.RECORD_ONLY)
        def get_description(self):
            return "record only"
    perf.init("record only")
    perf.ready()
    trace.set_tracer_provider(TracerProvider(sampler=RecordOnly()))
    with trace.get_tracer("app").start_as_current_span("raw"), perf.phase("below"):
        pass
    """
    )

    assert (0, "") == (result.returncode, result.stderr)
    assert not {"raw", "below"} & {span["name"] for span in spans_of(tmp_path)}


def test_a_no_op_provider_that_the_application_sets_wins_too(run_python, spans_of, tmp_path):
    result = run_python(
        """
        import otel_perf as perf
        perf.init("no-op")
        from opentelemetry import trace
        tracer = trace.get_tracer("app")
        trace.set_tracer_provider(trace.NoOpTracerProvider())
        with perf.phase("phase"), tracer.start_as_current_span("raw"), perf.phase("inner"):
            pass
        """
    )
    spans = {span["name"]: span for span in spans_of(tmp_path)}

    assert (0, "") == (result.returncode, result.stderr)
    assert "raw" not in spans
    assert spans["phase"]["span_id"] == spans["inner"]["parent_id"]


def test_a_provider_that_is_none_of_the_sdks_is_left_alone(run_python):
    result = run_python(
        """
        import otel_perf as perf
        perf.init("foreign")
        from opentelemetry import trace
        class Provider(trace.TracerProvider):
            def get_tracer(self, *args, **kwargs):
                return trace.NoOpTracer()
            def __getattr__(self, name):
                raise RuntimeError(name)
        trace.set_tracer_provider(Provider())
        with perf.phase("phase"):
            pass
        perf.ready()
        print(type(trace.get_tracer_provider()).__name__)
        """
    )

    assert (0, "", "Provider\n") == (result.returncode, result.stderr, result.stdout)


def test_the_provider_that_an_environment_variable_names_is_adopted(run_python, spans_of, assert_whole_tree, tmp_path):
    result = run_python(
        """
        import otel_perf as perf
        perf.init("environment")
        from opentelemetry import trace
        with perf.phase("phase"), trace.get_tracer("app").start_as_current_span("raw") as span:
            print(type(span).__module__)
        """,
        env={"OTEL_PYTHON_TRACER_PROVIDER": "sdk_tracer_provider"},
    )
    spans = spans_of(tmp_path)
    by_name = {span["name"]: span for span in spans}

    assert (0, "", "opentelemetry.sdk.trace\n") == (result.returncode, result.stderr, result.stdout)
    assert_whole_tree(spans)
    assert by_name["phase"]["span_id"] == by_name["raw"]["parent_id"]


def test_without_the_provider_switch_nothing_is_shared(run_python, spans_of, tmp_path):
    result = run_python(
        f"""{SAMPLER}
    perf.init("apart")
    provider = provider_with(SimpleSpanProcessor, sampler=sampler)
    before = provider._active_span_processor._span_processors
    trace.set_tracer_provider(provider)
    perf.ready()
    with perf.phase("drop this"), trace.get_tracer("app").start_as_current_span("raw"):
        pass
    assert before == provider._active_span_processor._span_processors
    from otel_perf import tracing
    print(sampler.asked, tracing.status["provider"])
    """,
        env={"OTEL_PERF_PROVIDER": "0"},
    )
    names = {span["name"] for span in spans_of(tmp_path)}
    asked, spans = result.stdout.splitlines()

    assert (0, "") == (result.returncode, result.stderr)
    assert asked == "['raw'] off"
    assert ["raw"] == [name for name, _, _ in json.loads(spans)]
    assert "raw" not in names
    assert "drop this" in names


def test_a_root_of_ours_is_no_longer_held_for_a_provider_once_the_start_is_over(run_python, spans_of, tmp_path):
    result = run_python(
        f"""{SDK}
    perf.init("late")
    tracer = trace.get_tracer("app")
    with perf.phase("CoreInit"):
        pass
    perf.ready()
    time.sleep(0.5)
    trace.set_tracer_provider(provider_with(SimpleSpanProcessor))
    with tracer.start_as_current_span("sdk"), perf.phase("later"):
        pass
    """
    )

    assert (0, "") == (result.returncode, result.stderr)
    names = [name for name, _, _ in exported(result)]
    assert ["later", "sdk"] == [name for name in names if not name.startswith("import ")]  # one may take its time
    assert {"CoreInit", "startup", "later", "sdk"} <= {span["name"] for span in spans_of(tmp_path)}


def test_our_spans_at_the_exporter_are_complete_readable_spans(otel_versions, run_python, spans_of, tmp_path):
    """What the application's exporter gets of ours is what our folder has."""
    result = run_python(
        f"""{SDK}
    class Detailed(Exporter):
        def export(self, spans):
            for s in spans:
                self.spans.append({{
                    "name": s.name, "start": s.start_time, "end": s.end_time, "kind": s.kind.value + 1,
                    "attributes": {{k: list(v) if isinstance(v, tuple) else v for k, v in s.attributes.items()}},
                    "events": [[e.name, e.timestamp, dict(e.attributes)] for e in s.events],
                    "status": [s.status.status_code.value, s.status.description or ""],
                    "links": [[l.context.trace_id, l.context.span_id] for l in s.links],
                    "resource": s.resource.attributes["service.name"], "scope": s.instrumentation_scope.name
                    if hasattr(s, "instrumentation_scope") else s.instrumentation_info.name,
                }})
            return SpanExportResult.SUCCESS
    from opentelemetry.sdk.resources import Resource
    perf.init("ours")
    provider = TracerProvider(resource=Resource({{"service.name": "theirs"}}))
    provider.add_span_processor(SimpleSpanProcessor(Detailed()))
    trace.get_tracer("light").start_span("light", attributes={{"a": [1, 2]}}).end()
    trace.set_tracer_provider(provider)
    try:
        with perf.phase("failing"):
            trace.get_current_span().add_event("event", {{"b": 1.5}}, 5)
            raise ValueError("message")
    except ValueError:
        pass
    with perf.phase("open at the end"):
        perf.ready()
        time.sleep(0.02)
    """,
        path=[otel_versions],
        site=False,
    )
    assert (0, "") == (result.returncode, result.stderr)
    theirs = sorted(json.loads(result.stdout.splitlines()[-1]), key=lambda span: (span["name"], span["start"]))
    ours = sorted(spans_of(tmp_path), key=lambda span: (span["name"], span["start"]))

    assert [span["name"] for span in ours] == [span["name"] for span in theirs]
    for mine, sent in zip(ours, theirs, strict=True):
        assert mine["attributes"] == sent["attributes"]
        assert [[e["name"], e["time"], e["attributes"]] for e in mine["events"]] == sent["events"]
        assert [mine["status"]["code"], mine["status"]["message"]] == sent["status"]
        assert [[int(x["trace_id"], 16), int(x["span_id"], 16)] for x in mine["links"]] == sent["links"]
        assert {key: mine[key] for key in ("start", "end", "kind")} == {k: sent[k] for k in ("start", "end", "kind")}
        assert ("theirs", mine["scope"]["name"]) == (sent["resource"], sent["scope"])


def test_a_provider_that_was_shut_down_is_given_nothing_more(otel_versions, run_python, spans_of, tmp_path):
    """It would complain of each span that comes later."""
    result = run_python(
        f"""{SDK}
    perf.init("shut down")
    provider = provider_with(BatchSpanProcessor)
    trace.set_tracer_provider(provider)
    with perf.phase("before"):
        pass
    provider.shutdown()
    with perf.phase("after"):
        pass
    perf.ready()
    time.sleep(0.4)
    """,
        path=[otel_versions],
        site=False,
    )
    sent = [name for name, _, _ in exported(result)]

    assert (0, "") == (result.returncode, result.stderr)
    assert ("before" in sent, "after" in sent) == (True, False)
    assert {"before", "after"} <= {span["name"] for span in spans_of(tmp_path)}


def test_a_forked_child_gives_its_provider_nothing_of_its_parents(run_python, spans_of, assert_whole_tree, tmp_path):
    result = run_python(
        f"""{SDK}
    import os
    perf.init("fork")
    with perf.phase("parent"):
        pass
    time.sleep(0.4)  # it waits for a provider now
    child = os.fork()
    if not child:
        trace.set_tracer_provider(provider_with(SimpleSpanProcessor))
        with perf.phase("child"):
            pass
        perf.shutdown()
        trace.get_tracer_provider().shutdown()
        sys.stdout.flush()
        os._exit(0)
    os.waitpid(child, 0)
    """
    )
    spans = spans_of(tmp_path)

    assert (0, "") == (result.returncode, result.stderr)
    assert_whole_tree(spans)
    assert ["child"] == [name for name, _, _ in exported(result) if not name.startswith("import ")]
    assert 2 == len({span["process"] for span in spans})
