"""A start, then work in two parts with a pause between them, an alert, and memory with one peak: what a page shows."""

import sys
import time

import otel_perf as perf

SECONDS = float(sys.argv[1]) if len(sys.argv) > 1 else 4.0

perf.init(service="viewed", version="2.0")
backlog = perf.gauge("viewed.backlog", "{item}")
perf.budget("backlog", metric="viewed.backlog", max=10)


@perf.profile
def load():
    read(0.03)
    read(0.01)


@perf.profile
def read(seconds):
    time.sleep(seconds)


@perf.profile
def early():
    read(0.02)


@perf.profile
def late():
    read(0.015)


with perf.phase("CoreInit"):
    load()
perf.ready()

begun = time.monotonic()
early()
backlog.set(5)
while time.monotonic() - begun < SECONDS / 2:
    time.sleep(0.05)
backlog.set(50)
late()
peak = bytearray(60_000_000)
time.sleep(1.2)
del peak
backlog.set(5)
time.sleep(2.2)  # two samples at least, for the alert to be resolved
while time.monotonic() - begun < SECONDS:
    time.sleep(0.05)
