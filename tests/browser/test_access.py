"""Whoever cannot see the page, or cannot use a mouse, has it too: axe-core, words for pictures, motion."""

from __future__ import annotations

import pytest


@pytest.fixture(scope="module")
def viewer(tmp_path_factory, record, begin, serve):
    """Return a server of a program in progress with an open alert; an earlier run lies beside it."""
    folder = tmp_path_factory.mktemp("access")
    record(folder, "shop.py", seconds=1)
    program = begin(folder, "shop.py", "shop", 0.2)
    program.say("over")
    viewer = serve(folder)
    viewer.wait("/newest/first", lambda one: any(alert["end"] == "open" for alert in one["report"]["alerts"]))
    return viewer


@pytest.mark.parametrize("size", ["wide", "narrow"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_in_any_view(open_tab, viewer, axe, size, scheme):
    tab = open_tab(size, scheme)
    tab.open(viewer)
    tab.eventually(lambda: tab.rows())
    tab.says(".open-alerts", "queue")
    assert [] == axe(tab.page)

    tab.page.keyboard.press("a")
    tab.until("() => document.querySelectorAll('.charts-more .chart').length > 10")
    tab.page.get_by_label("Compared with").select_option(
        index=tab.page.get_by_label("Compared with").locator("option").count() - 1
    )
    tab.says(".legend", "slower")
    tab.page.get_by_role("button", name="__main__.price").click()
    assert [] == axe(tab.page)

    tab.page.keyboard.press("?")
    tab.page.get_by_role("dialog").get_by_text("Keys and words").wait_for()
    assert [] == axe(tab.page)
    tab.page.keyboard.press("Escape")

    tab.page.locator("#history").get_by_role("button", name="Trace").first.click()
    tab.page.get_by_role("dialog").locator(".waterfall .detail").get_by_text("of the trace").wait_for()
    assert [] == axe(tab.page)


def test_axe_finds_nothing_on_a_page_that_waits(tab, tmp_path, serve, axe):
    viewer = serve(tmp_path)
    tab.page.goto(f"http://127.0.0.1:{viewer.port}/?token={viewer.token}")
    tab.says("main", "No process yet")

    assert [] == axe(tab.page)


def test_pictures_have_their_last_values_in_words(tab, viewer):
    tab.open(viewer)
    tab.eventually(lambda: tab.rows())
    tab.until("() => document.querySelectorAll('.chart').length >= 3")

    said = [plot.get_attribute("aria-valuetext") for plot in tab.page.locator(".chart .plot").all()]
    assert all(one.startswith("last: ") for one in said)
    assert "MB" in said[1]
    assert "Flame graph of the run so far" in tab.page.locator(".flame-box").get_attribute("aria-label")
    assert "Waterfall of the start" in tab.page.locator(".waterfall-box").get_attribute("aria-label")


def test_nothing_is_read_out_loud_by_itself_while_the_run_goes_on(tab, viewer):
    tab.open(viewer)
    tab.eventually(lambda: tab.rows())
    tab.says(".waterfall .detail", "of the start")
    tab.page.evaluate(
        """() => { window.heard = []; new MutationObserver(all => all.forEach(({ target }) => { const one = target.nodeType === 1 ? target : target.parentElement;
        if (one?.closest('[aria-live=polite]')) heard.push(one.innerText) })).observe(document, { subtree: true, childList: true, characterData: true }) }"""
    )
    words = tab.page.locator(".flame .detail").inner_text()
    tab.until("words => document.querySelector('.flame .detail').innerText !== words", words)  # it does change
    assert [] == tab.page.evaluate("heard")

    tab.page.locator(".flame-box").focus()
    tab.page.keyboard.press("ArrowDown")
    tab.says(".flame [aria-live=polite]", " total ")
    heard = len(tab.page.evaluate("heard"))
    assert heard
    words = tab.page.locator(".flame .detail").inner_text()
    tab.until("words => document.querySelector('.flame .detail').innerText !== words", words)
    assert heard == len(tab.page.evaluate("heard")) or "" == tab.page.locator(".flame [aria-live=polite]").inner_text()


def test_charts_stand_still_between_samples_where_motion_is_to_be_reduced(open_tab, viewer):
    drawn = """() => new Promise(done => { const canvas = document.querySelector('.chart canvas'), seen = [];
        const look = () => { const now = canvas.toDataURL(); if (now !== seen.at(-1)) seen.push(now); };
        const timer = setInterval(look, 50); setTimeout(() => { clearInterval(timer); done(seen.length) }, 3000) })"""
    counts = {}
    for motion in ("no-preference", "reduce"):
        tab = open_tab(reduced_motion=motion)
        tab.open(viewer)
        tab.until("() => document.querySelectorAll('.chart').length >= 3")
        tab.says(".state", "min", 70)  # for a minute there is nothing to scroll
        counts[motion] = tab.page.evaluate(drawn)

    assert counts["reduce"] <= 10 < counts["no-preference"], counts
