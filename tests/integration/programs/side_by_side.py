"""A start and what follows it, with work side by side: threads, asyncio, a generator, a forked child, an alert."""

import asyncio
import os
import sys
import threading
import time

import otel_perf as perf

perf.init(service="shop", version="1.4.2")


@perf.profile(span_threshold=0)
def inner(seconds):
    time.sleep(seconds)


@perf.profile(span_threshold=0)
def outer():
    inner(0.01)
    inner(0.02)


@perf.profile(span_threshold=0)
async def task(seconds):
    await asyncio.sleep(seconds)


@perf.profile(span_threshold=0)
async def gather():
    await asyncio.gather(*(task(0.02 + 0.005 * number) for number in range(4)))


@perf.profile(span_threshold=0)
def items():
    for number in range(3):
        time.sleep(0.005)
        yield number


@perf.profile(span_threshold=0)
def consume():
    for _ in items():
        inner(0.005)


@perf.profile("chunk 42; <b>größe</b>\n", span_threshold=0)
def hostile():
    inner(0.001)


def work():
    outer()
    asyncio.run(gather())
    consume()
    threads = [threading.Thread(target=outer) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    hostile()


perf.budget("threads", metric="process.thread.count", max=1)  # over it, with our worker, at the first look
with perf.phase("CoreInit"):
    work()
perf.ready()
work()
if os.fork() == 0:
    inner(0.01)
    sys.exit()
os.wait()
time.sleep(2.5)
