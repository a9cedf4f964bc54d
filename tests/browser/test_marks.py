"""What pictures mark is drawn: limits, alerts and their end, stalls, where memory heads, colours that can be read."""

from __future__ import annotations

from collections import Counter

import pytest

# of what is in a part of a canvas: the pixels of one colour of the page, each with its column and its row
PIXELS = """([selector, name, from, to, near]) => {
    const canvas = document.querySelector(selector), [left, top] = from, [right, bottom] = to;
    if (!canvas) return [];  // the figure is there before its picture
    const probe = document.body.appendChild(document.createElement('i'));
    probe.style.color = `var(--${name})`;
    const color = getComputedStyle(probe).color.match(/[\\d.]+/g).slice(0, 3).map(Number);
    probe.remove();
    const x0 = Math.round(canvas.width * left), width = Math.round(canvas.width * (right - left)), found = [];
    const { data } = canvas.getContext('2d').getImageData(x0, top, width, (bottom ?? canvas.height) - top);
    for (let i = 0; i < data.length; i += 4) {
        if (data[i + 3] < 200 || color.some((each, k) => Math.abs(each - data[i + k]) > near)) continue;
        found.push([x0 + (i / 4) % width, top + Math.floor(i / 4 / width)]);
    }
    return found }"""
TOP = 8  # pixels above the plot of a chart, where uPlot draws nothing
SIGNS = (TOP, TOP + 10)  # rows in which signs are


def pixels(tab, selector, color, left=0.0, right=1.0, rows=(0, None), near=3):
    """Return the pixels of a canvas that have *color*: columns *left* to *right* are shares of its width."""
    return tab.page.evaluate(PIXELS, [f"{selector} canvas", color, [left, rows[0]], [right, rows[1]], near])


def shapes(tab, color, near=3):
    """Return the signs of *color* in the first chart: of each how wide its rows are, from the top.

    A limit's name may begin in these rows, too; but never at their top.
    """
    found = {}
    for x, y in pixels(tab, ".chart", color, 0.05, 1, SIGNS, near):
        found.setdefault(x, set()).add(y)
    columns = sorted(found)
    signs = []
    for x in columns:
        if not signs or x - signs[-1][-1] > 3:
            signs.append([])
        signs[-1].append(x)
    wide = [[sum(y in found[x] for x in sign) for y in range(*SIGNS)] for sign in signs]
    return [rows for rows in wide if any(rows[:3])]


def is_triangle(rows):
    """Say whether it is wide below and pointed above."""
    wide = [one for one in rows if one]
    return len(wide) >= 5 and wide == sorted(wide) and wide[-1] >= 7 and wide[0] <= 3


def is_square(rows):
    """Say whether all rows are as wide."""
    wide = [one for one in rows if one]
    return len(wide) >= 6 and len(set(wide)) == 1 and wide[0] >= 6


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("marks")


@pytest.fixture(scope="module")
def program(folder, begin):
    return begin(folder, "troubled.py")


@pytest.fixture(scope="module")
def viewer(folder, program, serve):
    viewer = serve(folder)
    viewer.wait("/newest/first", lambda one: (one["report"]["start"] or {}).get("complete"))
    return viewer


@pytest.fixture
def marked(tab, viewer):
    tab.open(viewer)
    tab.until("() => document.querySelectorAll('.chart').length >= 3")
    return tab


def test_what_is_below_zero_is_drawn_below_what_is_above(tab, tmp_path, record, serve):
    record(tmp_path, "bank.py", seconds=6)
    tab.open(serve(tmp_path))
    tab.page.keyboard.press("a")
    chart = tab.page.locator(".charts-more .chart", has_text="bank.balance")
    chart.scroll_into_view_if_needed()
    chart.evaluate("one => one.id = 'balance'")
    bottom = 92  # row at which the plot ends

    def lines():
        """Return the rows in which a line goes on for seconds."""
        rows = Counter(y for _, y in pixels(tab, "#balance", "accent", 0.05, 1, near=40))
        return sorted(y for y, many in rows.items() if many > 100)

    tab.eventually(lines)
    assert lines()[0] < TOP + 0.2 * (bottom - TOP) < TOP + 0.8 * (bottom - TOP) < lines()[-1] < bottom


def test_what_is_judged_by_the_second_says_so_in_card_and_alerts(tab, tmp_path, begin, serve):
    begin(tmp_path, "bank.py")
    tab.open(serve(tmp_path))

    tab.says(".open-alerts li", "limit 10 MB/s")
    tab.says(".card", "MB/s of 10 MB/s")
    tab.says(".card", "MB/s over")
    tab.says("#history tbody tr", "10 MB/s")


def test_a_start_that_goes_on_says_what_is_open_and_an_alert_after_it_is_not_in_it(tab, tmp_path, begin, serve):
    program = begin(tmp_path, "launch.py")
    tab.open(serve(tmp_path))
    tab.says(".start-words", "Transport is open, ")
    tab.says(".start-words", "launch.py:27")

    program.say("ready")

    alert = tab.page.locator(".open-alerts li", has_text="checkout")
    alert.wait_for()
    assert "the start" == alert.locator("a").inner_text()
    assert "is open" not in tab.page.locator(".start-words").inner_text()


def test_a_percentile_is_an_estimate_in_card_alert_and_history(tab, tmp_path, begin, serve):
    program = begin(tmp_path, "launch.py")
    program.say("ready")
    tab.open(serve(tmp_path))

    for place in (".card", ".open-alerts li", "#history tbody tr"):
        number = tab.page.locator(place, has_text="checkout").filter(has_text="~")
        number.wait_for()
        assert "~1 ms" not in number.inner_text()  # the limit is none


def test_limit_is_drawn_in_the_waterfall_of_a_start_that_took_longer(marked, viewer):
    marked.says("#start h2", "Why was the start slow?")
    marked.says(".waterfall .detail", "of the start")
    start = viewer.get("/newest/first/start")
    assert (2, True) == (start["limit"], start["seconds"] > 2)

    def columns():
        found = pixels(marked, ".waterfall-box", "critical", rows=(45, None))
        return [x for x in {x for x, _ in found} if sum(one == x for one, _ in found) > 100]

    marked.eventually(columns)
    [line] = columns()
    width = marked.page.locator(".waterfall-box canvas").evaluate("canvas => canvas.width")
    names = min(340, width * 0.32)  # at the left; at the right there are 64 pixels for a duration
    last = max(one["begin"] + one["seconds"] for one in start["spans"])
    assert line == pytest.approx(names + 2 / max(last, 2.04) * (width - names - 64), abs=3)


def test_alert_is_a_triangle_a_stall_a_square_and_what_is_well_again_a_ring(marked, program):
    marked.eventually(lambda: [True] == [is_triangle(one) for one in shapes(marked, "critical")])  # of the start
    rings = len(shapes(marked, "dim", 60))
    assert [] == shapes(marked, "warning")
    program.say("over")
    marked.says(".open-alerts li", "queue")
    marked.eventually(lambda: [True] == [is_triangle(one) for one in shapes(marked, "warning")])

    program.say("stall 1.7")
    marked.eventually(lambda: 2 == len(shapes(marked, "warning")))
    assert [True, False] == [is_triangle(one) for one in shapes(marked, "warning")]
    assert [False, True] == [is_square(one) for one in shapes(marked, "warning")]
    program.say("under")
    marked.says("#history tbody tr", "resolved")
    marked.eventually(lambda: rings + 1 == len(shapes(marked, "dim", 60)))


def open_alerts(viewer):
    """Return the alerts of the queue that are open, once there are any: the push is sooner than what can be asked for."""

    def found(answer):
        return [one for one in answer["report"]["alerts"] if (one["budget"], one["end"]) == ("queue", "open")]

    return found(viewer.wait("/newest/first", found))


@pytest.mark.parametrize("place", [".open-alerts li", "#history tbody tr"])
def test_alert_opens_the_trace_of_what_ran_then(marked, viewer, program, place):
    program.say("over")
    marked.page.locator(".open-alerts li", has_text="queue").filter(has_text="while serve ran").wait_for()
    [alert] = open_alerts(viewer)
    assert "serve" == alert["running"]
    marked.eventually(lambda: 200 == viewer.ask(f"/api/runs/newest/first/traces/{alert['trace_id']}").status)
    if place.startswith("#"):
        program.say("under")
        marked.says(place, "resolved")
    marked.page.locator(place, has_text="queue").first.get_by_role("button", name="Trace of").click()

    dialog = marked.page.get_by_role("dialog")
    dialog.locator(".waterfall .detail").get_by_text("of the trace").wait_for()
    assert "Trace of serve" == dialog.locator("h2").inner_text()
    assert alert["trace_id"] in dialog.inner_text()
    marked.page.keyboard.press("Escape")
    dialog.wait_for(state="hidden")
    program.say("under")
    marked.page.locator(".open-alerts li", has_text="queue").wait_for(state="detached")


def test_cards_alerts_and_charts_say_the_same_present_value(marked, viewer, program):
    said = """() => { const number = text => text.match(/[\\d.]+( [kM]B)?/)?.[0];
        const card = name => [...document.querySelectorAll('.card')].find(one => one.innerText.startsWith(name)).querySelector('b');
        const chart = document.querySelector('.chart:nth-child(2) .chart-last b'), { ariaValueText } = chart.closest('.chart').querySelector('.plot');
        const alert = [...document.querySelectorAll('.open-alerts li')].find(one => one.innerText.startsWith('queue'));
        return { memory: [card('memory'), chart].map(one => number(one.innerText)).concat(number(ariaValueText.slice(5))),
            queue: alert && [number(card('queue').innerText), number(alert.innerText)] } }"""
    program.say("over")
    marked.page.locator(".open-alerts li", has_text="queue").wait_for()
    [raised] = [one["value"] for one in open_alerts(viewer)]
    seen = []

    def grown():
        seen.append(marked.page.evaluate(said))
        return len({one["memory"][0] for one in seen}) >= 4 and float(seen[-1]["queue"][0]) > raised + 5

    marked.eventually(grown)
    for one in seen:  # of every moment
        assert 1 == len(set(one["memory"])), one
        assert 1 == len(set(one["queue"])), one
    program.say("under")
    marked.page.locator(".open-alerts li", has_text="queue").wait_for(state="detached")


def test_after_a_stall_cards_say_that_they_are_not_judged_and_what_is_known(marked, program):
    unjudged = """() => { const all = [...document.querySelectorAll('.card.unknown')].filter(one => !one.matches('.frames'));
        return all.length >= 3 && all.map(one => one.innerText.split('\\n').filter(Boolean)) }"""
    program.say("stall 3.2")
    cards = marked.page.wait_for_function(unjudged, timeout=15_000).json_value()

    assert {"not judged now"} == {card[3] for card in cards}
    values = {card[0]: card[2] for card in cards}
    assert values["memory"].endswith(" MB of 150 MB")
    assert values["startup"].endswith(" s of 2 s")
    assert not any("–" in value for name, value in values.items() if name in ("memory", "startup", "queue"))
    marked.until("() => !document.querySelector('.card.unknown:not(.frames)')")


def test_where_memory_heads_is_drawn_up_to_the_right_from_the_newest_value(marked):
    marked.says(".chart-heads", "150 MB in ", 40)
    memory = ".chart:nth-child(2)"

    def drawn():
        return [
            sorted(pixels(marked, memory, color, 0.05, 1.0, (SIGNS[1] + 2, 120), 40)) for color in ("accent", "warning")
        ]

    def heads():
        line, ahead = drawn()  # two looks: between them a value may have come
        return (
            len(ahead) > 30
            and ahead[-1][0] > marked.page.locator(f"{memory} canvas").evaluate("canvas => canvas.width") - 40
            and ahead[0][1] > ahead[-1][1] + 5  # it rises
            and ahead[0] == pytest.approx(line[-1], abs=6)  # where the line ends, it begins
        )

    marked.eventually(heads)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_what_is_not_searched_for_can_be_read_still(open_tab, viewer, scheme):
    tab = open_tab(scheme=scheme)
    tab.open(viewer)
    tab.says(".waterfall .detail", "of the start")
    before = tab.pixels(".waterfall-box")
    tab.page.locator("#search").fill("serve")
    tab.eventually(lambda: before != tab.pixels(".waterfall-box"))

    contrasts = tab.page.evaluate(
        """() => { const canvas = document.querySelector('.waterfall-box canvas'), context = canvas.getContext('2d');
        const light = (r, g, b) => { const [x, y, z] = [r, g, b].map(one => one / 255).map(one => one <= 0.04045 ? one / 12.92 :
            ((one + 0.055) / 1.055) ** 2.4); return 0.2126 * x + 0.7152 * y + 0.0722 * z };
        const ratio = (a, b) => (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
        const panel = getComputedStyle(canvas.closest('.section')).backgroundColor.match(/[\\d.]+/g).map(Number);
        const ground = light(...panel);
        return [40, 60, 80].map(y => { const { data } = context.getImageData(14, y, 300, 20); let most = 1;
            for (let i = 0; i < data.length; i += 4) { const part = data[i + 3] / 255;
                const color = [0, 1, 2].map(k => data[i + k] * part + panel[k] * (1 - part));
                most = Math.max(most, ratio(light(...color), ground)) }
            return most }) }"""
    )
    assert min(contrasts) >= 4.5, contrasts  # WCAG 2.2, 1.4.3
