"""Every state has a face: no run yet, several processes, a server that is gone, a run that is gone, hostile names."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SHOP = Path(__file__).with_name("programs") / "shop.py"
LOOKS = "performance.getEntriesByType('resource').filter(one => one.name.endsWith('/api/runs')).length"
HEARD = """(() => {
    const listen = EventSource.prototype.addEventListener;
    window.starts = [];  // what each state said of the start
    EventSource.prototype.addEventListener = function (name, tell) {
        listen.call(this, name, event => { name === 'state' && starts.push(JSON.parse(event.data).report.start); tell(event) });
    } })()"""
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


def test_of_fifty_alerts_the_worst_are_told_and_the_others_on_demand(tab, tmp_path, begin, serve):
    begin(tmp_path, "many.py", 50)
    tab.open(serve(tmp_path))
    tab.says(".top-alerts", "50 open alerts")
    for rows, costs in ((".open-alerts li", "critical"), (".reasons li", "exceeded")):
        shown = tab.page.locator(rows, has_text=costs)
        assert 8 == shown.count()

        tab.page.locator(rows).get_by_role("button", name="Show 42 more").press("Enter")

        assert 51 == tab.page.locator(rows).count()
        tab.page.locator(rows).get_by_role("button", name="Show fewer").press("Enter")
        assert 9 == tab.page.locator(rows).count()


def test_card_keeps_its_severity_when_the_program_is_over(tab, tmp_path, begin, serve):
    program = begin(tmp_path, "many.py", 3)
    tab.open(serve(tmp_path))
    tab.says(".top-alerts", "3 open alerts")

    program.end()

    tab.says(".state", "exited")
    classes = [
        tab.page.locator(".card", has_text=f"budget {number}").get_attribute("class").split() for number in range(3)
    ]
    assert [["card", "exceeded", severity] for severity in ("info", "warning", "critical")] == classes


def test_page_follows_the_newest_run_where_nobody_chose_one(tab, tmp_path, serve, begin, record):
    record(tmp_path, "shop.py", seconds=1)
    tab.open(serve(tmp_path))
    tab.says(".state", "exited")

    begin(tmp_path, "shop.py", "shop again")

    tab.says("h1", "shop again", seconds=20)
    tab.says(".state", "live")


def test_page_goes_on_to_a_run_that_is_over_before_anybody_looked(tab, tmp_path, serve, record):
    record(tmp_path, "shop.py", seconds=1)
    tab.open(serve(tmp_path))
    tab.says(".state", "exited")

    record(tmp_path, "shop.py", "short one", seconds=0.5)

    tab.says("h1", "short one", seconds=20)


def test_page_that_was_open_during_the_start_shows_all_of_it(tab, tmp_path, serve, begin):
    viewer = serve(tmp_path)
    tab.page.goto(address(viewer))
    tab.says("main", "No process yet")
    begin(tmp_path, "troubled.py")  # whose start takes longer than 2 s
    tab.says("#start h2", "as far as it went", seconds=20)

    tab.says("#start h2", "Why was the start slow?", seconds=20)
    tab.says("#start", "over the limit of 2 s by")


def test_start_that_ended_while_the_page_was_paused_is_whole_when_it_goes_on(tab, tmp_path, serve, begin):
    viewer = serve(tmp_path)
    tab.page.add_init_script(HEARD)
    tab.page.goto(address(viewer))
    tab.says("main", "No process yet")
    begin(tmp_path, "shop.py", "shop", 3)
    tab.says("#start h2", "as far as it went", seconds=20)

    tab.page.keyboard.press("p")
    tab.says(".state", "paused")
    tab.until("() => starts.some(one => one?.complete) && starts.at(-1) === undefined")  # it was told, and is no more
    tab.says("#start h2", "as far as it went")
    tab.page.keyboard.press("p")

    tab.says("#start h2", "Why was the start slow?")
    tab.says("#start", "over the limit of 2 s by")


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
    tab.says(".notice", f"open the address that it prints; with --port {viewer.port}")
    tab.says(".fine", "no budget was exceeded when last seen")
    tab.says("#well .hint", "as it was when last seen")

    again = serve(tmp_path, "--port", viewer.port)
    tab.says(".notice", "token")  # another one now: what to do is said
    other = tab.page.context.new_page()
    other.goto(address(again))

    tab.says(".state", "live")
    tab.page.locator(".notice.bad").wait_for(state="detached")
    tab.eventually(lambda: tab.calls("__main__.order") > before)


def turn(page, seen):
    """Do to a page what a browser does to one in a tab: it is seen, or hidden behind others."""
    page.evaluate(
        """state => { Object.defineProperty(document, 'visibilityState', { value: state, configurable: true });
        document.dispatchEvent(new Event('visibilitychange')) }""",
        "visible" if seen else "hidden",
    )


def test_more_tabs_than_a_browser_has_connections_are_served(open_tab, tmp_path, serve, begin):
    begin(tmp_path, "shop.py")
    viewer = serve(tmp_path)
    tab = open_tab()
    tab.open(viewer)
    pages = [tab.page]
    for _ in range(7):  # six connections to a server, says Chromium
        turn(pages[-1], False)
        pages.append(tab.page.context.new_page())
        pages[-1].goto(f"http://127.0.0.1:{viewer.port}/")
        pages[-1].locator(".verdict").wait_for()
    said = "() => document.querySelector('.chart .plot')?.getAttribute('aria-valuetext')"
    hidden = tab.page.evaluate(said)
    tab.page.wait_for_timeout(2_500)
    assert hidden == tab.page.evaluate(said)  # nothing is pushed to a page that nobody sees

    turn(pages[-1], False)
    turn(tab.page, True)
    tab.until(
        "before => document.querySelector('.functions').innerText !== before",
        tab.page.locator(".functions").inner_text(),
    )
    tab.says(".state", "live")


def test_other_run_is_compared_by_the_process_that_began_first(tab, tmp_path, serve, record):
    record(tmp_path, "workers.py", seconds=2)
    processes = list((tmp_path / ".otel-perf").glob("*/*/"))
    [parent] = [one for one in processes if "parent_work" in (one / "traces.jsonl").read_text(encoding="utf-8")]
    [child] = [one for one in processes if one != parent]
    child.rename(child.with_name("1"))  # a number below its parent's, as the system gives after its last one
    record(tmp_path, "workers.py", seconds=2)
    tab.open(serve(tmp_path))
    tab.says("#start h3", "Against the start of")
    tab.until("() => document.querySelectorAll('.differences tbody tr').length >= 1")

    tab.page.get_by_label("Compared with").select_option(
        tab.page.get_by_label("Compared with").locator("optgroup option").first.get_attribute("value")
    )
    tab.says(".legend", "workers")
    tab.page.locator(".flame-box").focus()
    before = set()
    for _ in range(6):
        tab.page.keyboard.press("ArrowDown")
        before.add(tab.page.locator(".flame .detail").inner_text())
    assert any("parent_work" in one and "before 0 ms" not in one for one in before), before


def test_run_that_was_removed_is_said_so(tab, tmp_path, serve, record):
    record(tmp_path, "shop.py", seconds=1)
    tab.open(serve(tmp_path))
    tab.says(".state", "exited")

    for run in (tmp_path / ".otel-perf").glob("*/"):
        shutil.rmtree(run)

    tab.says("main", "This run cannot be shown")
    tab.page.get_by_role("button", name="Try again").click()
    tab.says("main", "No process yet")


def test_run_in_progress_that_was_taken_away_is_not_live_and_the_page_goes_on_with_the_next(
    tab, tmp_path, serve, begin
):
    begin(tmp_path, "shop.py", "shop before")
    tab.open(serve(tmp_path))
    tab.says(".state", "live")
    tab.until(f"() => {LOOKS} >= 2")  # the next one is 15 s away

    [run] = (tmp_path / ".otel-perf").glob("*/")
    run.rename(tmp_path / "elsewhere")  # where the program writes on
    tab.says("main", "This run cannot be shown")
    assert 0 == tab.page.locator(".state", has_text="live").count()
    begin(tmp_path, "shop.py", "shop after")

    tab.says("h1", "shop after", seconds=8)
    tab.says(".state", "live")


def test_page_that_came_with_a_program_waits_for_its_first_process_beside_older_runs(
    tab, tmp_path, record, otel_perf, environment
):
    record(tmp_path, "shop.py", "shop before", seconds=0.5)
    words = ["sh", "-c", 'read go; exec "$@"', "sh", sys.executable, SHOP, "shop after"]
    options = {"cwd": tmp_path, "env": environment, "text": True, "stdin": subprocess.PIPE, "stderr": subprocess.PIPE}
    program = subprocess.Popen([*otel_perf, "run", "--", *words], **options)
    folder = tmp_path / ".otel-perf"
    tab.eventually(lambda: 2 == len([*folder.glob("*/")]))
    run = max(folder.glob("*/"))
    beside = ["--folder", folder, "--beside", str(program.pid), "--linger", "1"]
    server = subprocess.Popen([*otel_perf, "view", run, *beside], **options)
    try:
        tab.page.goto(server.stderr.readline().split()[-1])
        tab.says("main", "No process yet")
        tab.says("main", run.name)
        tab.page.wait_for_timeout(1_500)  # the list has been asked for once more
        assert "No process yet" in tab.page.locator("main").inner_text()

        program.stdin.write("go\n")
        program.stdin.flush()

        tab.says("h1", "shop after")
        tab.says(".state", "live")
        program.communicate("end\n", timeout=20)
    finally:
        for one in (program, server):
            one.kill()
            one.communicate()


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
