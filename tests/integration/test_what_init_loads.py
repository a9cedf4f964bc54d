"""What importing and starting the package brings into a program: names of modules, never a stopwatch."""

from __future__ import annotations

import sys

import pytest

HEAVY = {
    "opentelemetry", "opentelemetry.sdk", "psutil", "google.protobuf", "grpc", "requests", "typing", "dataclasses", "json",
    "logging", "re", "enum", "inspect", "pathlib", "contextlib", "functools", "collections", "importlib.metadata",
    "socket", "subprocess", "threading", "tomllib", "uuid", "random", "ssl", "http", "asyncio", "datetime", "traceback",
    "signal", "ctypes", "platform", "shutil", "tempfile", "types", "urllib",
}  # fmt: skip


def test_import_loads_next_to_nothing(modules_after):
    plain = modules_after("")

    assert {"otel_perf"} == modules_after("import otel_perf") - plain


def test_init_leaves_the_sdk_and_slow_stdlib_unloaded(modules_after):
    code = "import otel_perf; otel_perf.init(); otel_perf.ready()"

    assert set() == HEAVY & modules_after(code)


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere psutil is the sampler")
def test_a_second_later_the_worker_has_still_not_loaded_them(modules_after):
    code = """
    import time, otel_perf as perf
    perf.init()
    with perf.phase("CoreInit"):
        pass
    perf.ready()
    time.sleep(1.3)
    """

    assert set() == HEAVY & modules_after(code)


def test_decorating_and_calling_loads_nothing_more(modules_after):
    code = """
    import otel_perf as perf
    perf.init()
    @perf.profile
    def f(a, *, b=1):
        return a
    f(1)
    """

    assert set() == HEAVY & modules_after(code)


def test_a_toml_file_of_others_does_not_load_tomllib(modules_after, tmp_path):
    (tmp_path / "pyproject.toml").write_text("[project]\nname = 'x'\n")

    assert "tomllib" not in modules_after("import otel_perf; otel_perf.init()")
