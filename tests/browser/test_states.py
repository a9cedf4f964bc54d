"""Every state has a face: no run yet, several processes, a server that is gone, a run that is gone, hostile names."""

from __future__ import annotations

import shutil

import pytest

NOTHING = """
import otel_perf as perf
perf.init(service="bare")
perf.ready()
"""


def address(viewer):
    return f"http://127.0.0.1:{viewer.port}/?token={viewer.token}"


def test_page_waits_for_the_first_process_and_opens_it(tab, tmp_path, serve, begin):
    viewer = serve(tmp_path)
    tab.page.goto(address(viewer))
    tab.says("main", "No process yet")
    tab.says("main", "otel-perf run -- python app.py")

    begin(tmp_path, "shop.py")

    tab.says(".verdict", "shop 1.4.2")
    tab.says(".state", "live")


def test_page_follows_the_newest_run_where_nobody_chose_one(tab, tmp_path, serve, begin, record):
    record(tmp_path, "shop.py", seconds=1)
    tab.open(serve(tmp_path))
    tab.says(".state", "exited")

    begin(tmp_path, "shop.py", "shop again")

    tab.says("h1", "shop again", seconds=20)
    tab.says(".state", "live")


def test_processes_of_one_run_are_chosen(tab, tmp_path, serve, begin):
    begin(tmp_path, "workers.py")
    viewer = serve(tmp_path)
    viewer.wait("", lambda all_: all_["runs"] and len(all_["runs"][0]["processes"]) == 2)
    tab.open(viewer)
    tab.eventually(lambda: "__main__.parent_work" in tab.rows())

    choice = tab.page.get_by_label("Process", exact=True)
    child = [
        one
        for one in choice.locator("option").evaluate_all("all => all.map(one => one.value)")
        if one != choice.input_value()
    ]
    choice.select_option(child[0])

    tab.eventually(lambda: ["__main__.child_work"] == list(tab.rows()))
    tab.page.get_by_text("no start").first.wait_for()


def test_page_says_since_when_it_is_disconnected_and_goes_on_with_a_new_server(tab, tmp_path, serve, begin):
    begin(tmp_path, "shop.py")
    viewer = serve(tmp_path)
    tab.open(viewer)
    tab.says(".state", "live")
    tab.eventually(lambda: tab.calls("__main__.order") > 0)
    before = tab.calls("__main__.order")

    viewer.process.kill()
    viewer.process.communicate()
    tab.says(".state", "disconnected since")
    tab.says(".notice", "Disconnected since")

    again = serve(tmp_path, "--port", viewer.port)
    tab.says(".notice", "token")  # another one now: what to do is said
    other = tab.page.context.new_page()
    other.goto(address(again))

    tab.says(".state", "live")
    tab.page.locator(".notice.bad").wait_for(state="detached")
    tab.eventually(lambda: tab.calls("__main__.order") > before)


def test_run_that_was_removed_is_said_so(tab, tmp_path, serve, record):
    record(tmp_path, "shop.py", seconds=1)
    tab.open(serve(tmp_path))
    tab.says(".state", "exited")

    for run in (tmp_path / ".otel-perf").glob("*/"):
        shutil.rmtree(run)

    tab.says("main", "This run cannot be shown")
    tab.page.get_by_role("button", name="Try again").click()
    tab.says("main", "No process yet")


def test_empty_panels_say_why_and_what_to_do(tab, tmp_path, serve, run_python):
    assert 0 == run_python(NOTHING).returncode
    tab.open(serve(tmp_path))

    tab.eventually(lambda: 2 <= tab.page.locator("#functions .empty").count())
    assert "perf.profile" in tab.page.locator("#functions .empty").first.inner_text()
    tab.says("#time .empty", "")
    assert tab.page.locator("#time .empty").inner_text().strip()
    assert tab.page.locator("#history .empty").count() >= 2


def test_names_from_the_program_are_only_ever_text(tab, tmp_path, serve, record):
    record(tmp_path, "hostile.py")
    tab.open(serve(tmp_path))
    tab.eventually(lambda: tab.rows())
    tab.page.keyboard.press("a")
    tab.page.get_by_role("button", name="Trace").first.click()
    tab.page.get_by_role("dialog").locator(".waterfall .detail").wait_for()
    tab.page.keyboard.press("Escape")
    for box in (".flame-box", ".waterfall-box"):
        tab.page.locator(box).first.focus()
        for key in ("ArrowDown",) * 6 + ("Enter",):
            tab.page.keyboard.press(key)

    assert tab.page.title().endswith(" – otel-perf")  # nobody wrote another one
    assert 0 == tab.page.locator("img, main script, main b > i").count()
    words = tab.page.locator("main").inner_text()
    assert "<img src=x onerror" in words
    assert not {"\u202e", "\x1b", "\x07"} & set(words)
    assert "\\u{202e}drawkcab" in words
    assert 1440 == tab.page.evaluate("document.documentElement.scrollWidth")


def test_unknown_run_in_the_address_says_what_to_do(tab, tmp_path, serve, record):
    record(tmp_path, "shop.py", seconds=1)
    viewer = serve(tmp_path)
    tab.page.goto(address(viewer) + "#run=nothing&process=first")

    tab.says("main", "This run cannot be shown")
    tab.says("main", "no run of that name")


@pytest.mark.parametrize("path", ["/", "/app.js", "/api/runs"])
def test_without_the_cookie_nothing_is_shown(tab, tmp_path, serve, path):
    viewer = serve(tmp_path)

    assert 403 == tab.page.goto(f"http://127.0.0.1:{viewer.port}{path}").status
