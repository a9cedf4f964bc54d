"""What every test may use: clean surroundings, real interpreters, readers of the run folder, old versions.

The readers decode OTLP/JSON with plain ``json``, not with the decoder of the package: a mistake that encoder
and decoder share must not go unseen.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import tempfile
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from _pytest.runner import runtestprotocol
from hypothesis import settings

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence

SRC = str(Path(__file__).resolve().parents[1] / "src")
SITE_PACKAGES = sysconfig.get_path("purelib")

# --- surroundings -----------------------------------------------------------------------------------------

for _number, _handler in ((signal.SIGINT, signal.default_int_handler), (getattr(signal, "SIGQUIT", 0), signal.SIG_DFL)):
    if _number and signal.getsignal(_number) is signal.SIG_IGN:  # a shell starts what goes on in the background so
        signal.signal(_number, _handler)


def _is_ours(variable: str) -> bool:
    return variable.startswith(("OTEL_", "OTEL_PERF_"))


def _clean_environment() -> dict[str, str]:
    """Return this process's environment without what changes how Python, OpenTelemetry or we behave."""
    kept = (name for name in os.environ if not _is_ours(name) and not name.startswith(("PYTHON", "PYTEST_")))
    return {name: os.environ[name] for name in kept}


@pytest.fixture(autouse=True)
def _no_telemetry_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in filter(_is_ours, list(os.environ)):
        monkeypatch.delenv(variable)


def _fail_if_needed_in_ci(report: pytest.TestReport | pytest.CollectReport) -> None:
    """Turn the skip of a test that lacks its stack, browser or tool into a failure: CI must have them all."""
    if os.environ.get("CI") != "true" or not report.skipped or not isinstance(report.longrepr, tuple):
        return
    path, line, reason = report.longrepr
    reason = reason.removeprefix("Skipped: ")
    if reason.startswith("needs "):
        report.outcome = "failed"
        report.longrepr = f"{path}:{line}: skipped in CI, where nothing may be missing: {reason}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Iterator[None]:
    report = yield
    _fail_if_needed_in_ci(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Iterator[None]:
    report = yield
    _fail_if_needed_in_ci(report)
    return report


# --- which tests take long --------------------------------------------------------------------------------

# Three quarters of the time of unit and integration tests: they wait for exits, seconds, receivers that are silent.
LONG = (
    "faults", "integration/terminal", "integration/test_doctor.py", "integration/test_exemplars.py",
    "integration/test_folder.py", "integration/test_follow.py", "integration/test_follow_metrics.py",
    "integration/test_follow_sender.py", "integration/test_hostile_programs.py", "integration/test_meter_provider.py",
    "integration/test_monitor.py", "integration/test_readiness.py", "integration/test_replay.py",
    "integration/test_sampling_cases.py", "integration/test_sampling_rooms.py", "integration/test_unfinished.py",
    "integration/test_view_beside.py", "integration/test_view_push.py",
)  # fmt: skip


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests of LONG as ``slow``, before it is chosen by marks."""
    here = Path(__file__).parent
    long = [here / name for name in LONG]
    for item in items:
        if any(item.path.is_relative_to(place) for place in long):
            item.add_marker(pytest.mark.slow)


# An example's time says how busy the machine is; all else is as Hypothesis has it, in CI and elsewhere.
settings.register_profile("ours", parent=settings(), deadline=None)
settings.load_profile("ours")

# --- tests that others on the machine can disturb ---------------------------------------------------------

TIMED_ATTEMPTS = 3
ATTEMPTS = {"integration": 2, "faults": 2, "stack": 2, "browser": 2}  # by folder; one of all others
AGAIN = "rerun"  # the outcome of a try that others follow


@pytest.hookimpl
def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> bool | None:
    """Run a test of real processes a second time if it fails, one marked ``timed`` a third time; each is counted.

    Others on the machine may take the CPU away from those processes for a third of a second, more than any wait of
    a test foresees. It begins anew with what its module has set up. A test of our functions alone has one try.
    """
    folder = item.path.relative_to(Path(__file__).parent).parts[0]
    attempts = TIMED_ATTEMPTS if item.get_closest_marker("timed") is not None else ATTEMPTS.get(folder, 1)
    if attempts == 1:
        return None
    item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
    for attempt in range(1, attempts + 1):
        reports = runtestprotocol(item, nextitem=nextitem, log=False)
        again = attempt < attempts and any(report.failed for report in reports)
        for report in reports:
            if again and report.failed:
                report.outcome = AGAIN
            item.ihook.pytest_runtest_logreport(report=report)
        if not again:
            break
        item.session._setupstate.teardown_exact(item.session)
    item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
    return True


def pytest_report_teststatus(report: pytest.TestReport) -> tuple[str, str, tuple[str, dict[str, bool]]] | None:
    return (AGAIN, "R", ("RERUN", {"yellow": True})) if report.outcome == AGAIN else None


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Name each test that was run again, and why: one that needs it often is no measurement."""
    for report in terminalreporter.getreports(AGAIN):
        terminalreporter.line(f"RERUN {report.nodeid} - {report.longrepr.reprcrash.message}")


# --- real interpreters ------------------------------------------------------------------------------------


@pytest.fixture
def modules_after(tmp_path: Path) -> Callable[[str], set[str]]:
    """Return a function giving the names in sys.modules of a fresh interpreter after *code*."""

    def run(code: str) -> set[str]:
        code = textwrap.dedent(code)
        script = f"import sys; sys.path[:0] = {[SRC, SITE_PACKAGES]!r}\n{code}\nprint(*sys.modules)"
        command = [sys.executable, "-I", "-S", "-c", script]  # -S: a .pth file may preload what we look for
        out = subprocess.check_output(command, text=True, timeout=60, cwd=tmp_path, env=_clean_environment())
        return set(out.split())

    return run


@pytest.fixture
def run_python(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Return a function that runs a program in a fresh interpreter and gives its CompletedProcess.

    The program is a script's text (written to *name* in the test's folder, dedented) or a list of arguments
    for the interpreter, e.g. ``["-m", "json.tool"]``. Options: *args* after the program; *options* for the
    interpreter before it; *env* on top of the cleaned environment (``None`` as a value removes a variable);
    *path* folders before src on PYTHONPATH; *site* false leaves out this environment's site-packages
    (``-S``); *cwd* instead of the test's folder; *input* for stdin, which is empty otherwise.
    """

    def run(
        program: str | Sequence[str | Path],
        *,
        args: Sequence[str | Path] = (),
        options: Sequence[str] = (),
        env: Mapping[str, str | None] | None = None,
        path: Iterable[str | Path] = (),
        site: bool = True,
        cwd: Path | None = None,
        input: str | None = None,
        name: str = "script.py",
        timeout: float = 60,
    ) -> subprocess.CompletedProcess[str]:
        if isinstance(program, str):
            script = tmp_path / name
            script.write_text(textwrap.dedent(program), encoding="utf-8")
            program = [script]
        environment = _clean_environment()
        environment["PYTHONPATH"] = os.pathsep.join([*map(str, path), SRC])
        for variable, value in (env or {}).items():
            if value is None:
                environment.pop(variable, None)
            else:
                environment[variable] = value
        return subprocess.run(
            [sys.executable, *options, *([] if site else ["-S"]), *map(str, program), *map(str, args)],
            env=environment,
            cwd=cwd or tmp_path,
            input=input,
            stdin=subprocess.DEVNULL if input is None else None,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    return run


# --- the run folder ---------------------------------------------------------------------------------------


def _value(any_value: dict[str, Any]) -> Any:
    """Decode an OTLP/JSON AnyValue; 64-bit integers are strings there, an empty object is None."""
    if not any_value:
        return None
    ((kind, value),) = any_value.items()
    if kind == "intValue":
        return int(value)
    if kind == "doubleValue":
        return float(value)  # "NaN", "Infinity" and "-Infinity" too
    if kind == "arrayValue":
        return [_value(item) for item in value.get("values", [])]
    if kind == "kvlistValue":
        return _attributes(value.get("values", []))
    assert kind in ("stringValue", "boolValue", "bytesValue")
    return value


def _attributes(pairs: list[dict[str, Any]]) -> dict[str, Any]:
    decoded = {pair["key"]: _value(pair["value"]) for pair in pairs}
    assert len(pairs) == len(decoded), f"an attribute is there twice: {[pair['key'] for pair in pairs]}"
    return decoded


def _id(text: str, digits: int) -> str:
    assert re.fullmatch(f"[0-9a-f]{{{digits}}}", text), f"{text!r} is no id of {digits} hex digits"
    assert set(text) != {"0"}, "an id of zeros is invalid"
    return text


def _nano(text: str) -> int:
    assert isinstance(text, str), f"64-bit integers are strings in OTLP/JSON, got {text!r}"
    return int(text)


def _lines(folder: Path, name: str) -> Iterator[tuple[str, Any]]:
    runs = folder / ".otel-perf"
    # earlier parts of a file that has grown come before the one that is being written, by their names too
    for file in sorted((runs if runs.is_dir() else folder).glob(f"*/*/{name.replace('.', '*.')}")):
        for line in file.read_text(encoding="utf-8").splitlines():
            yield file.parent.name, json.loads(line)


@pytest.fixture
def spans_of() -> Callable[[Path], list[dict[str, Any]]]:
    """Return a function giving the spans below a folder's ``.otel-perf/``, decoded and flat.

    Keys: name, trace_id, span_id, parent_id (None for a root), start, end (int ns), attributes, events (name,
    time, attributes), links (trace_id, span_id, attributes), status (code, message), kind, flags, resource,
    scope (name, version), process (the folder's name).
    """

    def read(folder: Path) -> list[dict[str, Any]]:
        return [
            {
                "name": span["name"],
                "trace_id": _id(span["traceId"], 32),
                "span_id": _id(span["spanId"], 16),
                "parent_id": _id(span["parentSpanId"], 16) if span.get("parentSpanId") else None,
                "start": _nano(span["startTimeUnixNano"]),
                "end": _nano(span["endTimeUnixNano"]),
                "attributes": _attributes(span.get("attributes", [])),
                "events": [
                    {
                        "name": event["name"],
                        "time": _nano(event["timeUnixNano"]),
                        "attributes": _attributes(event.get("attributes", [])),
                    }
                    for event in span.get("events", [])
                ],
                "links": [
                    {
                        "trace_id": _id(link["traceId"], 32),
                        "span_id": _id(link["spanId"], 16),
                        "attributes": _attributes(link.get("attributes", [])),
                    }
                    for link in span.get("links", [])
                ],
                "status": {"code": 0, "message": "", **span.get("status", {})},
                "kind": span.get("kind", 0),
                "flags": span.get("flags", 0),
                "resource": _attributes(group.get("resource", {}).get("attributes", [])),
                "scope": {"name": "", "version": "", **scoped.get("scope", {})},
                "process": process,
            }
            for process, data in _lines(folder, "traces.jsonl")
            for group in data["resourceSpans"]
            for scoped in group["scopeSpans"]
            for span in scoped["spans"]
        ]

    return read


_INTEGERS = ("startTimeUnixNano", "timeUnixNano", "count", "zeroCount", "asInt")
_DOUBLES = ("sum", "min", "max", "asDouble", "zeroThreshold")


def _point(point: dict[str, Any]) -> dict[str, Any]:
    """Return a data point with Python numbers; ``value`` is that of a gauge's or sum's point."""
    decoded = {key: value for key, value in point.items() if key != "attributes"}
    decoded |= {key: _nano(point[key]) for key in _INTEGERS if key in point}
    decoded |= {key: float(point[key]) for key in _DOUBLES if key in point}
    for side in ("positive", "negative"):
        if side in point:
            decoded[side] = {
                "offset": point[side].get("offset", 0),
                "bucketCounts": [_nano(count) for count in point[side].get("bucketCounts", [])],
            }
    if "asInt" in decoded or "asDouble" in decoded:
        decoded["value"] = decoded.get("asInt", decoded.get("asDouble"))
    return decoded


@pytest.fixture
def metrics_of() -> Callable[[Path], list[dict[str, Any]]]:
    """Return a function giving the metric points below a folder's ``.otel-perf/``, oldest first.

    Keys: metric, unit, type (gauge, sum, exponentialHistogram …), temporality, monotonic, attributes, point
    (numbers decoded; ``value`` for gauges and sums), resource, scope, process.
    """

    def read(folder: Path) -> list[dict[str, Any]]:
        found = []
        for process, data in _lines(folder, "metrics.jsonl"):
            for group in data["resourceMetrics"]:
                for scoped in group["scopeMetrics"]:
                    for metric in scoped["metrics"]:
                        (kind,) = metric.keys() - {"name", "description", "unit", "metadata"}
                        for point in metric[kind]["dataPoints"]:
                            found.append(
                                {
                                    "metric": metric["name"],
                                    "unit": metric.get("unit", ""),
                                    "type": kind,
                                    "temporality": metric[kind].get("aggregationTemporality", 0),
                                    "monotonic": metric[kind].get("isMonotonic", False),
                                    "attributes": _attributes(point.get("attributes", [])),
                                    "point": _point(point),
                                    "resource": _attributes(group.get("resource", {}).get("attributes", [])),
                                    "scope": {"name": "", "version": "", **scoped.get("scope", {})},
                                    "process": process,
                                }
                            )
        return found

    return read


@pytest.fixture
def logs_of() -> Callable[[Path], list[dict[str, Any]]]:
    """Return a function giving the log records below a folder's ``.otel-perf/``, oldest first.

    Keys: name (of the event), time (int ns), severity (number, text), attributes, trace_id, span_id, resource, process.
    """

    def read(folder: Path) -> list[dict[str, Any]]:
        return [
            {
                "name": record["eventName"],
                "time": _nano(record["timeUnixNano"]),
                "severity": (record["severityNumber"], record["severityText"]),
                "attributes": _attributes(record["attributes"]),
                "trace_id": _id(record["traceId"], 32) if record.get("traceId") else None,
                "span_id": _id(record["spanId"], 16) if record.get("spanId") else None,
                "resource": _attributes(group["resource"]["attributes"]),
                "process": process,
            }
            for process, data in _lines(folder, "logs.jsonl")
            for group in data["resourceLogs"]
            for scoped in group["scopeLogs"]
            for record in scoped["logRecords"]
        ]

    return read


@pytest.fixture(scope="module")
def make_authority(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Return a function that makes a folder with a test authority (``ca.pem``) and certificates that it signed.

    Each keyword names a certificate (``name.pem``, ``name.key``); its value is the subjectAltName and the days.
    """

    def make(**certificates: tuple[str, int]) -> Path:
        folder = tmp_path_factory.mktemp("authority")

        def openssl(*words: str) -> None:
            try:
                subprocess.run(["openssl", *words], cwd=folder, check=True, capture_output=True, timeout=60)
            except FileNotFoundError:
                pytest.skip("needs the program openssl")

        key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
        usage = ("-addext", "keyUsage=critical,keyCertSign")
        openssl("req", "-x509", *key, "-keyout", "ca.key", "-out", "ca.pem", "-days", "2", "-subj", "/CN=test", *usage)
        for name, (subject, days) in certificates.items():
            (folder / f"{name}.ext").write_text(f"subjectAltName={subject}\n", encoding="utf-8")
            openssl("req", *key, "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={name}")
            signing = ("-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", str(days))
            openssl("x509", "-req", "-in", f"{name}.csr", "-out", f"{name}.pem", *signing, "-extfile", f"{name}.ext")
        return folder

    return make


@pytest.fixture
def unused_port() -> int:
    """Return a port of 127.0.0.1 on which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


@pytest.fixture
def assert_whole_tree() -> Callable[..., None]:
    """Return a check that each span id is there once, every parent too, and no child began before its parent.

    Span ids in *external* may be parents without being there: remote ones, or spans exported by someone else.
    """

    def check(spans: Iterable[dict[str, Any]], external: Collection[str] = ()) -> None:
        spans = list(spans)
        by_id: dict[str | None, dict[str, Any]] = {}
        for span in spans:
            twin = by_id.get(span["span_id"], {}).get("name")
            assert twin is None, f"one id, two spans: {twin} and {span['name']} ({span['span_id']})"
            by_id[span["span_id"]] = span
        known = {None, *by_id, *external}
        orphans = [f"{s['name']} under {s['parent_id']}" for s in spans if s["parent_id"] not in known]
        assert not orphans, f"spans whose parent is nowhere: {orphans}"
        for span in spans:
            assert span["start"] <= span["end"], f"{span['name']} ends before it starts"
            parent = by_id.get(span["parent_id"])
            if parent is not None:
                pair = f"{span['name']} under {parent['name']}"
                assert parent["trace_id"] == span["trace_id"], f"{pair}: not the same trace"
                early = parent["start"] - span["start"]
                assert early <= 0, f"{pair}: begins {early} ns before it"
                ancestor, seen = parent, {span["span_id"]}
                while ancestor is not None:
                    assert ancestor["span_id"] not in seen, f"{pair}: is its own ancestor"
                    seen.add(ancestor["span_id"])
                    ancestor = by_id.get(ancestor["parent_id"])

    return check


# --- other versions of OpenTelemetry ----------------------------------------------------------------------

OTEL_VERSIONS = ("1.12.0", "1.20.0", "1.27.0", "1.33.0", "installed")


def _otel_folder(version: str, cache: Path) -> Path:
    """Return a folder for PYTHONPATH with this version's api and sdk, installed once per interpreter."""
    folder = cache / f"{sys.implementation.cache_tag}-{version}"
    if folder.is_dir():
        return folder
    packages = [f"opentelemetry-api=={version}", f"opentelemetry-sdk=={version}"]
    if version == "1.12.0":
        # it reads entry points with pkg_resources: gone in 82, warns from 67.5, broken on 3.12 below 66.1
        packages.append("setuptools==66.1.1")
    cache.mkdir(parents=True, exist_ok=True)
    unfinished = Path(tempfile.mkdtemp(prefix="unfinished-", dir=cache))
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input"]
    # the constraints of the project hold today's versions, and a user's pip settings must not add theirs
    environment = {**_clean_environment(), "PIP_CONSTRAINT": "", "PIP_ROOT_USER_ACTION": "ignore"}
    result = subprocess.run(
        [*command, "--only-binary", ":all:", "--target", str(unfinished), *packages],
        env=environment, capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip
    if result.returncode != 0:
        shutil.rmtree(unfinished)
        pytest.skip(f"needs opentelemetry {version} from the package index: {result.stderr.strip()[-500:]}")
    try:
        unfinished.rename(folder)  # whoever finds the folder finds it whole
    except OSError:
        if not folder.is_dir():
            raise
        shutil.rmtree(unfinished)  # another run of the tests was faster
    return folder


@pytest.fixture(scope="session", params=OTEL_VERSIONS)
def otel_versions(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Run the test once per OpenTelemetry version; give the folder that holds it, for PYTHONPATH.

    In ``run_python(code, path=[otel_versions], site=False)`` the program sees that version and no other.
    """
    if request.param == "installed":
        return Path(SITE_PACKAGES)
    if hasattr(request.config, "cache"):
        return _otel_folder(request.param, Path(request.config.cache.mkdir("otel")))
    return _otel_folder(request.param, tmp_path_factory.mktemp("otel"))  # run with -p no:cacheprovider
