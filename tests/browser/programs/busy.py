"""Real spans below about 2,000 call paths: how many in all, how many a second, and seconds that it goes on afterwards."""

import random
import sys
import time

import otel_perf as perf

TOTAL, RATE, AFTER = int(sys.argv[1]), float(sys.argv[2]), float(sys.argv[3])
WIDE = 8  # functions of a level
CALLED = 3  # of them that a function calls in turn

perf.init(service="busy")


def made(name, below):
    def call(depth, number):
        if depth and below:
            below[number % len(below)](depth - 1, number // len(below))

    return perf.profile(name, span_threshold=0)(call)


level = [made(f"leaf {n}", []) for n in range(WIDE)]
for depth in range(4):
    level = [made(f"call {depth}.{n}", random.Random(WIDE * depth + n).sample(level, CALLED)) for n in range(WIDE)]


@perf.profile("request", span_threshold=0)
def request(number):
    level[number % WIDE](4, number // WIDE)


done = 0
with perf.phase("Warm"):
    while done < min(TOTAL, 20_000):
        request(done // 6)
        done += 6
perf.ready()
first, began = done, time.monotonic()
while done < TOTAL:
    for _ in range(20):
        request(done // 6)
        done += 6
    time.sleep(max(0.0, (done - first) / RATE - (time.monotonic() - began)))
time.sleep(AFTER)
