"""A program of which *many* budgets are exceeded, at three severities, until its stdin ends."""

import sys

import otel_perf as perf

perf.init(service="many")
for number in range(int(sys.argv[1])):
    perf.gauge(f"gauge.{number}").set(number + 1)
    severity = ("info", "warning", "critical")[number % 3]
    perf.budget(f"budget {number}", metric=f"gauge.{number}", max=number + 0.75, severity=severity)
perf.ready()
sys.stdin.read()
