"""A shop in progress: orders all the time, and what stdin says.

``over`` and ``under`` the limit of its queue; ``rush``, from which on one function is called far more often; ``end``.

Arguments: the name of the service, and seconds by which its start is longer.
"""

import sys
import threading
import time

import otel_perf as perf

perf.init(service=sys.argv[1] if len(sys.argv) > 1 else "shop", version="1.4.2")
queue = perf.gauge("shop.queue", "{order}")
perf.budget("queue", metric="shop.queue", max=50)
over = threading.Event()
rush = threading.Event()
end = threading.Event()


@perf.profile
def price(number):
    return sum(i * i for i in range(number))


@perf.profile
def fetch():
    time.sleep(0.004)
    return price(2_000)


@perf.profile
def render():
    return [price(200) for _ in range(5)]


@perf.profile
def greet():
    pass


@perf.profile(span_threshold=0)
def order():
    fetch()
    render()


def listen():
    for line in sys.stdin:
        word = line.strip()
        if word in ("over", "under"):
            (over.set if word == "over" else over.clear)()
        elif word == "rush":
            rush.set()
        elif word == "end":
            break
    end.set()


with perf.phase("CoreInit"):
    import email.message  # noqa: F401
    import sqlite3  # noqa: F401

    with perf.phase("Settings"):
        time.sleep(0.02)
with perf.phase("Plugins"):
    order()
    time.sleep(0.05 + float(sys.argv[2] if len(sys.argv) > 2 else 0))
perf.ready()
greet()

threading.Thread(target=listen, daemon=True).start()
while not end.wait(0.02):
    queue.set(70 if over.is_set() else 5)
    order()
    for _ in range(500 if rush.is_set() else 0):
        greet()
