"""Import timing: does it agree with ``-X importtime`` in the same process, and what does it cost a start?"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from . import measure
from .table import Goal, Row

GROUP = "Imports"
STARTS = {
    "sqlalchemy": "import sqlalchemy, sqlalchemy.orm",
    "pandas": "import pandas",
    "django": """
from django.conf import settings
settings.configure(INSTALLED_APPS=["django.contrib." + app for app in ("admin", "auth", "contenttypes", "messages")])
import django
django.setup()
import django.contrib.admin
""",
}
SPAN_ABOVE = 0.005  # seconds, the default of import_threshold
SLOWER_THAN = 0.002  # seconds: the modules that are compared
AGREE = Goal(at_most=0.02)
OVERHEAD = Goal(at_most=0.005)


def rows(quick: bool) -> list[Row]:
    """Compare with the interpreter's own figures, then set the cost of all imports against the start."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        measure.progress("imports: cost of one")
        one = measure.ask(f"from bench import imports; imports.child({300 if quick else 3000})", folder)
        measure.progress("")
        hook, span = one["timed"] - one["bare"], one["span"] - one["bare"]
        found = [
            Row(GROUP, "one import timed", hook, "s", one["bare"], "the import itself, of an empty module"),
            Row(
                GROUP, "one import that becomes a span", span, "s", one["bare"], "the import itself, of an empty module"
            ),
        ]
        for package, code in STARTS.items():
            found += _package(package, code, folder, 2 if quick else 5, hook, span)
    return found


def _package(package: str, code: str, folder: Path, rounds: int, hook: float, span: float) -> list[Row]:
    cache = measure.environment(PYTHONPYCACHEPREFIX=str(folder / "cache"))

    def start() -> float:
        """Return the seconds from the creation of a process to the end of its imports, without otel-perf."""
        whole = f"{code}\nimport time; print(time.time() - {time.time()!r})"
        return float(measure.run([sys.executable, "-c", whole], folder, cache).stdout)

    start()  # writes the .pyc files
    errors, missed, compared = [], set(), 0
    results = measure.interleaved(
        {
            "both": lambda: compare(code, folder),
            "plain": start,
        },
        rounds,
        f"imports of {package}",
    )
    for theirs, ours in results["both"]:
        for module, took in theirs.items():
            if took < SLOWER_THAN or module.partition(".")[0] == "otel_perf":  # ours are not the program's
                continue
            compared += 1
            if module not in ours:
                missed.add(module)
                continue
            errors.append(abs(ours[module] - took) / took)
    number = len(results["both"][0][0])
    spans = min(sum(took > SPAN_ABOVE for took in theirs.values()) for theirs, _ in results["both"])
    whole = min(results["plain"])
    cost = (number - spans) * hook + spans * span
    of = f"{compared} times of modules ≥ 2 ms; the largest error is {max(errors):.2%}"
    return [
        Row(GROUP, f"{package}: median error of total times", measure.median(errors), "%", goal=AGREE, note=of),
        Row(GROUP, f"{package}: 95th percentile of the errors", measure.percentile(errors, 0.95), "%", goal=AGREE),
        Row(
            GROUP,
            f"{package}: modules ≥ 2 ms that we miss",
            len(missed),
            "",
            goal=Goal(at_most=0),
            note=", ".join(missed),
        ),
        Row(
            GROUP,
            f"{package}: {number} imports × cost, share of the start",
            cost / whole,
            "%",
            goal=OVERHEAD,
            note=f"{cost * 1e3:.2f} ms ({spans} spans) of {whole * 1e3:.0f} ms",
        ),
    ]


def compare(code: str, folder: Path) -> tuple[dict[str, float], dict[str, float]]:
    """Run *code* once; return total seconds by module as ``-X importtime`` prints them, and as we record them."""
    with tempfile.TemporaryDirectory(dir=folder) as name:
        where = Path(name)
        env = measure.environment(
            PYTHONPYCACHEPREFIX=str(folder / "cache"), PYTHONPATH=measure.source(), OTEL_PERF_IMPORT_THRESHOLD="0.1ms"
        )
        script = f"import otel_perf; otel_perf.init(); {BEGIN}\n{code}"
        done = measure.run([sys.executable, "-X", "importtime", "-c", script], where, env)
        if done.returncode:
            raise RuntimeError(f"imports failed:\n{done.stderr[-2000:]}")
        _, _, after = done.stderr.partition(MARK)
        return _importtime(after), _recorded(where)


MARK = "imports begin"
# What our worker loads to write is no part of the program, and not timed: it has done so after a second.
BEGIN = f"import sys, time; time.sleep(1.2); sys.stderr.write({MARK!r} + chr(10)); sys.stderr.flush()"


def _importtime(text: str) -> dict[str, float]:
    """Decode ``import time: self [us] | cumulative | package``; a package that is re-entered is there twice."""
    found: dict[str, float] = {}
    for line in text.splitlines():
        columns = line.removeprefix("import time:").split("|")
        module = columns[-1].strip()
        if len(columns) == 3 and columns[1].strip().isdecimal():
            found[module] = max(found.get(module, 0.0), int(columns[1]) / 1e6)
    return found


def _recorded(where: Path) -> dict[str, float]:
    found: dict[str, float] = {}
    for file in where.glob(".otel-perf/*/*/traces.jsonl"):
        for line in file.read_text().splitlines():
            for span in _spans(json.loads(line)):
                if span["name"].startswith("import "):
                    took = (int(span["endTimeUnixNano"]) - int(span["startTimeUnixNano"])) / 1e9
                    module = span["name"].removeprefix("import ")
                    found[module] = max(found.get(module, 0.0), took)
    return found


def _spans(line: Any) -> list[Any]:
    return [span for r in line["resourceSpans"] for scope in r["scopeSpans"] for span in scope["spans"]]


def child(rounds: int) -> None:
    """Print what the import of an empty module costs: bare, timed, and as a span."""
    from importlib.machinery import ModuleSpec

    import otel_perf
    from otel_perf import imports, recorder

    class Loader:
        @staticmethod
        def create_module(spec: ModuleSpec) -> None:
            return None

        @staticmethod
        def exec_module(module: Any) -> None:
            pass

    class Finder:
        @staticmethod
        def find_spec(name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
            return ModuleSpec(name, Loader) if name == empty else None  # type: ignore[arg-type]

    otel_perf.init()  # no ready(): it is a start whose imports are timed
    imports.uninstall()
    empty = "bench_empty"
    sys.meta_path.insert(0, Finder)
    names = {"modules": sys.modules}
    count = 20
    bursts = {kind: measure.burst(f"import {empty}; del modules[{empty!r}]", count, names) for kind in ("a", "b", "c")}

    def hooked(kind: str, threshold: float) -> float:
        if not imports.install():
            raise RuntimeError("the import hook is not in place")
        imports.threshold = threshold
        try:
            return bursts[kind]()
        finally:
            imports.uninstall()
            recorder.drain()  # the worker has no time to write between the bursts

    kinds = {"bare": bursts["a"], "timed": lambda: hooked("b", 1.0), "span": lambda: hooked("c", 0.0)}
    found = measure.fastest(kinds, rounds)
    print(json.dumps(found))
