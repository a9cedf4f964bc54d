"""The HTML report: one file, opened from disk without a network, static and whole."""

from __future__ import annotations

import subprocess

import pytest


@pytest.fixture(scope="module")
def report(tmp_path_factory, record, otel_perf, environment):
    """Return the file that `otel-perf report --html` writes of a run of the program."""
    folder = tmp_path_factory.mktemp("report")
    record(folder, "shop.py", "shop", 0.1, seconds=3)
    return report_in(folder, otel_perf, environment)


def report_in(folder, otel_perf, environment):
    """Return the file that is written of the newest run in *folder*."""
    command = [*otel_perf, "report", "--html", "report.html"]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, timeout=60, check=False)
    assert (0, b"") == (done.returncode, done.stderr)
    return folder / "report.html"


@pytest.fixture
def opened(open_tab, report):
    """Return a function that opens it in a browser without a network; the Tab."""

    def at(**options):
        tab = open_tab(**options, offline=True)
        tab.page.goto(report.as_uri())
        tab.page.locator(".verdict").wait_for()
        return tab

    return at


def test_report_is_small_and_asks_for_nothing(opened, report):
    tab = opened()
    tab.eventually(lambda: tab.rows())

    assert report.stat().st_size <= 1_000_000
    assert [report.as_uri()] == [url for url in tab.asked if not url.startswith("data:")]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_report_shows_all_that_is_static(opened, scheme):
    tab = opened(scheme=scheme)

    assert tab.page.locator(".verdict").inner_text().startswith("shop 1.4.2 started in ")
    tab.until("() => document.querySelectorAll('.chart').length >= 3")
    assert {"__main__.order", "__main__.price"} <= set(tab.rows())
    tab.says(".flame .detail", "of the run")
    tab.says(".waterfall .detail", "of the start")
    blank = "canvas => !canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data.some(each => each)"
    for box in (".chart", ".flame-box", ".waterfall-box"):
        assert not tab.page.locator(f"{box} canvas").first.evaluate(blank), box
    tab.says("#history", "What otel-perf cost this program")


def test_what_needs_a_server_is_absent(opened):
    tab = opened()

    for name in ("Pause", "Trace", "5 min"):
        assert 0 == tab.page.get_by_role("button", name=name).count(), name
    for label in ("Run", "Compared with", "Beside it"):
        assert 0 == tab.page.get_by_label(label, exact=True).count(), label
    assert 0 == tab.page.locator(".notice").count()


def test_charts_zoom_and_show_values_without_a_server(opened):
    tab = opened()
    whole = tab.pixels(".chart")
    box = tab.page.locator(".u-over").first.bounding_box()
    tab.page.mouse.move(box["x"] + 200, box["y"] + 30)
    tab.says(".chart-read", ":")
    tab.page.mouse.down()
    tab.page.mouse.move(box["x"] + 500, box["y"] + 30, steps=5)
    tab.page.mouse.up()
    tab.page.get_by_role("button", name="Zoom", exact=True).click()

    tab.eventually(lambda: whole != tab.pixels(".chart"))
    tab.page.keyboard.press("r")
    tab.page.locator(".chip").wait_for(state="detached")


def test_report_is_printed_light_and_whole(opened, tmp_path):
    tab = opened(scheme="dark")
    tab.eventually(lambda: tab.rows())
    paper = tab.page.pdf(path=str(tmp_path / "report.pdf"), prefer_css_page_size=True)

    assert paper.startswith(b"%PDF-")
    tab.page.emulate_media(media="print")
    tab.page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert "rgba(0, 0, 0, 0)" == tab.page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert "light" == tab.page.evaluate("getComputedStyle(document.documentElement).colorScheme")
    assert 0 == tab.page.locator(".tools:visible, .top button:visible, .notices:visible").count()
    rows = "() => [...document.querySelectorAll('.scroller')].filter(one => one.scrollHeight > one.clientHeight + 1).length"
    assert 0 == tab.page.evaluate(rows)  # nothing is cut off

    tab.page.emulate_media(media="screen")
    tab.page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert "dark" in tab.page.evaluate("getComputedStyle(document.documentElement).colorScheme")


def test_flame_graph_says_how_many_call_paths_it_has_no_room_for(tmp_path, record, otel_perf, environment, open_tab):
    record(tmp_path, "wide.py", 50)
    tab = open_tab(offline=True)

    tab.page.goto(report_in(tmp_path, otel_perf, environment).as_uri())

    tab.says(".flame .detail", "in 2.55 k call paths of the run, 551 of them, the shortest, not drawn")
