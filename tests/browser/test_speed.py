"""How fast the page is: frames while much arrives and much is shown, the first paint, what it weighs."""

from __future__ import annotations

import gzip
import json
import os
import time

import pytest

FRAME = 3 * 34.0  # ms that 95 of 100 frames may take, three times what 30 a second are: the others' tests run meanwhile
SPANS = int(os.environ.get("OTEL_PERF_TEST_SPANS", "100000"))  # of a large run; 1000000 takes ten minutes on two cores
SECONDS = 10
TRIES = 3  # other work on this machine makes frames slower, never faster
COUNT = """seconds => new Promise(done => {
    const took = []; let last = 0; const end = performance.now() + 1000 * seconds;
    const frame = now => { if (last) took.push(now - last); last = now;
        if (now < end) requestAnimationFrame(frame);
        else { took.sort((a, b) => a - b); done({frames: took.length, p95: took[Math.floor(took.length * 0.95)]}) } };
    requestAnimationFrame(frame) })"""


def frames(tab, name):
    """Return what 95 of 100 frames stay below for ten seconds in the best of three tries, in ms; say what was measured."""
    best = None
    for _ in range(TRIES):
        found = tab.page.evaluate(COUNT, SECONDS)
        best = found if best is None or found["p95"] < best["p95"] else best
        if best["p95"] <= FRAME:
            break
    print(f"{name}: p95 {best['p95']:.1f} ms, {best['frames'] / SECONDS:.0f} frames a second")
    return best["p95"]


def wander(tab, selector):
    """Keep the pointer moving over an element, as somebody does who looks for something."""
    tab.page.locator(selector).first.evaluate(
        """one => { one.closest('section').scrollIntoView(); let i = 0; const box = one.getBoundingClientRect();
        clearInterval(window.wandering);
        window.wandering = setInterval(() => { i += 1; const at = {bubbles: true,
            clientX: box.left + (i * 37) % box.width, clientY: box.top + 30 + (i * 11) % (box.height - 40)};
            one.dispatchEvent(new PointerEvent('pointermove', at)); one.dispatchEvent(new MouseEvent('mousemove', at)) }, 30) }"""
    )


def paint(tab):
    return tab.page.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime")


def test_page_weighs_at_most_250_kilobytes_compressed(tab, tmp_path, serve):
    viewer = serve(tmp_path)
    weights = {path: len(gzip.compress(viewer.ask(path).body)) for path in ("/", "/app.js", "/app.css")}

    print(weights)
    assert sum(weights.values()) <= 250_000


@pytest.mark.timeout(300)
def test_frames_while_ten_thousand_spans_a_second_arrive(tab, tmp_path, serve, begin):
    program = begin(tmp_path, "busy.py", 10_000_000, 10_000, 0)
    viewer = serve(tmp_path)
    viewer.wait("/newest/first", lambda one: one["spans"] > 30_000)
    tab.open(viewer)
    tab.eventually(lambda: tab.rows())
    spans, began = viewer.get("/newest/first")["spans"], time.monotonic()

    for name, selector in (("charts", ".u-over"), ("flame graph", ".flame-box canvas")):
        wander(tab, selector)
        assert frames(tab, f"10,000 spans/s, {name}") <= FRAME
    now, took = viewer.get("/newest/first")["spans"], time.monotonic() - began
    print(f"{(now - spans) / took:,.0f} spans a second were shown")
    assert (now - spans) / took >= 1_000  # the program shares two cores with the browser and the other tests
    assert 2 == tab.page.locator(".frames").inner_text().count("FPS")  # the page judges itself, too

    assert 40 == len(tab.rows())
    tab.page.get_by_role("button", name="Show all").click()
    tab.eventually(lambda: 41 == len(tab.rows()))
    program.close()


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_large_run_opens_at_once_and_moves_smoothly(tab, tmp_path, serve, begin):
    program = begin(tmp_path, "busy.py", SPANS, 20_000, 0)
    assert 0 == program.process.wait(timeout=300)
    viewer = serve(tmp_path)
    tab.open(viewer)
    print(f"first paint after {paint(tab):.0f} ms")
    assert paint(tab) <= 3000

    tab.until("() => !document.querySelector('.notice')", seconds=400)
    tab.says("#history .facts", "1 M spans" if SPANS == 1_000_000 else f"{SPANS // 1000} k spans")
    for name, selector in (("flame graph", ".flame-box canvas"), ("waterfall", ".waterfall-box canvas")):
        wander(tab, selector)
        assert frames(tab, f"{SPANS:,} spans, {name}") <= FRAME


def crowded(html):
    """Return the report with a start of 20,000 spans and a flame graph of 2,000 calls, shaped as real ones are."""
    before, _, rest = html.partition('<script type="application/json" id="data">')
    text, _, after = rest.partition("</script>")
    data = json.loads(text)
    root = data["start"]["spans"][0]
    spans = [root]
    for i in range(19_999):
        parent = 0 if i % 40 == 0 else len(spans) - 1 - (i % 3 == 0)
        begin = root["seconds"] * i / 20_000
        spans.append(root | {"id": f"s{i}", "parent": parent, "depth": spans[parent]["depth"] + 1, "name": f"import pkg{i}.mod", "kind": "import",
                             "begin": begin, "seconds": root["seconds"] / 60, "critical": [[begin, begin + root["seconds"] / 20_000]]})  # fmt: skip
    data["start"]["spans"] = spans
    flame = {
        "names": ["all", *(f"function_{i}" for i in range(200))],
        "name": [0],
        "parent": [-1],
        "totalNs": [2**40],
        "selfNs": [0],
        "calls": [None],
    }
    for i in range(1, 2_000):
        parent = (i - 1) // 3
        values = (1 + i % 200, parent, flame["totalNs"][parent] // 3, 1, 1)
        for key, value in zip(("name", "parent", "totalNs", "selfNs", "calls"), values, strict=True):
            flame[key].append(value)
    data["flame"] |= flame | {"modules": [f"m{i % 17}" for i in range(201)], "functions": [""] * 201}
    return (
        before
        + '<script type="application/json" id="data">'
        + json.dumps(data).replace("<", "\\u003c")
        + "</script>"
        + after
    )


def test_frames_with_twenty_thousand_spans_and_two_thousand_calls(tab, tmp_path, record, otel_perf, environment):
    import subprocess

    record(tmp_path, "shop.py", seconds=1)
    html = subprocess.check_output([*otel_perf, "report", "--html", "-"], cwd=tmp_path, env=environment, text=True)
    file = tmp_path / "crowded.html"
    file.write_text(crowded(html), encoding="utf-8")
    tab.page.goto(file.as_uri())
    tab.says(".waterfall .detail", "20 k spans")
    tab.page.get_by_role("button", name="Show every span").click()

    for name, selector in (("2,000 calls", ".flame-box canvas"), ("20,000 spans", ".waterfall-box canvas")):
        wander(tab, selector)
        box = selector.split()[0]
        tab.page.evaluate(
            "box => { const one = document.querySelector(box); let by = 7; setInterval(() => { one.scrollTop += by; }, 16) }",
            box,
        )
        assert frames(tab, name) <= FRAME
