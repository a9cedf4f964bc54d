"""operation() and ``slow=``: a span each time, and a line through logging with ids that lead to it."""

from __future__ import annotations

import json
import textwrap
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

LOGGING = """
import asyncio, json, logging, sys, time
import otel_perf as perf
lines = []
class Keep(logging.Handler):
    def emit(self, record):
        lines.append([record.name, record.levelname, record.getMessage(), record.trace_id, record.span_id, record.duration])
logging.getLogger().addHandler(Keep())
logging.getLogger("otel_perf").setLevel(logging.DEBUG)
perf.init()
"""


@pytest.fixture
def logged(run_python: Any, spans_of: Any, tmp_path: Path) -> Callable[..., Any]:
    """Return a function that runs a program and gives its log lines and, by name, its spans."""

    def run(program: str, **options: Any) -> tuple[list[Any], dict[str, list[Any]]]:
        end = "\nperf.shutdown()\nprint(json.dumps(lines))\n"
        done = run_python(LOGGING + textwrap.dedent(program) + end, options=("-W", "error"), **options)
        assert ("", 0) == (done.stderr, done.returncode)
        spans: dict[str, list[Any]] = {}
        for span in spans_of(tmp_path):
            spans.setdefault(span["name"], []).append(span)
        return json.loads(done.stdout), spans

    return run


def test_an_operation_is_a_span_and_a_debug_line_or_a_warning_past_its_limit(logged: Any) -> None:
    lines, spans = logged("""
        with perf.operation("fast"): pass
        with perf.operation("under", slow="10s"): pass
        with perf.operation("over", slow="5ms"): time.sleep(.02)
        perf.ready()
        with perf.operation("fast"): pass
        with perf.operation("over", slow=.005): time.sleep(.02)
    """)

    assert ["fast", "under", "over", "fast", "over"] == [text.split()[0] for _, _, text, *_ in lines]
    assert ["DEBUG", "DEBUG", "WARNING", "DEBUG", "WARNING"] == [level for _, level, *_ in lines]
    known = {(span["trace_id"], span["span_id"]): span for each in spans.values() for span in each}
    for logger, _, text, trace_id, span_id, duration in lines:
        span = known[trace_id, span_id]
        assert "otel_perf" == logger
        assert text.startswith(f"{span['name']} took ")
        assert text.endswith(f" trace_id={trace_id} span_id={span_id}")
        assert pytest.approx((span["end"] - span["start"]) / 1e9, abs=1e-6) == duration
        assert "operation" == span["attributes"]["otel_perf.kind"]
    assert ", more than 5 ms trace_id=" in lines[2][2]
    assert 5 == len({span_id for *_, span_id, _ in lines})


def test_operations_of_every_form_write_one_line_each(logged: Any) -> None:
    lines, spans = logged("""
        @perf.operation("function", slow=0)
        def function(): return 1
        @perf.operation("coroutine", slow=0)
        async def coroutine(): await asyncio.sleep(0)
        @perf.operation("generator", slow=0)
        def generator(): yield 1; yield 2
        @perf.operation("async generator", slow=0)
        async def async_generator(): yield 1
        @perf.operation("failing", slow=0)
        def failing(): raise ValueError("no")
        class Shop:
            @perf.operation("method", slow=0)
            def save(self): pass
        async def consume():
            async for i in async_generator(): pass
        function(); asyncio.run(coroutine()); list(generator()); asyncio.run(consume()); Shop().save()
        try: failing()
        except ValueError: pass
    """)
    names = ["function", "coroutine", "generator", "async generator", "method", "failing"]

    assert names == [text.split(" took ")[0] for _, _, text, *_ in lines]
    assert {"WARNING"} == {level for _, level, *_ in lines}
    for (_, _, text, trace_id, span_id, _), name in zip(lines, names, strict=True):
        (span,) = spans[name]
        assert (trace_id, span_id) == (span["trace_id"], span["span_id"]), text
    assert 2 == spans["failing"][0]["status"]["code"]


def test_a_slow_call_of_a_profiled_function_is_a_warning_with_the_ids_of_its_span(logged: Any) -> None:
    """It becomes a span below its threshold too: the line must lead somewhere."""
    lines, spans = logged("""
        perf.ready()
        @perf.profile(slow="2ms", span_threshold="10s")
        def work(seconds): time.sleep(seconds)
        @perf.profile("items", slow="2ms", span_threshold="10s")
        def items(): time.sleep(.004); yield 1
        for _ in range(20): work(0)
        work(.004)
        list(items())
        with perf.profile("block", slow="2ms", span_threshold=10): time.sleep(.004)
    """)

    fast = [line for line in lines if line[5] <= 0.002]
    assert [] == fast, "what is not slow is not logged"
    for name in ("work", "items", "block"):
        own = [line for line in lines if line[2].startswith(f"{name} took ")]
        assert {"WARNING"} == {level for _, level, *_ in own}
        line = max(own, key=lambda line: line[5])
        assert line[5] >= 0.004
        assert line[4] in {span["span_id"] for span in spans[name]}
    assert len(lines) == sum(len(spans[name]) for name in ("work", "items", "block"))


def test_operations_nest_and_each_line_has_its_own_ids(logged: Any, assert_whole_tree: Any) -> None:
    lines, spans = logged("""
        save = perf.operation("save")
        async def one(i):
            with save:
                await asyncio.sleep(.001)
                with perf.operation(f"write {i}"): await asyncio.sleep(.001)
        async def main(): await asyncio.gather(*[one(i) for i in range(5)])
        asyncio.run(main())
    """)
    assert_whole_tree(span for each in spans.values() for span in each)

    assert 10 == len(lines) == len({line[4] for line in lines})
    saves = {span["span_id"] for span in spans["save"]}
    assert {line[4] for line in lines if line[2].startswith("save ")} == saves
    assert saves == {spans[f"write {i}"][0]["parent_id"] for i in range(5)}


def test_what_a_handler_does_neither_hurts_the_program_nor_is_lost(logged: Any) -> None:
    """A filter or handler of the application's may profile, log and raise."""
    lines, spans = logged("""
        @perf.profile(span_threshold=0)
        def in_handler(): pass
        class Odd(logging.Filter):
            def filter(self, record):
                in_handler()
                if record.getMessage().startswith("bad "): raise RuntimeError("filter")
                return True
        logging.getLogger("otel_perf").addFilter(Odd())
        with perf.operation("good"): result = 1
        with perf.operation("bad"): result = 2
        assert result == 2
    """)

    assert ["good"] == [text.split()[0] for _, _, text, *_ in lines]
    assert 2 == len(spans["in_handler"])
    assert {"good", "bad"} <= set(spans)


def test_a_program_that_has_not_loaded_logging_need_not_load_it(run_python: Any, spans_of: Any, tmp_path: Path) -> None:
    """It cannot have asked for DEBUG lines; a warning it gets, on stderr as logging does it without a handler."""
    done = run_python(
        """
        import sys, time
        import otel_perf as perf
        perf.init()
        with perf.operation("fast", slow=5): pass
        assert "logging" not in sys.modules
        with perf.operation("slow", slow=.001): time.sleep(.005)
        assert "logging" in sys.modules
        """,
        site=False,
    )
    spans = spans_of(tmp_path)
    (span,) = [span for span in spans if span["name"] == "slow"]

    assert 0 == done.returncode
    (line,) = done.stderr.splitlines()
    assert line.startswith("slow took ")
    assert line.endswith(f", more than 1 ms trace_id={span['trace_id']} span_id={span['span_id']}")
    imports = [span["name"] for span in spans if span["name"].startswith("import ")]
    assert [] == [name for name in imports if "logging" in name], "that import is ours, not the program's"


def test_nothing_is_logged_where_nothing_is_recorded(run_python: Any) -> None:
    done = run_python(
        """
        import logging, time
        import otel_perf as perf
        logging.basicConfig(level=logging.DEBUG)
        perf.init()
        with perf.operation("save", slow=0): time.sleep(.001)
        """,
        env={"OTEL_SDK_DISABLED": "true"},
    )

    assert ("", "", 0) == (done.stdout, done.stderr, done.returncode)
