"""Servers that fork, spawn and reload their workers, unchanged: each worker is a process of its own, nothing twice."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
import urllib.request
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(os.name != "posix", reason="these servers fork")
SRC = str(Path(__file__).resolve().parents[2] / "src")
BIN = Path(sys.executable).parent
REQUESTS = 300
# uvicorn ends by the signal's default action where init() comes after its own handlers: what is older stays
A_SECOND = 1.3

WSGI = """
    import os
    import otel_perf as perf
    from opentelemetry import trace
    {init}
    tracer, asked = trace.get_tracer("app"), perf.counter("asked")

    @perf.profile
    def inner(): return str(os.getpid()).encode()

    @perf.profile(span_threshold=0)
    def handle():
        with tracer.start_as_current_span("query"):
            asked.add(1)
            return inner()

    def app(environ, start_response):
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [handle()]
"""


def requests(port: int, number: int) -> set[str]:
    """Ask the server so many times, eight at once; return what it answered."""

    def get(_: int) -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=30) as answer:
            return answer.read().decode()

    with ThreadPoolExecutor(8) as pool:
        return set(pool.map(get, range(number)))


@pytest.mark.parametrize("options", [None, ()], ids=["init", "run"])
@pytest.mark.parametrize("kind", ["sync", "gthread"])
def test_gunicorn_that_preloads_has_a_record_of_each_worker(
    options, kind, write, start_program, ask, recorded, unused_port, needs
):
    needs("gunicorn")
    write("shop.py", WSGI.format(init="" if options == () else "perf.init(service='shop')\n    perf.ready()"))
    command = [BIN / "gunicorn", "--preload", "-w", "3", "-k", kind, "--threads", "4" if kind == "gthread" else "1"]
    command += ["-b", f"127.0.0.1:{unused_port}", "--no-control-socket", "--log-level", "warning", "shop:app"]
    master = start_program(command, options, env={"PYTHONPATH": SRC})
    ask(unused_port, master)
    workers = requests(unused_port, REQUESTS)
    master.send_signal(signal.SIGTERM)
    out, errors = master.communicate(timeout=30)

    assert (0, b"", b"") == (master.returncode, out, errors)
    found = recorded()
    assert 1 + REQUESTS == found.count("handle") == found.count("query") == sum(found.last("asked").values())
    counted = found.last("otel_perf.function.duration", "shop.inner")
    assert 1 + REQUESTS == sum(counted.values())
    assert workers <= set(counted), "each worker that answered has counted under its own number"
    start = found.one("startup")
    assert start["process"] == str(master.pid)
    assert {str(master.pid)} | set(counted) <= {span["process"] for span in found.spans}
    for span in found.spans:
        if span["name"] == "handle":
            assert span["trace_id"] != start["trace_id"], "a request is no part of its master's start"
            assert master.pid == span["resource"]["process.parent_pid"]
    assert len(found.instances) == len({item["process"] for item in (*found.spans, *found.metrics)})


ASGI = """
    import os
    import otel_perf as perf
    {init}
    asked, VERSION = perf.counter("asked"), "{version}"

    async def app(scope, receive, send):
        assert scope["type"] == "http"
        if scope["path"] == "/version":  # asked for again and again, up to the worker's end
            body = VERSION.encode()
        else:
            with perf.profile("handle", span_threshold=0):
                asked.add(1)
                body = str(os.getpid()).encode()
        await send({{"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]}})
        await send({{"type": "http.response.body", "body": body}})
"""
INIT = "perf.init(service='asgi')\n    perf.ready()"


@pytest.mark.parametrize("options", [None, ()], ids=["init", "run"])
def test_uvicorn_workers_count_what_they_answered(options, write, start_program, ask, recorded, unused_port, needs):
    needs("uvicorn")
    write("asgi.py", ASGI.format(init=INIT if options is None else "", version="1"))
    command = [sys.executable, "-m", "uvicorn", "--lifespan", "off", "--workers", "2", "--log-level", "warning"]
    parent = start_program([*command, "--port", str(unused_port), "asgi:app"], options, env={"PYTHONPATH": SRC})
    ask(unused_port, parent)
    workers: set[str] = set()
    asked = 1
    while len(workers) < 2 and asked < 2000:  # the second one may still be starting
        workers |= requests(unused_port, 50)
        asked += 50
    if options is None:
        time.sleep(A_SECOND)
    parent.send_signal(signal.SIGTERM)
    _, errors = parent.communicate(timeout=30)

    assert (b"", 2) == (errors, len(workers))
    found = recorded()
    assert asked == found.count("handle") == sum(found.last("asked").values())
    assert workers == set(found.last("asked"))
    starts = {span["process"] for span in found.spans if span["name"] == "startup"}
    assert workers | ({str(parent.pid)} if options is not None else set()) == starts


@pytest.mark.parametrize("options", [None, ()], ids=["init", "run"])
def test_uvicorn_that_reloads_has_a_record_of_each_worker_before_and_after(
    options, write, start_program, ask, recorded, unused_port, needs
):
    needs("uvicorn")
    text = ASGI.format(init=INIT if options is None else "", version="before")
    write("asgi.py", text)
    command = [sys.executable, "-m", "uvicorn", "--lifespan", "off", "--reload", "--reload-delay", "0.1"]
    command += ["--reload-include", "asgi.py", "--log-level", "critical", "--port", str(unused_port), "asgi:app"]
    parent = start_program(command, options, env={"PYTHONPATH": SRC})
    ask(unused_port, parent, "/version", b"before")
    first = requests(unused_port, 20)
    time.sleep(A_SECOND)
    write("asgi.py", text.replace("before", "and after"))
    ask(unused_port, parent, "/version", b"and after")
    second = requests(unused_port, 20)
    time.sleep(A_SECOND)
    parent.send_signal(signal.SIGTERM)
    _, errors = parent.communicate(timeout=30)

    assert (b"", 1, 1, 0) == (errors, len(first), len(second), len(first & second))
    found = recorded()
    starts = {span["process"]: span for span in found.spans if span["name"] == "startup"}
    assert first | second <= set(starts)
    assert first | second | ({str(parent.pid)} if options is not None else set()) == set(starts)
    handled = Counter(span["process"] for span in found.spans if span["name"] == "handle")
    assert first | second == set(handled)
    assert dict(handled) == found.last("asked")


CELERY = """
    import os, time
    import otel_perf as perf
    from celery import Celery
    from opentelemetry import trace
    INIT
    app = Celery("tasks", broker="filesystem://", backend="file://" + os.path.abspath("results"))
    app.conf.update(
        broker_transport_options={"data_folder_in": "queue", "data_folder_out": "queue", "control_folder": "control"},
        worker_hijack_root_logger=False, broker_connection_retry_on_startup=False,
    )
    done = perf.counter("done")

    @app.task
    @perf.profile(span_threshold=0)
    def add(x, y):
        with trace.get_tracer("app").start_as_current_span("query"):
            time.sleep(0.005)
        done.add(1)
        return x + y, os.getpid()
"""
SEND = """
    import json, os
    from tasks import add
    results = [add.delay(i, i) for i in range(60)]
    print(json.dumps([result.get(timeout=60, interval=0.05) for result in results]))
"""


@pytest.mark.slow
@pytest.mark.parametrize("options", [None, ()], ids=["init", "run"])
def test_celery_has_a_record_of_each_process_of_its_pool(
    options, write, start_program, run_program, recorded, logs_of, needs, tmp_path
):
    needs("celery")
    for folder in ("queue", "results", "control"):
        (tmp_path / folder).mkdir()
    write("tasks.py", CELERY.replace("INIT", "perf.init(service='tasks')\n    perf.ready()" if options is None else ""))
    write("send.py", SEND)
    command = [sys.executable, "-W", "ignore", "-m", "celery", "-A", "tasks", "worker", "-P", "prefork", "-c", "3"]
    command += ["-l", "ERROR", "--without-gossip", "--without-mingle", "--without-heartbeat", "-Ofair"]
    worker = start_program(command, options, env={"PYTHONPATH": SRC})
    sent = run_program([sys.executable, "send.py"], None, env={"PYTHONPATH": SRC, "OTEL_SDK_DISABLED": "true"})
    worker.send_signal(signal.SIGTERM)
    out, errors = worker.communicate(timeout=60)

    assert (0, b"") == (sent.returncode, sent.stderr)
    results = json.loads(sent.stdout)
    assert [2 * i for i in range(60)] == [total for total, _ in results]
    assert (0, b"") == (worker.returncode, errors), out
    found = recorded()
    handled = {str(pid): number for pid, number in Counter(pid for _, pid in results).items()}
    assert handled == found.last("done")
    assert 60 == found.count("add") == found.count("query")
    assert handled == dict(Counter(span["process"] for span in found.spans if span["name"] == "add"))
    ended = {event["process"] for event in logs_of(tmp_path) if event["name"] == "otel_perf.process.ended"}
    assert set(handled) <= ended, "billiard's processes leave by os._exit"
    start = found.one("startup")
    assert str(worker.pid) == start["process"]
    assert {start["trace_id"]}.isdisjoint(span["trace_id"] for span in found.spans if span["name"] == "add")
