"""init(): what it refuses, where it speaks, and that it is safe to call wherever a program may."""

from __future__ import annotations

import sys

import pytest

from otel_perf import errors


def test_strict_raises_before_anything_has_begun_and_a_corrected_call_counts(run_python, spans_of, tmp_path):
    program = """
    import otel_perf as perf
    try:
        perf.init(phases=["A", "A"], strict=True)
    except ValueError as error:
        print(type(error).__name__)
    perf.init(service="corrected", phases=["A", "B"], strict=True)
    with perf.phase("A"):
        pass
    with perf.phase("B"):
        pass
    """

    result = run_python(program)

    assert (errors.ConfigError.__name__ + "\n", "") == (result.stdout, result.stderr)
    assert {"corrected"} == {span["resource"]["service.name"] for span in spans_of(tmp_path)}


def test_strict_may_come_from_the_environment(run_python):
    result = run_python(
        "import otel_perf; otel_perf.init()", env={"OTEL_PERF_STRICT": "1", "OTEL_PERF_KEEP_RUNS": "many"}
    )

    assert 1 == result.returncode
    assert "ConfigError: OTEL_PERF_KEEP_RUNS" in result.stderr


def test_without_strict_a_bad_setting_is_one_line_and_the_default(run_python, spans_of, tmp_path):
    result = run_python("import otel_perf; otel_perf.init()", env={"OTEL_PERF_KEEP_RUNS": "many"})

    assert (0, 1) == (result.returncode, len(result.stderr.splitlines()))
    assert "startup" in {span["name"] for span in spans_of(tmp_path)}


@pytest.mark.parametrize("stream", ["None", "open(os.devnull)"])
def test_a_stderr_that_takes_nothing_harms_nobody(run_python, stream):
    program = f"""
    import os, sys
    sys.stderr = {stream}
    import otel_perf as perf
    perf.init(phases=7)
    perf.init(phases=["other"])
    print("done")
    """

    assert (0, "done\n") == (lambda r: (r.returncode, r.stdout))(run_python(program))


@pytest.mark.skipif(sys.version_info >= (3, 12), reason="the interpreter's defect is mended in 3.12")
def test_a_finaliser_that_is_profiled_does_not_crash_the_interpreter(run_python):
    program = """
    import otel_perf as perf
    perf.init()

    class Connection:
        def __init__(self):
            self.me = self
        @perf.profile
        def close(self):
            pass
        def __del__(self):
            self.close()

    @perf.profile
    def request():
        Connection()

    for _ in range(100_000):
        request()
    print("done")
    """

    result = run_python(program)

    assert (0, "done\n") == (result.returncode, result.stdout)


def test_an_error_that_escapes_an_exit_leaves_no_dead_call_current(run_python, spans_of, assert_whole_tree, tmp_path):
    program = """
    import otel_perf as perf
    perf.init()
    perf.ready()

    @perf.profile("deep", span_threshold=0)
    def deep():
        deep()

    for _ in range(5):
        try:
            deep()
        except RecursionError:
            pass
    with perf.profile("after", span_threshold=0):
        pass
    """

    run_python(program)

    spans = spans_of(tmp_path)
    assert_whole_tree(spans)
    assert [None] == [span["parent_id"] for span in spans if span["name"] == "after"]


def test_a_handler_set_after_ours_that_calls_ours_decides_how_the_process_ends(run_python):
    program = """
    import os, signal, sys
    import otel_perf as perf
    perf.init()
    old = signal.getsignal(signal.SIGTERM)
    def mine(number, frame):
        if callable(old):
            old(number, frame)
        print("saved")
        sys.exit(5)
    signal.signal(signal.SIGTERM, mine)
    os.kill(os.getpid(), signal.SIGTERM)
    """

    result = run_python(program)

    assert (5, "saved\n") == (result.returncode, result.stdout)


def test_slow_processors_of_the_application_do_not_hold_our_files_back(run_python):
    program = """
    import glob, time
    from opentelemetry import trace
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter, SpanExportResult

    class Slow(SpanExporter):
        def export(self, spans):
            time.sleep(0.02)
            return SpanExportResult.SUCCESS

    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(Slow()))
    trace.set_tracer_provider(provider)
    import otel_perf as perf
    perf.init()
    time.sleep(0.5)
    for _ in range(100):
        with perf.profile("needle", span_threshold=0):
            pass
    time.sleep(1.0)
    print(sum(open(f).read().count('"name":"needle"') for f in glob.glob(".otel-perf/*/*/traces.jsonl")))
    """

    assert "100\n" == run_python(program).stdout


@pytest.mark.timed
def test_what_init_costs_is_counted_with_what_it_loads(run_python, spans_of, tmp_path):
    """By the program's clock, around the line that the program writes."""
    result = run_python(
        """
        import time
        import otel_perf as perf
        begun = time.perf_counter()
        perf.init()
        print(time.perf_counter() - begun)
        """
    )

    assert (0, "") == (result.returncode, result.stderr)
    took = float(result.stdout)
    (root,) = [span for span in spans_of(tmp_path) if span["name"] == "startup"]
    assert 0.8 * took < root["attributes"]["otel_perf.self.init_time"] <= took


def test_budget_on_a_metric_that_there_is_not_is_one_line(run_python, tmp_path):
    (tmp_path / "otel-perf.toml").write_text("[budgets.ours]\nmetric = 'process.memory.usge'\nmax = '1GB'\n")

    result = run_python(
        """
        import time
        import otel_perf as perf
        perf.init()
        perf.budget("mine", metric="process.threads.count", max=100)
        perf.gauge("process.own").set(1)
        perf.budget("own", metric="process.own", max=100)
        perf.ready()
        time.sleep(1.2)
        """
    )

    assert 0 == result.returncode
    assert [
        "otel-perf: budget 'ours': metric: there is no 'process.memory.usge'; did you mean 'process.memory.usage'? "
        "(otel-perf.toml, [budgets.ours])",
        "otel-perf: budget 'mine': metric: there is no 'process.threads.count'; did you mean 'process.thread.count'? "
        "(script.py:5)",
    ] == result.stderr.splitlines()
    doctor = run_python(["-m", "otel_perf", "doctor"])
    assert "there is no 'process.memory.usge'" in doctor.stdout + doctor.stderr


def test_a_worker_that_could_not_be_started_is_started_with_a_later_record(run_python, spans_of, tmp_path):
    """A container may have no more threads for a moment; the process goes on for days."""
    result = run_python(
        """
        import os, time
        import otel_perf as perf
        from otel_perf import runtime

        def fail(*_, start=runtime.start):
            runtime.start = start
            raise RuntimeError("can't start new thread")

        runtime.start = fail
        perf.init()
        for name in ("CoreInit", "UI"):
            with perf.phase(name):
                pass
            time.sleep(1.2)
        os._exit(0)  # nothing is left to the exit
        """
    )

    assert (0, "") == (result.returncode, result.stderr)
    assert {"PreInit", "CoreInit", "UI"} == {span["name"] for span in spans_of(tmp_path)}
