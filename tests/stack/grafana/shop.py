"""A program for the dashboards' tests: profiled calls on several paths, with a share of time that its version decides.

Usage: shop.py SERVICE VERSION SECONDS. Version 2 spends more of its time in ``price`` and has a call that version 1 lacks.
"""

import sys
import time

import otel_perf as perf

SERVICE, VERSION, SECONDS = sys.argv[1], sys.argv[2], float(sys.argv[3])
perf.init(service=SERVICE, version=VERSION)


def spin(seconds):
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        pass


@perf.profile
def price(amount):
    spin(0.004 if VERSION.startswith("2") else 0.001)
    if VERSION.startswith("2"):
        discount(amount)
    return amount


@perf.profile
def discount(amount):
    spin(0.002)
    return amount


@perf.profile
def stock(amount):
    spin(0.002)
    return amount


@perf.profile
def Zone(amount):  # noqa: N802  # a capital letter, which sorts before and after others by language
    spin(0.001)
    return amount


@perf.profile
def order(amount):
    price(amount)
    stock(amount)
    return Zone(amount)


with perf.phase("CoreInit"):
    import json

    with perf.phase("Settings"):
        spin(0.02)
    json.dumps({})
with perf.phase("UI"):
    spin(0.03)
perf.ready()

kept = [bytearray(200_000_000 if VERSION.startswith("2") else 0)]  # over the default budget, so that its rule fires
end = time.monotonic() + SECONDS
while time.monotonic() < end:
    kept.append(bytearray(20_000))  # memory grows, so that there is a trend
    order(1)
    time.sleep(0.04)
