"""The moments at which something ends: the start, the process, a copy of it; what is open then, and what ends just then."""

from __future__ import annotations

import time

import pytest

BUSY_THREADS = """
    import threading
    import otel_perf as perf

    perf.init(service="busy")

    @perf.profile(span_threshold=0)
    def outer(n):
        inner(n)

    @perf.profile(span_threshold=0)
    def inner(n):
        return sum(range(n))

    def work():
        while not over.is_set():
            outer(50)

    over = threading.Event()
    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    threading.Event().wait(0.1)
"""


def assert_whole(spans, assert_whole_tree):
    """Every parent is there, nothing ends before it begins, and nothing of ours ends after its parent."""
    assert_whole_tree(spans)
    by_id = {span["span_id"]: span for span in spans}
    assert [] == [span["name"] for span in spans if span["end"] < span["start"]]
    for span in spans:
        above = by_id.get(span["parent_id"])
        if above is not None and not span["attributes"].get("otel_perf.detached"):
            assert above["start"] <= span["start"], (span, above)
            assert above["end"] >= span["end"], (span, above)


def test_threads_at_work_while_the_start_ends_leave_whole_traces(run_python, spans_of, tmp_path, assert_whole_tree):
    result = run_python(BUSY_THREADS + "    perf.ready(); over.set()\n")

    assert 0 == result.returncode, result.stderr
    spans = spans_of(tmp_path)
    assert_whole(spans, assert_whole_tree)
    assert {"startup", "outer", "inner"} <= {span["name"] for span in spans}


def test_threads_at_work_while_the_process_ends_leave_whole_traces(run_python, spans_of, tmp_path, assert_whole_tree):
    program = BUSY_THREADS.replace("target=work)", "target=work, daemon=True)")

    result = run_python(program + "    perf.ready()\n    threading.Event().wait(0.1)\n")

    assert 0 == result.returncode, result.stderr
    assert_whole(spans_of(tmp_path), assert_whole_tree)


@pytest.mark.timed
def test_ready_on_another_thread_divides_the_calls_in_progress(run_python, spans_of, tmp_path, assert_whole_tree):
    result = run_python(
        """
        import threading, time
        import otel_perf as perf

        perf.init(service="divided")

        def serve():
            time.sleep(0.1)
            perf.ready()

        @perf.profile
        def main():
            helper()

        @perf.profile
        def helper():
            thread = threading.Thread(target=serve)
            thread.start()
            thread.join()
            time.sleep(0.05)

        main()
        """
    )

    assert 0 == result.returncode, result.stderr
    spans = spans_of(tmp_path)
    assert_whole(spans, assert_whole_tree)
    root = next(span for span in spans if span["name"] == "startup")
    in_start = {span["name"]: span for span in spans if span["trace_id"] == root["trace_id"]}
    rest = {span["name"]: span for span in spans if span["trace_id"] != root["trace_id"]}
    assert root["span_id"] == in_start["main"]["parent_id"]
    assert in_start["main"]["span_id"] == in_start["helper"]["parent_id"]
    for depth, name in enumerate(("main", "helper"), start=1):
        assert in_start[name]["attributes"]["otel_perf.open"]
        assert depth == in_start[name]["attributes"]["otel_perf.depth"]
        assert root["end"] == in_start[name]["end"]
        assert 0.04 < (rest[name]["end"] - rest[name]["start"]) / 1e9 < 0.5
        link = rest[name]["links"][0]
        assert (root["trace_id"], in_start[name]["span_id"]) == (link["trace_id"], link["span_id"])


def test_span_of_the_plain_api_that_is_open_at_the_end_is_recorded_as_open(
    run_python, spans_of, tmp_path, assert_whole_tree
):
    result = run_python(
        """
        import otel_perf as perf
        from opentelemetry import trace

        perf.init(service="left")
        tracer = trace.get_tracer("app")
        connection = tracer.start_span("connection")
        with trace.use_span(connection, end_on_exit=False):
            with tracer.start_as_current_span("query"):
                pass
        """
    )

    assert 0 == result.returncode, result.stderr
    spans = {span["name"]: span for span in spans_of(tmp_path)}
    assert_whole_tree(list(spans.values()))
    assert spans["connection"]["span_id"] == spans["query"]["parent_id"]
    assert spans["connection"]["attributes"]["otel_perf.open"]


def test_forked_child_does_not_end_its_parents_span_again(run_python, spans_of, tmp_path, assert_whole_tree):
    result = run_python(
        """
        import os
        import otel_perf as perf
        from opentelemetry import trace

        perf.init(service="fork")
        tracer = trace.get_tracer("app")
        with tracer.start_as_current_span("request"):
            child = os.fork()
            if not child:
                with tracer.start_as_current_span("in the child"):
                    pass
        if child:
            os.waitpid(child, 0)
        """
    )

    assert 0 == result.returncode, result.stderr
    spans = spans_of(tmp_path)
    assert_whole_tree(spans)
    assert 1 == [span["name"] for span in spans].count("request")
    assert 1 == [span["name"] for span in spans].count("in the child")


@pytest.mark.timed
def test_term_while_the_import_lock_is_held_ends_at_once_and_loses_nothing(run_python, spans_of, tmp_path):
    """The interpreter holds that lock for moments only; the program holds it here as an import does then."""
    program = """
        import _imp, os, signal, time
        import otel_perf as perf

        perf.init(service="term")
        with perf.phase("CoreInit"):
            _imp.acquire_lock()
            time.sleep(0.5)
            os.kill(os.getpid(), signal.SIGTERM)
        """

    began = time.monotonic()
    result = run_python(program)

    assert -15 == result.returncode
    assert time.monotonic() - began < 1.8, "the exit waited for a worker that waited for the lock"
    spans = {span["name"]: span for span in spans_of(tmp_path)}
    assert spans["startup"]["attributes"]["otel_perf.interrupted"]
    assert spans["CoreInit"]["attributes"]["otel_perf.interrupted"]


def test_init_after_shutdown_says_that_nothing_is_recorded_any_more(run_python, spans_of, tmp_path):
    result = run_python(
        """
        import otel_perf as perf

        perf.init(service="first")
        perf.shutdown()
        perf.init(service="second")
        """
    )

    assert 0 == result.returncode
    assert "otel-perf: init() after shutdown() records nothing: a process is recorded once\n" == result.stderr
    assert {"first"} == {span["resource"]["service.name"] for span in spans_of(tmp_path)}
