"""The same as proofs.py for the rules about whole services: silence, and versions that start slower."""

from __future__ import annotations

from typing import TYPE_CHECKING

from otel_perf.backends.names import label, series_of
from otel_perf.budgets import STARTUP

from .of_services import REGRESSION, SILENT, SLOWER, STARTS
from .parts import OFFSET, span
from .proofs import GONE, process, selector, test, tests_file

if TYPE_CHECKING:
    from .parts import Links, Rule

    Fires = list[tuple[int, bool]]  # second, and whether it fires then

_QUARTER, _MINUTE = 15, 60


def service_proofs_file(links: Links, rules: str) -> Rule:
    """Return the tests of the rules about services, which are in the file *rules*."""
    return tests_file(rules, _QUARTER, [*_silence(links), *_regression(links)])


def _silence(links: Links) -> list[Rule]:
    """Return the tests of the silent service: samples every 15 s, the last at 2 min."""
    lived = "0+15x8"
    back = f"_x20 0+15x20 {GONE}"  # from 5 to 10 min, then a clean end
    soon, later = _MINUTE * 4 + _QUARTER, _MINUTE * 30
    named: list[tuple[str, list[str], Fires]] = [
        ("fires 2 min after the last sample", [lived], [(_MINUTE * 4 - _QUARTER, False), (soon, True), (later, True)]),
        ("is forgotten after an hour", [lived], [(_MINUTE * 70, False)]),
        ("not after a clean end", [f"{lived} {GONE}"], [(soon, False), (later, False)]),
        ("not while another process lives", [lived, "0+15x200"], [(soon, False), (later, False)]),
        ("not once a process is back", [lived, "_x20 0+15x200"], [(soon, True), (_MINUTE * 6, False)]),
        ("not if a later process ended cleanly", [lived, back], [(soon, True), (_MINUTE * 20, False)]),
    ]
    return [_silent(links, *each) for each in named]


def _silent(links: Links, name: str, lives: list[str], fires: Fires) -> Rule:
    series = {
        selector(series_of("process.uptime"), process(links, f"{number}")): text for number, text in enumerate(lives, 1)
    }
    asked = [_question(SILENT, "service_name", process(links)[label("service.name")], *each) for each in fires]
    return test(f"silent service: {name}", _QUARTER, series, asked, fires[-1][0] + OFFSET + _QUARTER)


def _regression(links: Links) -> list[Rule]:
    """Return the tests of the regression: version 2.0 comes 10 min after 1.0, 3.0 at 20 min where there is one."""
    slow = SLOWER * 1.25
    old = [1.0, 1.0, 1.0, 9.0, 0.5][:STARTS]  # one that was slow by chance is not the median
    late = _MINUTE * 15
    named: list[tuple[str, list[list[float]], Fires]] = [
        ("fires where the median is slower", [old, [slow] * STARTS], [(_MINUTE * 8, False), (late, True)]),
        ("not within what is allowed", [old, [SLOWER] * STARTS], [(late, False)]),
        ("not for what was slow once", [old, [1.0] * (STARTS - 1) + [60.0]], [(late, False)]),
        ("not for too few starts", [old, [slow] * (STARTS - 1)], [(late, False)]),
        ("not for what became faster", [[slow] * STARTS, old], [(late, False)]),
        (
            "is over with a version that is as fast as the one before",
            [old, [slow] * STARTS, [slow] * STARTS],
            [(late, True), (_MINUTE * 25, False)],
        ),
    ]
    return [_versions(links, *each) for each in named]


def _versions(links: Links, name: str, starts: list[list[float]], fires: Fires) -> Rule:
    series = {}
    for number, durations in enumerate(starts):
        wait = f"_x{number * 40} " if number else ""
        for instance, seconds in enumerate(durations):
            labels = process(links, f"{number}-{instance}", f"{number + 1}.0")
            series[selector(series_of("process.uptime"), labels)] = f"{wait}0+15x200"
            series[selector(series_of(STARTUP), labels)] = f"{wait}{seconds:g}x200"
    asked = [_question(REGRESSION, "service_version", "2.0", *each) for each in fires]
    return test(f"startup regression: {name}", _QUARTER, series, asked, fires[-1][0] + OFFSET + _MINUTE)


def _question(alert: str, key: str, text: str, second: int, fires: bool) -> Rule:
    """Return the question whether *alert* fires at *second*, and for which *key*."""
    labels = {"alertname": alert, "alertstate": "firing"}
    answer = [{"labels": selector("", {key: text}), "value": 1}] if fires else []
    return {
        "expr": f"count by ({key}) ({selector('ALERTS', labels)})",
        "eval_time": span(second),
        "exp_samples": answer,
    }
