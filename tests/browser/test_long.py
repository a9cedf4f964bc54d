"""Charts of half an hour: what is said of them is the newest value, and every line can be told from the others."""

from __future__ import annotations

import json
import subprocess

import pytest

SECOND = 1_000_000_000
BEGIN = 1_795_564_800 * SECOND
SAMPLES = 1_800
CPUS = 14
MEMORY = [120e6 if at % 4 else 140e6 for at in range(SAMPLES - 1)] + [100e6]
CORES = [0.01 if at % 4 else 0.9 for at in range(SAMPLES - 1)] + [0.01]
THREADS = [2 if at % 4 else 9 for at in range(SAMPLES - 1)] + [2]


def attributes(**values):
    return [{"key": key.replace("__", "."), "value": {"stringValue": value}} for key, value in values.items()]


def gauge(name, unit, *points):
    """Return a metric; *points* are (second, value, attributes)."""
    told = [
        {"timeUnixNano": str(BEGIN + at * SECOND), "asDouble": value, "attributes": attributes(**says)}
        for at, value, says in points
    ]
    return {"name": name, "unit": unit, "gauge": {"dataPoints": told}}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Return a folder with a run that is over, of which there are samples and nothing else."""
    folder = tmp_path_factory.mktemp("long")
    process = folder / ".otel-perf" / "2026-11-25T10-00-00" / "1234"
    process.mkdir(parents=True)
    resource = {"attributes": attributes(service__name="long", host__name="elsewhere")}
    with (process / "metrics.jsonl").open("w", encoding="utf-8") as out:
        for at in range(SAMPLES):
            cpus = [(at, (number + 1) / 100 * (2 if at % 4 else 1), {"cpu": str(number)}) for number in range(CPUS)]
            metrics = [
                gauge("otel_perf.process.cpu.usage", "{cpu}", (at, CORES[at], {})),
                gauge("process.memory.usage", "By", (at, MEMORY[at], {})),
                gauge("process.thread.count", "{thread}", (at, THREADS[at], {})),
                gauge("long.load", "1", *cpus),
            ]
            line = {"resourceMetrics": [{"resource": resource, "scopeMetrics": [{"metrics": metrics}]}]}
            out.write(json.dumps(line) + "\n")
    return folder


@pytest.fixture(scope="module")
def last(folder, otel_perf, environment):
    """Return what `otel-perf report` says of each metric's newest value."""
    done = subprocess.run(
        [*otel_perf, "report", "--json"], cwd=folder, env=environment, capture_output=True, timeout=60, check=False
    )
    return {one["name"]: one["last"] for one in json.loads(done.stdout)["metrics"]}


@pytest.fixture(params=["server", "report"])
def long(request, open_tab, folder, serve, otel_perf, environment):
    """Return a Tab that shows the run, by a server and in a report."""
    tab = open_tab()
    if request.param == "server":
        tab.open(serve(folder))
    else:
        command = [*otel_perf, "report", "--html", "report.html"]
        subprocess.run(command, cwd=folder, env=environment, capture_output=True, timeout=60, check=False)
        tab.page.goto((folder / "report.html").as_uri())
        tab.page.locator(".verdict").wait_for()
    tab.until("() => document.querySelectorAll('.chart').length >= 3")
    return tab


def test_newest_value_is_that_of_the_report_not_the_highest_of_late(long, last):
    assert [0.01, 100e6, 2] == [
        last[name] for name in ("otel_perf.process.cpu.usage", "process.memory.usage", "process.thread.count")
    ]
    long.eventually(lambda: ["0.01", "100 MB", "2"] == long.page.locator(".chart-last b").all_inner_texts())
    said = [plot.get_attribute("aria-valuetext").partition(";")[0] for plot in long.page.locator(".plot").all()]
    assert ["last: 0.01 cores", "last: 100 MB", "last: 2 threads"] == said


def test_lines_of_one_chart_are_named_and_no_two_look_alike(long):
    long.page.keyboard.press("a")
    chart = long.page.locator(".charts-more .chart", has_text="long.load")
    chart.wait_for()
    names = chart.locator(".line-name").all_inner_texts()
    looks = chart.locator(".look").evaluate_all(
        "all => all.map(one => one.getAttribute('class') + one.firstChild.getAttribute('stroke-dasharray'))"
    )

    assert (13, 13) == (len(names), len(set(looks)))
    assert "2 more" == names[-1].strip()
    said = chart.locator(".plot").get_attribute("aria-valuetext")
    assert said.endswith(", 13 0.28")
    assert said.startswith("last: 0 0.02, 1 0.04, 2 0.06")


def test_dips_of_one_line_of_several_are_drawn(long):
    long.page.keyboard.press("a")
    chart = long.page.locator(".charts-more .chart", has_text="long.load")
    chart.scroll_into_view_if_needed()
    lowest = """chart => { const canvas = chart.querySelector('canvas'), context = canvas.getContext('2d');
        const probe = document.body.appendChild(document.createElement('i')); probe.style.color = 'var(--accent)';
        const color = getComputedStyle(probe).color.match(/[\\d.]+/g).map(Number); probe.remove();
        const { data, width } = context.getImageData(70, 0, canvas.width - 90, canvas.height); let low = 0;
        for (let i = 0; i < data.length; i += 4)
            if (color.slice(0, 3).every((each, k) => Math.abs(each - data[i + k]) < 60) && data[i + 3] > 150) low = Math.floor(i / 4 / width);
        return low / canvas.height }"""

    long.eventually(lambda: chart.evaluate(lowest) > 0)
    plot = chart.locator(".u-over").evaluate(
        "over => [over.offsetTop, over.offsetHeight, over.closest('.u-wrap').clientHeight]"
    )
    # the first line lies at 0.02 of 0.28 with dips to 0.01, the chart ends at 0.28 * 1.12
    dip = (plot[0] + plot[1] * (1 - 0.01 / (0.28 * 1.12))) / plot[2]
    assert dip == pytest.approx(chart.evaluate(lowest), abs=0.012)
