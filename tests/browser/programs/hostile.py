"""Names that are markup, control characters, half a surrogate pair, very long, or those of a page's own parts."""

import time

import otel_perf as perf

MARKUP = "<img src=x onerror=\"document.title='owned'\"><script>document.title='owned'</script>"
NAMES = (
    MARKUP,
    "</script><!--",
    "\u202edrawkcab",
    "\x1b[31mred\x07",
    "a" * 1_024,
    "\U0001f40d" * 40,
    "__proto__",
    "constructor",
    "\n",
)

perf.init(service=MARKUP, version="</title>")
gauge = perf.gauge("hostile.value", "<b>")
perf.budget("<i>limit</i>", metric="hostile.value", max=1)


def fail():
    raise ValueError(MARKUP)


with perf.phase(MARKUP):
    for name in NAMES:
        with perf.profile(name, span_threshold=0):
            time.sleep(0.002)
perf.ready()
gauge.set(5)
for name in NAMES:
    with perf.operation(name):
        time.sleep(0.03)
try:
    perf.profile(MARKUP, span_threshold=0)(fail)()
except ValueError:
    time.sleep(2.5)
