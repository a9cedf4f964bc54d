"""What a program recorded arrives in the real OpenTelemetry collector: whole, as it is, once."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import textwrap
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.stack

SRC = str(Path(__file__).resolve().parents[2] / "src")

# Every kind of record: phases, imports, calls that are spans and calls that are counted, plain spans with all they can
# carry, other threads and tasks, a remote parent, exceptions, a text that is no ASCII.
SHOP = """
    import otel_perf as perf
    perf.init(service="shop", version="1.4.2")
    import asyncio, threading
    from opentelemetry import trace
    from opentelemetry.trace import Link, SpanContext, SpanKind, TraceFlags
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    @perf.profile(span_threshold=0)
    def load(fail=False):
        if fail:
            raise ValueError("no such ☃")

    @perf.profile(span_threshold=0)
    async def fetch(number):
        await asyncio.sleep(0.001 * number)
        count()

    @perf.profile
    def count():
        pass

    async def fetch_all():
        await asyncio.gather(*map(fetch, range(20)))

    with perf.phase("CoreInit"):
        load()
        try:
            load(True)
        except ValueError:
            pass
    with perf.phase("Transport"):
        asyncio.run(fetch_all())
        threads = [threading.Thread(target=load) for _ in range(4)]
        [thread.start() for thread in threads]
        [thread.join() for thread in threads]
    perf.ready()
    tracer = trace.get_tracer("shop.orders", "2.0")
    other = SpanContext(0xABC, 0xDEF, True, TraceFlags(1))
    with tracer.start_as_current_span("order", kind=SpanKind.SERVER, links=[Link(other, {"why": "batch"})]) as span:
        span.set_attributes({"n": 2**40, "x": 0.1, "ok": True, "tags": ["a", "b"], "empty": "", "zero": 0})
        span.add_event("paid", {"sum": 3.25})
        span.set_status(trace.StatusCode.ERROR, "declined")
    remote = TraceContextTextMapPropagator().extract(
        {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}
    )
    with tracer.start_as_current_span("remote child", context=remote, kind=SpanKind.CONSUMER):
        for _ in range(1000):
            load()
            count()
"""
REMOTE = "b7ad6b7169203331"

# Many spans, in bursts that the worker can write in between.
MANY = """
    import sys, time
    import otel_perf as perf
    perf.init(service="many")

    @perf.profile(span_threshold=0)
    def work():
        pass

    perf.ready()
    for _ in range({bursts}):
        for _ in range(10_000):
            work()
        time.sleep(0.3)
"""

EMPTY = {"offset": 0, "bucketCounts": []}  # the side of a histogram without a value

ways = pytest.mark.parametrize(
    ("protocol", "compression"),
    [("http/protobuf", "none"), ("http/protobuf", "gzip"), ("grpc", "none"), ("grpc", "gzip"), ("http/json", "gzip")],
)
official_protocols = pytest.mark.parametrize("protocol", ["http/protobuf", "grpc"])


SHAPED = ("otel_perf.profile.", "system.", "cpython.")  # what is sent of these metrics is chosen: test_sent.py


def comparable(records: list[dict[str, Any]]) -> list[str]:
    """Return records so that two lists of the same are equal, wherever they were read and in whatever order."""
    return sorted(json.dumps(plain(record), sort_keys=True) for record in records if is_as_recorded(record))


def is_as_recorded(record: dict[str, Any]) -> bool:
    """Say whether what is sent of this is what the folder has: not of some metrics, nor where a series ends."""
    return not record.get("metric", "").startswith(SHAPED) and record.get("point", {}).get("flags") != 1


def plain(record: dict[str, Any]) -> dict[str, Any]:
    """Return a record without what differs by right.

    That is: the process's folder, the sampled bit, which the official exporters do not carry, zeros and empty sides of
    a point, which are the default, and what is added to a span as it is sent.
    """
    found = {key: value for key, value in record.items() if key != "process"}
    added = {"otel_perf.self_ns", "otel_perf.order"}
    if "otel_perf.kind" not in found["attributes"]:
        added.add("otel_perf.depth")  # of a span of the plain API
    found["attributes"] = {key: value for key, value in found["attributes"].items() if key not in added}
    if "flags" in found:
        found["flags"] &= 0x300
    if "point" in found:
        found["point"] = {key: value for key, value in found["point"].items() if value and value != EMPTY}
    return found


def ids(spans: list[dict[str, Any]]) -> Counter[str]:
    return Counter(span["span_id"] for span in spans)


@pytest.fixture
def record(run_python: Callable[..., Any]) -> Callable[..., None]:
    """Return a function that records a program in the test's folder, sending nothing."""

    def run(program: str, **options: Any) -> None:
        result = run_python(program, **options)
        assert (0, "") == (result.returncode, result.stderr)

    return run


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Return a function that starts Python in the test's folder, its stdin open; no process outlives the test."""
    started: list[subprocess.Popen[str]] = []

    def run(*words: str | Path, **variables: str) -> subprocess.Popen[str]:
        found = {f"OTEL_EXPORTER_OTLP_{name.upper()}": value for name, value in variables.items()}
        pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
        environment = {**os.environ, "PYTHONPATH": SRC, **found}
        started.append(
            subprocess.Popen([sys.executable, *map(str, words)], cwd=tmp_path, env=environment, text=True, **pipes)
        )
        return started[-1]

    yield run
    for process in started:
        with process:  # closes its pipes
            process.kill()


@pytest.fixture
def replay(start: Callable[..., subprocess.Popen[str]]) -> Callable[..., subprocess.Popen[str]]:
    """Return a function that starts ``otel-perf replay`` in the test's folder."""

    def run(url: str, protocol: str, **variables: str) -> subprocess.Popen[str]:
        return start("-m", "otel_perf", "replay", "--endpoint", url, "--protocol", protocol, **variables)

    return run


def assert_done(replay: subprocess.Popen[str]) -> str:
    output, errors = replay.communicate(timeout=60)
    assert 0 == replay.returncode, errors
    return output


def wait_until(condition: Callable[[], object], seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come"
        time.sleep(0.005)


# --- stored runs -------------------------------------------------------------------------------------------


@ways
def test_replayed_run_is_in_the_collector_as_it_is_in_the_folder(
    protocol, compression, collector, record, replay, tmp_path, spans_of, metrics_of, logs_of, assert_whole_tree
):
    there = collector()
    record(SHOP)

    output = assert_done(replay(there.url(protocol), protocol, compression=compression))

    spans, points = spans_of(tmp_path), metrics_of(tmp_path)
    assert len(spans) > 1030
    assert len(points) > 10
    assert {"startup", "CoreInit", "import asyncio", "order"} <= {span["name"] for span in spans}
    assert comparable(spans) == comparable(spans_of(there.folder))
    assert comparable(points) == comparable(metrics_of(there.folder))
    assert comparable(logs_of(tmp_path)) == comparable(logs_of(there.folder))
    assert_whole_tree(spans_of(there.folder), external=[REMOTE])
    assert f"sent {len(spans):,} spans, " in output


@official_protocols
def test_replayed_run_of_the_sample_application_is_whole(
    protocol, collector, record, replay, tmp_path, spans_of, metrics_of, logs_of, assert_whole_tree
):
    there = collector()
    application = Path(__file__).resolve().parents[2] / "examples" / "desktop"
    record(["-m", "otel_perf", "run", "--", sys.executable, application, "--messages", "300"])

    assert_done(replay(there.url(protocol), protocol))

    assert comparable(spans_of(tmp_path)) == comparable(spans_of(there.folder))
    assert comparable(metrics_of(tmp_path)) == comparable(metrics_of(there.folder))
    assert comparable(logs_of(tmp_path)) == comparable(logs_of(there.folder))
    assert_whole_tree(spans_of(there.folder))


@official_protocols
def test_replay_outlives_a_collector_that_is_killed_and_started_again(
    protocol, collector, record, replay, tmp_path, spans_of
):
    there = collector()
    record(textwrap.dedent(MANY).format(bursts=3))
    process = replay(there.url(protocol), protocol)
    wait_until(there.count)

    there.kill()
    before = len(spans_of(there.folder))
    time.sleep(1)
    assert there.start(), there.said()
    assert_done(process)

    sent, got = ids(spans_of(tmp_path)), ids(spans_of(there.folder))
    assert 0 < before < len(sent), "it was not killed in the middle"
    assert sent.keys() == got.keys()
    twice = got.total() - len(sent)  # written, and killed before it could answer: sent again, with the same ids
    assert twice <= 2048


@official_protocols
def test_replay_over_tls_with_a_client_certificate(
    protocol, collector, record, replay, certificates, tmp_path, spans_of
):
    there = collector(certificates)
    record(SHOP)

    own = {name: str(certificates / file) for name, file in CERTIFICATES.items()}
    assert_done(replay(there.url(protocol), protocol, **own))

    assert comparable(spans_of(tmp_path)) == comparable(spans_of(there.folder))


CERTIFICATES = {"certificate": "ca.pem", "client_key": "client.key", "client_certificate": "client.pem"}


@pytest.fixture(scope="module")
def certificates(make_authority: Callable[..., Path]) -> Path:
    """Return a folder with a test authority, and a server's and a client's certificate that it signed."""
    here = "DNS:localhost,IP:127.0.0.1"
    return make_authority(localhost=(here, 2), client=(here, 2))


# --- programs that send while they run ---------------------------------------------------------------------

# As a service does; says on stderr when it began to leave.
UNTIL_STDIN_ENDS = """
import sys, time
sys.stdin.read()
print(time.monotonic(), file=sys.stderr)
"""
SERVICE = """
import threading, time
import otel_perf as perf
perf.init(service="many", endpoint={url!r})

@perf.profile(span_threshold=0)
def work():
    pass

def serve():
    while True:
        for _ in range({spans}):
            work()
        time.sleep(0.01)

perf.ready()
threading.Thread(target=serve, daemon=True).start()
"""


@pytest.fixture
def service(tmp_path: Path, start: Callable[..., subprocess.Popen[str]]) -> Callable[..., subprocess.Popen[str]]:
    """Return a function that writes a program and starts it in the test's folder."""

    def run(program: str, **variables: str) -> subprocess.Popen[str]:
        script = tmp_path / "service.py"
        script.write_text(program, encoding="utf-8")
        return start(script, **variables)

    return run


def leave(process: subprocess.Popen[str]) -> tuple[float, list[str]]:
    """End a program that ends with its stdin; return how many seconds that took, and what else it said."""
    assert process.stdin is not None
    process.stdin.close()
    process.wait(30)
    ended = time.monotonic()
    assert process.stderr is not None
    said = process.stderr.read().splitlines()
    (begun,) = (float(line) for line in said if line.replace(".", "").isdigit())
    assert 0 == process.returncode, said
    return ended - begun, [line for line in said if not line.replace(".", "").isdigit()]


@ways
def test_live_program_is_in_the_collector_as_it_is_in_its_folder(
    protocol, compression, collector, service, tmp_path, spans_of, metrics_of, logs_of, assert_whole_tree
):
    there = collector()
    program = textwrap.dedent(SHOP).replace('version="1.4.2"', f'version="1.4.2", endpoint={there.url(protocol)!r}')
    process = service(f"{program}{UNTIL_STDIN_ENDS}", protocol=protocol, compression=compression)
    wait_until(lambda: there.count() > 1030)

    leave(process)

    spans, points = spans_of(tmp_path), metrics_of(tmp_path)
    assert len(points) > 10
    assert {"otel_perf.process.ended", "otel_perf.startup.completed"} == {
        record["name"] for record in logs_of(tmp_path)
    }
    assert comparable(spans) == comparable(spans_of(there.folder))
    assert comparable(points) == comparable(metrics_of(there.folder))
    assert comparable(logs_of(tmp_path)) == comparable(logs_of(there.folder))
    assert_whole_tree(spans_of(there.folder), external=[REMOTE])


@ways
def test_program_that_ends_at_once_is_sent_at_exit_or_by_replay_and_once(
    protocol, compression, collector, run_python, replay, tmp_path, spans_of, metrics_of, logs_of
):
    there = collector()
    program = SHOP.replace('version="1.4.2"', f'version="1.4.2", endpoint={there.url(protocol)!r}')
    variables = {"OTEL_EXPORTER_OTLP_PROTOCOL": protocol, "OTEL_EXPORTER_OTLP_COMPRESSION": compression}

    result = run_python(program, env=variables)

    assert 0 == result.returncode, result.stderr
    if protocol == "grpc":  # loading gRPC would take longer than an exit may: what is left waits in the folder
        assert_done(replay(there.url(protocol), protocol))
    assert comparable(spans_of(tmp_path)) == comparable(spans_of(there.folder))
    assert comparable(metrics_of(tmp_path)) == comparable(metrics_of(there.folder))
    assert comparable(logs_of(tmp_path)) == comparable(logs_of(there.folder))


@official_protocols
def test_live_service_outlives_a_collector_that_is_killed_and_started_again(
    protocol, collector, service, tmp_path, spans_of, metrics_of
):
    there = collector()
    process = service(SERVICE.format(url=there.url(protocol), spans=5) + UNTIL_STDIN_ENDS, protocol=protocol)
    wait_until(there.count)

    there.kill()
    assert process.stderr is not None
    assert process.stderr.readline().startswith("otel-perf: cannot send ")  # it has noticed
    assert there.start(), there.said()
    wait_until(there.count)
    leave(process)

    sent, got = ids(spans_of(tmp_path)), ids(spans_of(there.folder))
    assert len(sent) > 500
    assert sent.keys() == got.keys()
    assert got.total() - len(sent) <= 2048  # written, and killed before it could answer: sent again
    assert {*comparable(metrics_of(tmp_path))} == {*comparable(metrics_of(there.folder))}


@official_protocols
def test_exit_with_a_live_collector_is_no_wait(protocol, collector, service):
    there = collector()

    def exits(url: str | None) -> float:
        times = []
        for _ in range(3):
            process = service(SERVICE.format(url=url, spans=1) + UNTIL_STDIN_ENDS, protocol=protocol)
            time.sleep(1.5)  # the exporters are loaded, and spans are on their way
            took, complaints = leave(process)
            assert [] == complaints
            times.append(took)
        return min(times)

    assert exits(there.url(protocol)) - exits(None) <= 3 * 0.2  # docs/reliability.md has what it takes


@official_protocols
def test_hundred_thousand_spans_arrive_once_each(protocol, collector, service, tmp_path):
    there = collector()
    program = textwrap.dedent(MANY).format(bursts=10).replace('"many"', f'"many", endpoint={there.url(protocol)!r}')
    process = service(f"{program}print('made', flush=True){UNTIL_STDIN_ENDS}", protocol=protocol)
    assert process.stdout is not None
    assert "made\n" == process.stdout.readline()
    made = time.monotonic()

    wait_until(lambda: there.count() > 100_000, 60)  # with the root

    print(f"{protocol}: all were delivered {time.monotonic() - made:.1f} s after the last was made")
    assert [] == leave(process)[1]
    written, got = (read_all(folder) for folder in (tmp_path / ".otel-perf", there.folder))
    assert 100_000 == got.count(b'"name":"work"')
    sent, received = (Counter(SPAN_ID.findall(text)) for text in (written, got))
    assert sent == received
    assert {1} == {*received.values()}


SPAN_ID = re.compile(rb'"spanId":"([0-9a-f]{16})"')


def read_all(folder: Path) -> bytes:
    return b"".join(file.read_bytes() for file in folder.glob("*/*/traces*.jsonl"))  # in parts


@official_protocols
def test_alert_of_the_demo_is_in_the_collector_linked_to_what_ran_then(
    protocol, collector, run_python, logs_of, spans_of, metrics_of, tmp_path
):
    there = collector()
    env = {"OTEL_EXPORTER_OTLP_ENDPOINT": there.url(protocol), "OTEL_EXPORTER_OTLP_PROTOCOL": protocol}

    result = run_python(["-m", "otel_perf", "demo", "--seconds", "4"], env=env)

    assert 0 == result.returncode, result.stderr
    assert "alert: backlog" in result.stdout, "the callback had it"
    here, came = (
        [e for e in logs_of(at) if e["name"].startswith("otel_perf.budget.") and e["attributes"]["budget"] == "backlog"]
        for at in (tmp_path, there.folder)
    )
    assert ["otel_perf.budget.exceeded", "otel_perf.budget.resolved"] == [event["name"] for event in came]
    assert comparable(here) == comparable(came)
    spans = {(span["trace_id"], span["span_id"]) for span in spans_of(there.folder)}
    assert {(event["trace_id"], event["span_id"]) for event in came} <= spans, "of what ran then, or of the start"
    states = [
        p["point"]["value"]
        for p in metrics_of(there.folder)
        if p["metric"] == "otel_perf.budget.state"
        and p["attributes"] == {"budget": "backlog"}
        and "value" in p["point"]  # the last says that there are no more
    ]
    assert (2, 0) == (max(states), states[-1])
