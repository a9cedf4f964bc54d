"""A bank: its balance is below zero for three seconds, then above, and it sends 20 MB/s of 10; until stdin says ``end``."""

import sys
import threading
import time

import otel_perf as perf

perf.init(service="bank")
balance = perf.gauge("bank.balance", "{coin}")
sent = perf.counter("bank.sent", "By")
perf.budget("sending", metric="rate(bank.sent)", max="10MB")
end = threading.Event()
perf.ready()


def listen():
    sys.stdin.readline()
    end.set()


threading.Thread(target=listen, daemon=True).start()
begun = last = time.monotonic()
while not end.wait(0.05):
    now = time.monotonic()
    balance.set(-5 if now - begun < 3 else 5)
    sent.add(round(20e6 * (now - last)))
    last = now
