"""A parent and a child that it forks, both recorded in one run; they work until stdin says so."""

import os
import sys
import time

import otel_perf as perf

perf.init(service="workers")


@perf.profile(span_threshold=0)
def parent_work():
    time.sleep(0.01)


@perf.profile(span_threshold=0)
def child_work():
    time.sleep(0.01)


perf.ready()
out, into = os.pipe()
child = os.fork()
if child == 0:
    os.close(into)
    os.set_blocking(out, False)
    while True:
        child_work()
        try:
            if os.read(out, 1) == b"":
                break
        except BlockingIOError:
            pass
    perf.shutdown()
    os._exit(0)
os.close(out)
os.set_blocking(sys.stdin.fileno(), False)
while True:
    parent_work()
    try:
        if os.read(sys.stdin.fileno(), 10) is not None:
            break
    except BlockingIOError:
        pass
os.close(into)
os.waitpid(child, 0)
