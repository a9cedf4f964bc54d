"""A program with everything that a chart marks: a start over its limit, memory that grows, and what stdin says.

``over`` and ``under`` the limit of its queue, over which it grows on; ``stall 1.7``, seconds in which nothing else of it
runs; ``end``.
"""

import ctypes
import sys
import threading
import time

import otel_perf as perf

perf.init(service="troubled")
queue = perf.gauge("troubled.queue", "{order}")
perf.budget("queue", metric="troubled.queue", max=50)
over = threading.Event()
stalls = []
end = threading.Event()
ballast = []


@perf.profile(span_threshold=0)
def fetch():
    time.sleep(0.002)


@perf.profile(span_threshold=0)
def serve():
    fetch()  # a call in it: from then on it has an id, by which an alert may name it
    time.sleep(0.2)
    ballast.append(bytearray(b"x") * 300_000)


def listen():
    for line in sys.stdin:
        word = line.strip()
        if word in ("over", "under"):
            (over.set if word == "over" else over.clear)()
        elif word.startswith("stall"):
            stalls.append(float(word.split()[1]))
        elif word == "end":
            break
    end.set()


with perf.phase("Slow"):
    time.sleep(2.2)
perf.ready()

threading.Thread(target=listen, daemon=True).start()
waiting = 0
while not end.is_set():
    waiting = waiting + 1 if over.is_set() else 0
    queue.set(70 + waiting if waiting else 5)
    serve()
    if stalls:
        ctypes.PyDLL(None).usleep(round(stalls.pop() * 1e6))  # a call that keeps the lock of the interpreter
