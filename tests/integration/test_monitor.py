"""Sampling, budgets and alerts of a running program: in the run folder, through the callback, beside what goes wrong."""

from __future__ import annotations

import json
import sys
from typing import Any

import pytest

linux = pytest.mark.skipif(sys.platform != "linux", reason="/proc")


def values(points: list[dict[str, Any]], metric: str, **attributes: object) -> list[float]:
    """Return the values of one series, oldest first."""
    return [
        point["point"]["value"]
        for point in points
        if point["metric"] == metric and attributes.items() <= point["attributes"].items()
    ]


def alerts(logs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [record for record in logs if record["name"].startswith("otel_perf.budget.")]


def test_budget_that_is_exceeded_is_an_event_in_the_folder_a_callback_and_metrics(
    run_python, logs_of, metrics_of, spans_of, tmp_path
):
    result = run_python(
        """
        import time
        import otel_perf as perf
        perf.on_alert(lambda alert: print(alert.kind, alert.name, alert.severity, flush=True))
        perf.budget("tiny", metric="process.memory.usage", max="5MB", for_="1s", severity="info")
        perf.init(service="alerting")
        perf.ready()
        time.sleep(4)
        """
    )

    assert (0, "") == (result.returncode, result.stderr)
    assert result.stdout.startswith("exceeded tiny ")
    (event,) = alerts(logs_of(tmp_path))
    root = next(span for span in spans_of(tmp_path) if span["name"] == "startup")
    assert "otel_perf.budget.exceeded" == event["name"] == event["attributes"]["event.name"]
    assert (root["trace_id"], root["span_id"]) == (event["trace_id"], event["span_id"])
    assert 5_000_000 == event["attributes"]["limit"] < event["attributes"]["value"]
    points = metrics_of(tmp_path)
    assert 2 == values(points, "otel_perf.budget.state", budget="tiny")[-1]
    assert 5_000_000 == values(points, "otel_perf.budget.limit", budget="tiny")[-1]
    assert [1] == sorted(set(values(points, "otel_perf.alerts", budget="tiny")))
    assert 0 < values(points, "otel_perf.score")[-1] < 100


def test_alert_beside_an_open_span_is_an_event_of_it_and_carries_its_ids(run_python, logs_of, spans_of, tmp_path):
    result = run_python(
        """
        import time
        import otel_perf as perf
        perf.budget("tiny", metric="process.memory.usage", max="5MB")
        perf.init(service="alerting")
        perf.ready()
        with perf.phase("Sync"):
            time.sleep(2.5)
        """
    )

    assert (0, "") == (result.returncode, result.stderr)
    (event,) = alerts(logs_of(tmp_path))
    span = next(span for span in spans_of(tmp_path) if span["name"] == "Sync")
    assert (span["trace_id"], span["span_id"]) == (event["trace_id"], event["span_id"])
    assert "Sync" == event["attributes"]["running"]
    assert ["otel_perf.budget.exceeded"] == [one["name"] for one in span["events"]]


def test_callback_that_fails_or_hangs_harms_nothing(run_python, logs_of, metrics_of, tmp_path):
    result = run_python(
        """
        import time
        import otel_perf as perf

        def fails(alert):
            raise SystemExit(3)

        def hangs(alert):
            print("hangs", flush=True)
            time.sleep(60)

        perf.on_alert(fails)
        perf.on_alert(hangs)
        perf.budget("tiny", metric="process.memory.usage", max="5MB")
        perf.init(service="alerting")
        perf.ready()
        time.sleep(4)
        print("end")
        """
    )

    assert (0, "hangs\nend\n") == (result.returncode, result.stdout)
    assert "otel-perf: on_alert: fails() failed: SystemExit: 3\n" == result.stderr
    assert len(values(metrics_of(tmp_path), "process.memory.usage")) >= 3, "the samples went on"


def test_start_that_takes_too_long_is_an_alert_while_it_still_lasts(run_python, logs_of, tmp_path):
    (tmp_path / "otel-perf.toml").write_text('[budgets.startup]\nmax = "800ms"\n')

    result = run_python(
        """
        import os, time
        import otel_perf as perf
        perf.init(service="late")
        time.sleep(3)
        os._exit(0)
        """
    )

    assert (0, "") == (result.returncode, result.stderr)
    (event,) = alerts(logs_of(tmp_path))
    assert ("startup", 0.8) == (event["attributes"]["budget"], event["attributes"]["limit"])


def test_budget_on_a_rate_a_percentile_and_a_counter_of_the_application(run_python, logs_of, tmp_path):
    result = run_python(
        """
        import time
        import otel_perf as perf
        perf.budget("rate", metric="rate(orders)", max=3)
        perf.budget("slow", metric="p95(otel_perf.function.duration{function=__main__.work})", max="1ms")
        perf.budget("queue", metric="queue{kind=web}", max=10)
        perf.budget("fine", metric="checkout", max="5s")
        perf.init(service="custom")
        perf.ready()
        orders, queue = perf.counter("orders"), perf.gauge("queue")

        @perf.profile
        def work():
            time.sleep(0.05)

        end = time.time() + 4
        while time.time() < end:
            orders.add(1)
            queue.set(99, {"kind": "web"})
            with perf.timer("checkout"):
                work()
        """
    )

    assert (0, "") == (result.returncode, result.stderr)
    assert {"rate", "slow", "queue"} == {event["attributes"]["budget"] for event in alerts(logs_of(tmp_path))}


@pytest.mark.timed
def test_percentile_is_never_more_than_the_longest_call_whatever_bucket_that_falls_into(run_python, logs_of, tmp_path):
    """The bucket of 200 ms ends at 250 ms: no call was as long as that."""
    result = run_python(
        """
        import time
        import otel_perf as perf
        perf.on_alert(lambda alert: print(alert.body, flush=True))
        perf.budget("wide", metric="p95(checkout)", max="240ms")
        perf.budget("tight", metric="p95(checkout)", max="150ms")
        perf.budget("function", metric="p95(otel_perf.function.duration{function=__main__.work})", max="1ms")
        perf.init(service="custom")
        perf.ready()

        @perf.profile
        def work():
            time.sleep(0.2)

        for _ in range(8):
            perf.timer("checkout").record(0.2)
            work()
        """
    )

    assert (0, "") == (result.returncode, result.stderr)
    found = {event["attributes"]["budget"]: event for event in alerts(logs_of(tmp_path))}
    assert {"tight", "function"} == found.keys()
    assert 0.2 == pytest.approx(found["tight"]["attributes"]["value"])
    assert "tight ~200 ms is over 150 ms" in result.stdout
    checked = run_python(["-m", "otel_perf", "check", "--json"])
    judged = {one["name"]: one for one in json.loads(checked.stdout)["processes"][0]["budgets"]}
    assert ["ok", "exceeded"] == [judged[name]["state"] for name in ("wide", "tight")]


@linux
@pytest.mark.timed
def test_idle_budget_is_judged_only_while_no_tracked_work_runs(run_python, logs_of, tmp_path):
    """Busy outside of tracked work is not idle, busy inside is the work's."""
    (tmp_path / "otel-perf.toml").write_text('[budgets.idle]\nmax = "0.1 cores"\nfor = "2s"\n')
    program = """
        import time
        import otel_perf as perf
        perf.init(service="idle")

        def busy(seconds):
            end = time.perf_counter() + seconds
            while time.perf_counter() < end:
                pass

        {decorator}
        def work():
            busy(6)

        @perf.profile
        def other():
            pass

        other()
        perf.ready()
        work()
        """

    tracked = run_python(program.format(decorator="@perf.profile"), env={"OTEL_PERF_FOLDER": "tracked"})
    untracked = run_python(program.format(decorator=""), env={"OTEL_PERF_FOLDER": "untracked"})

    assert (0, "") == (tracked.returncode, tracked.stderr) == (untracked.returncode, untracked.stderr)
    assert [] == alerts(logs_of(tmp_path / "tracked"))
    assert ["idle"] == [event["attributes"]["budget"] for event in alerts(logs_of(tmp_path / "untracked"))][:1]


@linux
@pytest.mark.parametrize("sampler", ["proc", "psutil"])
@pytest.mark.timed
def test_process_is_sampled_every_second(sampler, run_python, metrics_of, tmp_path):
    result = run_python(
        """
        import time
        import otel_perf as perf
        perf.init(service="sampled")
        perf.ready()
        end = time.perf_counter() + 5
        while time.perf_counter() < end:
            pass
        """,
        env={"OTEL_PERF_SAMPLER": sampler},
    )

    assert (0, "") == (result.returncode, result.stderr)
    points = metrics_of(tmp_path)
    cores = values(points, "otel_perf.process.cpu.usage")
    assert len(cores) >= 3
    assert 0.0 not in cores
    assert all(0.1 < one < 1.3 for one in cores[1:]), cores  # other tests share the CPUs
    memory = values(points, "process.memory.usage")
    assert all(5e6 < one < 200e6 for one in memory)
    assert len(memory) >= 3


def test_every_sample_is_on_disk_within_a_second_and_what_stays_the_same_is_not_written_again(
    run_python, metrics_of, tmp_path
):
    result = run_python(
        """
        import os, time
        import otel_perf as perf
        perf.budget("cpu", metric="otel_perf.process.cpu.usage", max=5, idle=True)
        perf.init(service="quiet")
        perf.ready()
        time.sleep(5.7)
        os._exit(0)
        """
    )

    assert (0, "") == (result.returncode, result.stderr)
    points = metrics_of(tmp_path)
    assert len(values(points, "process.memory.usage")) >= 5
    assert len(values(points, "otel_perf.budget.value", budget="cpu")) >= 4, (
        "nothing else tells which seconds are judged"
    )
    assert 1 == len(values(points, "otel_perf.budget.limit", budget="memory"))
    assert 1 == len(values(points, "otel_perf.self.init_time"))


def test_sampling_can_be_switched_off(run_python, metrics_of, tmp_path):
    run_python(
        "import time\nimport otel_perf as perf\nperf.init()\nperf.ready()\ntime.sleep(2)\n",
        env={"OTEL_PERF_METRICS": "0"},
    )

    assert not [point for point in metrics_of(tmp_path) if point["metric"].startswith(("process.", "system."))]


def test_bad_sampler_is_named_once_with_what_is_taken(run_python):
    result = run_python("import otel_perf as perf\nperf.init()\n", env={"OTEL_PERF_SAMPLER": "magic"})

    assert "otel-perf: OTEL_PERF_SAMPLER: metric_sampler: write auto, proc or psutil, got 'magic'; taking auto\n" == (
        result.stderr
    )


@linux
@pytest.mark.timed
def test_forked_child_is_sampled_on_its_own(run_python, metrics_of, tmp_path):
    result = run_python(
        """
        import os, time
        import otel_perf as perf
        perf.init(service="fork")
        perf.ready()
        time.sleep(1.5)
        child = os.fork()
        if not child:
            with perf.profile("work", span_threshold=0):
                time.sleep(2.5)
            os._exit(0)
        os.waitpid(child, 0)
        """
    )

    assert (0, "") == (result.returncode, result.stderr)
    uptimes: dict[str, list[float]] = {}
    for point in metrics_of(tmp_path):
        if point["metric"] == "process.uptime":
            uptimes.setdefault(point["process"], []).append(point["point"]["value"])
    parent, child = sorted(uptimes.values(), key=lambda found: -found[-1])
    assert child[0] < 1.5 < parent[-1]


def test_budget_of_any_phase_judges_the_longest(run_python, logs_of, tmp_path):
    result = run_python(
        """
        import time
        import otel_perf as perf
        perf.init(service="phases")
        perf.budget("any", metric="otel_perf.startup.phase.duration", max="150ms")
        with perf.phase("CoreInit"):
            time.sleep(0.2)
        with perf.phase("UI"):
            pass
        perf.ready()
        time.sleep(1.2)
        """
    )

    assert (0, "") == (result.returncode, result.stderr)
    (alert,) = alerts(logs_of(tmp_path))
    assert "any" == alert["attributes"]["budget"]
    assert 0.2 <= alert["attributes"]["value"] < 0.6


@pytest.mark.timed
def test_phase_that_is_opened_on_two_call_paths_is_one_series(run_python, metrics_of, tmp_path):
    result = run_python(
        """
        import time
        import otel_perf as perf
        perf.init(service="phases")
        with perf.phase("UI"):
            time.sleep(0.1)
        with perf.phase("Plugins"), perf.phase("UI"):
            time.sleep(0.1)
        perf.ready()
        time.sleep(1.5)
        """
    )

    assert (0, "") == (result.returncode, result.stderr)
    points = [p for p in metrics_of(tmp_path) if p["metric"] == "otel_perf.startup.phase.duration"]
    found = [p["point"]["value"] for p in points if p["attributes"] == {"phase": "UI"}]
    times = [p["point"]["timeUnixNano"] for p in points if p["attributes"] == {"phase": "UI"}]
    assert len(set(times)) == len(times)
    assert all(0.19 < seconds < 1.0 for seconds in found), found


def test_limit_of_the_start_that_the_program_sets_is_what_its_report_says(run_python, spans_of, tmp_path):
    result = run_python(
        """
        import otel_perf as perf
        perf.budget("startup", metric="otel_perf.startup.duration", max="300s")
        perf.init(service="patient")
        perf.ready()
        print(perf.report())
        """
    )

    assert (0, "") == (result.returncode, result.stderr)
    assert "within the budget of 5 min" in result.stdout
    root = next(span for span in spans_of(tmp_path) if span["name"] == "startup")
    assert 300 == root["attributes"]["otel_perf.budget.startup"]


@pytest.mark.parametrize("options", [[], ["-m", "otel_perf", "run", "--", sys.executable]])
def test_report_and_alert_agree_about_a_program_that_never_says_ready(run_python, logs_of, tmp_path, options):
    """It calls init(), so to say ready() is its part: without it the budget is exceeded once its limit has passed."""
    program = tmp_path / "never.py"
    program.write_text(
        "import otel_perf as perf, time\nperf.budget('startup', metric='otel_perf.startup.duration', max='1s')\n"
        "time.sleep(0.7)\nperf.init(service='never')\nend = time.time() + 3\nwhile time.time() < end: pass\n"
    )

    result = run_python([*options, program])
    report = run_python(["-m", "otel_perf", "report"])
    check = run_python(["-m", "otel_perf", "check"])

    assert (0, "") == (result.returncode, result.stderr)
    assert ["startup"] == sorted({event["attributes"]["budget"] for event in alerts(logs_of(tmp_path))} - {"idle"})
    assert report.stdout.startswith("never: budget of 1 s exceeded: no ready() (the start was closed by the process's")
    assert 1 == check.returncode, check.stdout


def test_budgets_of_the_program_are_known_to_who_reads_its_run(run_python, logs_of, tmp_path):
    """With metric, unit and severity, also of one that never was exceeded; the file may be another by then."""
    (tmp_path / "otel-perf.toml").write_text('[budgets]\nmemory = "5GB"\n')
    run_python(
        """
        import time
        import otel_perf as perf
        perf.budget("files", metric="process.unix.file_descriptor.count", max=500, severity="critical")
        perf.init(service="defined")
        perf.ready()
        time.sleep(1.2)
        perf.budget("late", metric="process.memory.usage", max="6GB", for_="2s")
        time.sleep(2)
        """
    )
    (tmp_path / "otel-perf.toml").unlink()

    check = run_python(["-m", "otel_perf", "check"])

    defined = [event["attributes"] for event in logs_of(tmp_path) if event["name"] == "otel_perf.config.budget"]
    assert ["memory", "files", "late"] == [one["budget"] for one in defined]
    assert ("critical", 500) == (defined[1]["severity"], defined[1]["limit"])
    assert ("By", 2) == (defined[2]["unit"], defined[2]["for"])
    rows = {line.split()[1]: line for line in check.stdout.splitlines()[1:] if line.strip()}
    assert "limit 6 GB" in rows["late"].replace("  ", " ") or "6 GB" in rows["late"], check.stdout
    assert "5 GB" in rows["memory"], check.stdout
