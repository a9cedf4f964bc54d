"""A start that goes on until stdin says ``ready``: CoreInit is over, Transport is open; then alerts with nothing open.

The budget of the longest checkout's percentile is exceeded; ``end`` ends it.
"""

import sys
import threading
import time

import otel_perf as perf

perf.init(service="launch")
ended = threading.Event()
ready = threading.Event()


def listen():
    for line in sys.stdin:
        (ready if line.strip() == "ready" else ended).set()
    ready.set()
    ended.set()


threading.Thread(target=listen, daemon=True).start()
with perf.phase("CoreInit"):
    time.sleep(0.05)
with perf.phase("Transport"):
    ready.wait()
perf.ready()

perf.budget("checkout", metric="p95(checkout)", max="1ms")
while not ended.wait(0.1):
    with perf.timer("checkout"):
        time.sleep(0.005)
