"""Samples itself in a thread, as the worker does, and prints a JSON object for each reading.

Arguments: the sampler, the seconds between two readings, the number of readings, and a program to run meanwhile.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time

from otel_perf import clock
from otel_perf.metrics import sampler
from otel_perf.metrics.tick import Tick

name, interval, count, program = sys.argv[1], float(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
said: list[tuple[str, str]] = []
own = [0.0]


def sample() -> None:
    begun = time.thread_time()
    tick = Tick(sampler.choose(name, clock.now() - time.process_time(), lambda *what: said.append(what)), interval)
    for number in range(count):
        while (left := tick.due - clock.now()) > 0.0:
            time.sleep(left)
        reading = tick.tick()
        with open(os.devnull, "wb", buffering=0) as file:
            file.write(",".join(tick.metrics()).encode())
        if number < count - 1:
            own[0] = time.thread_time() - begun
        values = [[key[0], dict(key[1]), value] for key, value in reading.values.items()]
        about = {"moment": reading.moment, "time": reading.time, "elapsed": reading.elapsed, "gap": reading.gap}
        more = {"late": tick.late, "gaps": tick.gaps, "steps": tick.steps, "absent": tick.sampler.absent, "said": said}
        print(json.dumps({**about, **more, "usable": tick.sampler.usable, "own": own[0], "values": values}), flush=True)
    os._exit(0)


def spin(share: float, period: float = 0.02) -> None:
    """Use *share* of a core, as the CPU clock of this thread has it."""
    begun, used = time.perf_counter(), time.thread_time()
    while True:
        while time.thread_time() - used < share * (time.perf_counter() - begun):
            pass
        time.sleep(period * (1.0 - share))


if __name__ == "__main__":
    thread = threading.Thread(target=sample)
    exec(program)
    thread.start()
    if "work" in globals():
        globals()["work"]()
