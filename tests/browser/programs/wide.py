"""So many functions that call so many others each, once; ends when it is told to."""

import sys

import otel_perf as perf

WIDE = int(sys.argv[1])

perf.init(service="wide")
inner = [perf.profile(f"inner {number}")(lambda: None) for number in range(WIDE)]
for number in range(WIDE):
    perf.profile(f"outer {number}")(lambda: [call() for call in inner])()
perf.ready()
sys.stdin.readline()
