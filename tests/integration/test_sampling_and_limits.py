"""OTEL_SDK_DISABLED, OTEL_TRACES_SAMPLER, OTEL_PROPAGATORS and the span limits mean what the specification says.

Source: OpenTelemetry specification, "General SDK Configuration", "Attribute Limits" and "Span Limits".
"""

from __future__ import annotations

import json

import pytest

# --- the sampler ------------------------------------------------------------------------------------------

SAMPLING = """
    import json, logging
    logging.disable()  # the SDK says where it takes a default
    import otel_perf as perf
    perf.init("sampling")
    perf.ready()
    from opentelemetry import context, propagate, trace
    from opentelemetry.sdk.trace import sampling

    reference = sampling._get_from_env_or_default()  # the SDK's own reading of the same environment
    tracer = trace.get_tracer("app")
    answers = []  # name, whether it is sampled, what the SDK's sampler says of the same trace id and parent

    def note(name, parent):
        mine = trace.get_current_span().get_span_context()
        theirs = reference.should_sample(parent, mine.trace_id, name).decision.is_sampled()
        answers.append([name, bool(mine.trace_flags & 1), theirs])

    for number in range(40):
        with tracer.start_as_current_span(f"raw {number}"):
            note(f"raw {number}", context.Context())
            with perf.phase(f"raw child {number}"):
                pass
        with perf.phase(f"phase {number}"):
            note(f"phase {number}", context.Context())
            tracer.start_span(f"phase child {number}").end()
        for flag in ("00", "01"):
            header = {"traceparent": f"00-{(number + 1) * 0x0602030405060708090a0b0c0d0e0f % 2**128:032x}-b7ad6b7169203331-{flag}"}
            parent = propagate.extract(header)
            for kind, start in (("raw", tracer.start_as_current_span), ("phase", perf.phase)):
                token = context.attach(parent)
                with start(f"{kind} below {flag} {number}"):
                    note(f"{kind} below {flag} {number}", parent)
                context.detach(token)
    print(json.dumps(answers))
"""
SAMPLERS = (
    ("", ""),
    ("always_on", ""),
    ("always_off", ""),
    ("traceidratio", "0.25"),
    ("traceidratio", ""),
    ("traceidratio", "0"),
    ("parentbased_always_on", ""),
    ("parentbased_always_off", ""),
    ("parentbased_traceidratio", "0.5"),
    ("PARENTBASED_ALWAYS_OFF", ""),
)


@pytest.mark.parametrize(("sampler", "argument"), SAMPLERS)
def test_each_sampler_decides_as_the_sdks_does(run_python, spans_of, assert_whole_tree, tmp_path, sampler, argument):
    variables = {"OTEL_TRACES_SAMPLER": sampler or None, "OTEL_TRACES_SAMPLER_ARG": argument or None}
    result = run_python(SAMPLING, env=variables)
    assert (0, "") == (result.returncode, result.stderr)
    answers = json.loads(result.stdout)
    spans = spans_of(tmp_path)
    names = {span["name"] for span in spans}
    kept = {name for name, mine, _ in answers if mine}

    assert [] == [answer for answer in answers if answer[1] != answer[2]]
    assert kept == {
        span["name"] for span in spans if span["name"].startswith(("raw ", "phase ")) and "child" not in span["name"]
    }
    for name, mine, _ in answers:
        if "below" not in name:
            kind, number = name.split()
            assert mine == (f"{kind} child {number}" in names)
    assert_whole_tree(spans, external=["b7ad6b7169203331"])


def test_the_ratio_is_about_the_share_of_roots_that_is_kept(run_python, spans_of, tmp_path):
    result = run_python(
        """
        import otel_perf as perf
        perf.init("ratio")
        perf.ready()
        for _ in range(4000):
            with perf.phase("root"):
                pass
        """,
        env={"OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0.25"},
    )

    assert (0, "") == (result.returncode, result.stderr)
    assert 850 < [span["name"] for span in spans_of(tmp_path)].count("root") < 1150  # five standard deviations


@pytest.mark.parametrize(
    ("sampler", "argument", "said"),
    [
        ("sometimes", "", "OTEL_TRACES_SAMPLER: 'sometimes' is none of always_on"),
        ("traceidratio", "a lot", "OTEL_TRACES_SAMPLER_ARG: 'a lot' is no ratio from 0 to 1; taking 1"),
        ("parentbased_traceidratio", "1.5", "OTEL_TRACES_SAMPLER_ARG: '1.5' is no ratio"),
        ("traceidratio", "nan", "OTEL_TRACES_SAMPLER_ARG: 'nan' is no ratio"),
    ],
)
def test_a_sampler_that_is_none_is_named_once_and_everything_is_kept(
    run_python, spans_of, tmp_path, sampler, argument, said
):
    result = run_python(
        """
        import otel_perf as perf
        perf.init("none")
        with perf.phase("kept"):
            pass
        """,
        env={"OTEL_TRACES_SAMPLER": sampler, "OTEL_TRACES_SAMPLER_ARG": argument},
    )

    assert result.returncode == 0
    assert result.stderr.count("\n") == 1
    assert result.stderr.startswith(f"otel-perf: {said}")
    assert "kept" in {span["name"] for span in spans_of(tmp_path)}


def test_calls_of_an_unsampled_trace_are_counted_all_the_same(run_python, spans_of, metrics_of, tmp_path):
    result = run_python(
        """
        import otel_perf as perf
        perf.init("unsampled")
        perf.ready()
        for _ in range(5):
            with perf.profile("call", span_threshold=0):
                pass
        """,
        env={"OTEL_TRACES_SAMPLER": "always_off"},
    )
    calls = [
        m["point"]["count"]
        for m in metrics_of(tmp_path)
        if m["attributes"].get("function") == "call" and "count" in m["point"]
    ]

    assert (0, "") == (result.returncode, result.stderr)
    assert [] == spans_of(tmp_path)
    assert calls[-1] == 5


# --- switched off -----------------------------------------------------------------------------------------

DISABLED = """
    import sys, threading
    import otel_perf as perf
    perf.init("disabled")
    from opentelemetry import context, trace
    tracer = trace.get_tracer("app")

    @perf.profile
    def function():
        return tracer.start_span("raw")

    with perf.phase("phase"), perf.operation("operation"):
        span = function()
    perf.ready()
    context.get_current()
    print(type(context._RUNTIME_CONTEXT).__module__, span is trace.INVALID_SPAN, threading.active_count())
    perf.shutdown()
"""


@pytest.mark.parametrize("value", ["true", "TRUE", " True "])
def test_a_disabled_sdk_leaves_everything_stock_and_writes_nothing(otel_versions, run_python, tmp_path, value):
    result = run_python(DISABLED, env={"OTEL_SDK_DISABLED": value}, path=[otel_versions], site=False)

    assert (0, "") == (result.returncode, result.stderr)
    assert "opentelemetry.context.contextvars_context True 1\n" == result.stdout
    assert not (tmp_path / ".otel-perf").exists()


@pytest.mark.parametrize("value", ["false", "1", "yes", ""])
def test_only_true_disables(run_python, spans_of, tmp_path, value):
    """The specification: any value that is not true, in any case, is false."""
    run_python(DISABLED, env={"OTEL_SDK_DISABLED": value})

    assert "phase" in {span["name"] for span in spans_of(tmp_path)}


# --- propagators ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("propagators", "headers"),
    [
        (None, ["baggage", "traceparent"]),
        ("tracecontext", ["traceparent"]),
        ("baggage", ["baggage"]),
        ("none", []),
        ("baggage,tracecontext", ["baggage", "traceparent"]),
    ],
)
def test_the_propagators_of_the_environment_inject_and_extract(run_python, propagators, headers):
    result = run_python(
        """
        import json
        import otel_perf as perf
        perf.init("propagators")
        from opentelemetry import baggage, context, propagate, trace
        context.attach(baggage.set_baggage("key", "value"))
        with perf.phase("phase"):
            carrier = {}
            propagate.inject(carrier)
        found = propagate.extract(carrier, context.Context())
        print(sorted(carrier), trace.get_current_span(found).get_span_context().is_valid, dict(baggage.get_all(found)))
        """,
        env={"OTEL_PROPAGATORS": propagators},
    )
    extracted = {"key": "value"} if "baggage" in headers else {}

    assert (0, "") == (result.returncode, result.stderr)
    assert f"{headers} {'traceparent' in headers} {extracted}\n" == result.stdout


# --- limits on our own spans ------------------------------------------------------------------------------


def test_the_span_limits_hold_for_what_is_set_on_ours(run_python, spans_of, tmp_path):
    result = run_python(
        """
        import logging
        logging.disable()
        import otel_perf as perf
        perf.init("limits")
        from opentelemetry import trace
        with perf.phase("phase"):
            span = trace.get_current_span()
            span.set_attributes({f"key{i}": "x" * 40 for i in range(10)})
            for number in range(10):
                span.add_event(f"event {number}", {f"key{i}": "y" * 40 for i in range(10)})
        """,
        env={
            "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT": "4",
            "OTEL_EVENT_ATTRIBUTE_COUNT_LIMIT": "3",
            "OTEL_SPAN_EVENT_COUNT_LIMIT": "2",
            "OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT": "10",
            "OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT": "20",
        },
    )
    (span,) = [span for span in spans_of(tmp_path) if span["name"] == "phase"]
    given = {key: value for key, value in span["attributes"].items() if key.startswith("key")}

    assert (0, "") == (result.returncode, result.stderr)
    assert {f"key{i}": "x" * 20 for i in range(6, 10)} == given
    assert ["event 8", "event 9"] == [event["name"] for event in span["events"]]
    assert [{f"key{i}": "y" * 10 for i in range(7, 10)}] * 2 == [event["attributes"] for event in span["events"]]


@pytest.mark.parametrize("value", ["-1", "many", "1.5"])
def test_a_limit_that_is_none_is_named_once_and_the_default_taken(run_python, spans_of, tmp_path, value):
    result = run_python(
        """
        import otel_perf as perf
        perf.init("limits")
        from opentelemetry import trace
        span = trace.get_tracer("app").start_span("raw")
        for number in range(200):
            span.add_event("event")
        span.end()
        """,
        env={"OTEL_SPAN_EVENT_COUNT_LIMIT": value},
    )
    (span,) = [span for span in spans_of(tmp_path) if span["name"] == "raw"]

    assert result.stderr.startswith("otel-perf: OTEL_SPAN_EVENT_COUNT_LIMIT")
    assert (0, 1) == (result.returncode, result.stderr.count("\n"))
    assert 128 == len(span["events"])
