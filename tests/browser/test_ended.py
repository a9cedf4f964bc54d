"""The page on a run that is over: functions, flame graph, start and traces, with pointer and keys."""

from __future__ import annotations

import re
import time

import pytest


@pytest.fixture(scope="module")
def viewer(tmp_path_factory, record, serve):
    folder = tmp_path_factory.mktemp("ended")
    record(folder, "shop.py", "shop", 0.4, seconds=3)
    return serve(folder)


@pytest.fixture
def ended(tab, viewer):
    tab.open(viewer)
    tab.until("() => document.querySelectorAll('.functions tbody tr').length >= 4")
    tab.says(".waterfall .detail", "of the start")
    return tab


def seconds(text):
    number, _, unit = text.removeprefix("~").partition(" ")
    return float(number) * {"s": 1, "ms": 1e-3, "µs": 1e-6, "ns": 1e-9}[unit]


def seen(tab, selector):
    """Scroll to an element; return where it is then."""
    element = tab.page.locator(selector)
    element.evaluate("one => one.closest('section').scrollIntoView()")
    return element.bounding_box()


def test_page_says_how_it_ended_and_shows_no_control_that_needs_a_program(ended):
    ended.says(".state", "exited after")
    assert 0 == ended.page.get_by_role("button", name="Pause").count()
    assert 0 == ended.page.get_by_role("button", name="5 min").count()
    assert "no budget was exceeded" in ended.page.locator(".fine").inner_text()


def test_numbers_are_those_of_the_report(ended, viewer):
    functions = {one["name"]: one for one in viewer.get("/newest/first/functions")["functions"]}
    rows = ended.rows()

    assert functions.keys() == rows.keys()
    for name, row in rows.items():
        assert functions[name]["total"] == pytest.approx(seconds(row[1]), rel=0.01)
        assert functions[name]["self"] == pytest.approx(seconds(row[2]), rel=0.01)
        assert functions[name]["max"] == pytest.approx(seconds(row[5]), rel=0.01)


@pytest.mark.parametrize("column", ["calls", "total", "self", "p50", "p95", "max"])
def test_a_click_on_a_column_sorts_by_it_and_another_one_turns_it(ended, column):
    number = ["calls", "total", "self", "p50", "p95", "max"].index(column)
    head = ended.page.locator(".functions thead th", has_text=column)
    if head.get_attribute("aria-sort") == "none":
        head.get_by_role("button").click()
    ended.eventually(lambda: "descending" == head.get_attribute("aria-sort"))

    def values():
        read = float if column == "calls" else seconds
        return [read(row[number]) for row in ended.rows().values()]

    assert sorted(values(), reverse=True) == values()
    head.get_by_role("button").click()
    ended.eventually(lambda: "ascending" == head.get_attribute("aria-sort"))
    assert sorted(values()) == values()


def test_functions_are_sorted_by_name_too(ended):
    ended.page.locator(".functions thead th").first.get_by_role("button").click()

    ended.eventually(lambda: sorted(ended.rows()) == list(ended.rows()))


def test_row_and_flame_graph_mark_the_same_function(ended):
    plain = ended.pixels(".flame-box")
    ended.page.get_by_role("button", name="__main__.price").click()
    ended.eventually(lambda: plain != ended.pixels(".flame-box"))

    ended.page.keyboard.press("Escape")
    ended.page.locator(".functions tr.marked").wait_for(state="detached")
    ended.eventually(lambda: plain == ended.pixels(".flame-box"))
    ended.page.locator(".flame-box").focus()
    for _ in range(20):  # walk to the same function, and mark it there
        ended.page.keyboard.press("ArrowDown")
        if ended.page.locator(".flame .detail code").inner_text() == "price":
            break
    assert "price" == ended.page.locator(".flame .detail code").inner_text()
    ended.page.keyboard.press("Enter")
    ended.says(".functions tr.marked", "__main__.price")


def test_search_finds_in_table_flame_graph_and_waterfall(ended):
    flame, waterfall = ended.pixels(".flame-box"), ended.pixels(".waterfall-box")
    ended.page.keyboard.press("/")
    ended.page.keyboard.type("PRICE")

    ended.eventually(lambda: ["__main__.price"] == list(ended.rows()))
    ended.eventually(lambda: flame != ended.pixels(".flame-box") and waterfall != ended.pixels(".waterfall-box"))
    ended.page.locator(".flame-box").focus()
    ended.page.keyboard.press("n")
    ended.says(".flame .detail", "price total")
    first = ended.page.locator(".flame .detail").inner_text()
    ended.page.keyboard.press("n")
    ended.eventually(lambda: first != ended.page.locator(".flame .detail").inner_text())

    ended.page.locator("#search").fill("nothing is called so")
    ended.says(".empty", "No function is called like")
    ended.page.keyboard.press("Escape")
    ended.eventually(lambda: 5 == len(ended.rows()))


def test_flame_graph_zooms_by_click_and_key_and_back(ended):
    whole = ended.pixels(".flame-box")
    box = seen(ended, ".flame-box canvas")
    ended.page.mouse.click(box["x"] + box["width"] / 2, box["y"] + 19 + 8)
    ended.says(".flame .detail", "total")
    ended.eventually(lambda: whole != ended.pixels(".flame-box"))

    ended.page.locator(".flame-box").focus()
    ended.page.keyboard.press("Home")
    ended.says(".flame .detail", "all total")
    ended.page.keyboard.press("Enter")  # zooms out: the root
    for key in ("ArrowDown", "ArrowDown", "ArrowRight", "ArrowLeft", "ArrowUp"):
        ended.page.keyboard.press(key)
    ended.says(".flame .detail", "% of the run")


def test_keys_choose_the_newest_part_where_no_range_is_chosen(ended):
    chosen = []
    for key in ("[", "]"):
        ended.page.keyboard.press(key)
        chosen.append(ended.page.locator(".chip").inner_text())
        ended.page.keyboard.press("Escape")
        ended.page.locator(".chip").wait_for(state="detached")

    assert 1 == len(set(chosen))
    ended.page.keyboard.press("]")
    newest = ended.page.locator(".chip").inner_text()
    ended.page.keyboard.press("]")  # there is nothing after it
    assert newest == ended.page.locator(".chip").inner_text() == chosen[0]


def test_pointer_over_a_call_says_its_name_and_times(ended):
    box = seen(ended, ".flame-box canvas")
    ended.page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 19 + 8)

    ended.page.locator(".tip dl").wait_for()
    tip = ended.page.locator(".tip").bounding_box()
    assert 0 <= tip["x"] <= 1440 - tip["width"]
    ended.page.mouse.move(5, 5)
    ended.page.locator(".tip").wait_for(state="detached")


def test_start_shows_phases_limit_and_what_to_change(ended):
    words = ended.page.locator("#start").inner_text()
    assert "within the limit of 2 s" in words
    assert "What its end waited for" in words
    assert "take the sleep out" in words
    assert re.search(r"saves [4-6]\d\d ms", words)
    assert "shop.py:" in words


def test_waterfall_walks_folds_and_zooms_by_key(ended):
    ended.page.locator(".waterfall-box").focus()
    ended.page.keyboard.press("Home")
    ended.says(".waterfall .detail", "startup startup")
    ended.page.keyboard.press("ArrowDown")
    ended.says(".waterfall .detail", "PreInit phase")
    ended.page.keyboard.press("End")
    ended.page.keyboard.press("Home")
    ended.says(".waterfall .detail", "startup startup")
    open_ = ended.pixels(".waterfall-box")
    ended.page.keyboard.press("ArrowLeft")  # folds
    ended.eventually(lambda: open_ != ended.pixels(".waterfall-box"))
    ended.page.keyboard.press("ArrowRight")
    ended.eventually(lambda: open_ == ended.pixels(".waterfall-box"))
    ended.page.keyboard.press("+")
    ended.eventually(lambda: open_ != ended.pixels(".waterfall-box"))
    ended.page.keyboard.press("0")
    ended.eventually(lambda: open_ == ended.pixels(".waterfall-box"))


def test_waterfall_shows_every_span_and_zooms_by_dragging(ended):
    folded = ended.pixels(".waterfall-box")
    ended.page.get_by_role("button", name="Show every span").click()
    ended.page.get_by_role("button", name="Fold short spans").click()
    ended.eventually(lambda: folded == ended.pixels(".waterfall-box"))

    box = seen(ended, ".waterfall-box canvas")
    ended.page.mouse.move(box["x"] + box["width"] * 0.5, box["y"] + 100)
    ended.page.mouse.down()
    ended.page.mouse.move(box["x"] + box["width"] * 0.7, box["y"] + 100, steps=5)
    ended.page.mouse.up()
    ended.page.mouse.move(5, 5)
    ended.eventually(lambda: folded != ended.pixels(".waterfall-box"))
    ended.page.mouse.dblclick(box["x"] + box["width"] * 0.5, box["y"] + 10)


def test_a_cause_is_found_in_the_waterfall(ended):
    before = ended.pixels(".waterfall-box")
    ended.page.locator(".causes button", has_text="Plugins").first.click()

    ended.says(".waterfall .detail", "Plugins phase")
    ended.eventually(lambda: before != ended.pixels(".waterfall-box"))


def test_slowest_call_opens_its_trace_as_waterfall_and_as_flame_graph(ended):
    row = ended.page.locator("#history tbody tr", has=ended.page.locator("button", has_text="Trace")).first
    name = row.locator("th").inner_text()
    row.get_by_role("button").click()
    dialog = ended.page.get_by_role("dialog")
    dialog.locator(".waterfall .detail").get_by_text("of the trace").wait_for()
    assert dialog.locator("h2").inner_text().startswith("Trace of ")

    dialog.locator(".waterfall-box").focus()
    ended.page.keyboard.press("Home")
    walked = []
    for _ in range(20):  # the call is one of its spans
        walked.append(dialog.locator(".waterfall .detail code").inner_text())
        if walked[-1] == name:
            break
        ended.page.keyboard.press("ArrowDown")
    assert name == walked[-1]
    dialog.get_by_role("button", name="Flame graph").click()
    dialog.locator(".flame .detail").get_by_text("of the trace").wait_for()
    dialog.locator(".flame-box").focus()
    for _ in range(3):
        ended.page.keyboard.press("ArrowDown")
    ended.page.keyboard.press("Escape")  # out of the picture's zoom, or of the dialog
    ended.page.keyboard.press("Escape")
    dialog.wait_for(state="hidden")


@pytest.mark.parametrize("size", ["wide", "narrow"])
@pytest.mark.timed
def test_layout_hardly_shifts_when_the_data_comes(open_tab, viewer, size):
    tab = open_tab(size)
    tab.page.add_init_script(
        "window.shifted = 0; new PerformanceObserver(list => list.getEntries().forEach(one => window.shifted += one.value))"
        ".observe({type: 'layout-shift', buffered: true})"
    )
    tab.open(viewer)
    tab.eventually(lambda: tab.rows())
    tab.until("() => document.querySelectorAll('.chart').length >= 3")
    tab.says(".waterfall .detail", "of the start")
    time.sleep(1.5)

    assert tab.page.evaluate("window.shifted") < 0.1  # what counts as good: web.dev/cls


def test_nothing_scrolls_sideways_on_a_narrow_screen(open_tab, viewer):
    narrow = open_tab("narrow")
    narrow.open(viewer)
    narrow.until("() => document.querySelectorAll('.functions tbody tr').length >= 4")
    narrow.page.keyboard.press("a")

    wider = """() => [...document.querySelectorAll('body *')].filter(one => {
        const box = one.getBoundingClientRect(); return box.width && box.right > innerWidth + 1 && !one.closest('.hidden') }).map(one => one.className || one.tagName)"""
    scrolls = "() => [...document.querySelectorAll('.scroller')].filter(one => one.scrollWidth > one.clientWidth + 1).map(one => one.className)"
    assert ([], []) == (narrow.page.evaluate(wider), narrow.page.evaluate(scrolls))
    assert 390 == narrow.page.evaluate("document.documentElement.scrollWidth")


def test_every_control_is_reached_by_the_tab_key_and_shows_it(ended):
    controls = "() => [...document.querySelectorAll('main button, main select, main input, main [tabindex=\"0\"]')].filter(one => !one.disabled).length"
    wanted = ended.page.evaluate(controls)
    reached, outlined = set(), 0
    for _ in range(wanted + 30):
        ended.page.keyboard.press("Tab")
        found = ended.page.evaluate(
            """() => { const all = [...document.querySelectorAll('main button, main select, main input, main [tabindex="0"]')];
            const style = getComputedStyle(document.activeElement);
            return [all.indexOf(document.activeElement), style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) >= 2] }"""
        )
        if found[0] >= 0:
            reached.add(found[0])
            outlined += found[1] is False
    assert (wanted, 0) == (len(reached), outlined)
