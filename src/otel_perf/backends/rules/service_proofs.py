"""The same as proofs.py for the rules about whole services: silence, and versions that start slower."""

from __future__ import annotations

from typing import TYPE_CHECKING

from otel_perf.backends.names import label, series_of
from otel_perf.budgets import STARTUP

from .of_services import KNOWN, REGRESSION, SILENT, SLOWER, STARTS
from .parts import OFFSET, selector, span
from .proofs import GONE, process, test, tests_file

if TYPE_CHECKING:
    from .parts import Links, Rule

    Fires = list[tuple[int, bool]]  # second, and whether it fires then

_QUARTER, _MINUTE = 15, 60
_LIVED = "0+15x8"
_NAME, _UPTIME = label("service.name"), series_of("process.uptime")


def service_proofs_file(links: Links, rules: str) -> Rule:
    """Return the tests of the rules about services, which are in the file *rules*."""
    return tests_file(rules, _QUARTER, [*_silence(links), *_regression(links)])


def _silence(links: Links) -> list[Rule]:
    """Return the tests of the silent service: samples every 15 s, the last at 2 min."""
    if links.expected:
        others = [*links.expected[1:], links.expected[0]] if len(links.expected) > 1 else [f"{links.expected[0]}-2"]
        pairs = list(zip(links.expected, others, strict=True))
        return [one for pair in pairs for one in (*_of_any(*pair), *_of_expected(*pair))]
    name = process(links)[_NAME]
    other = f"{name}-2"
    forgotten = _silent(name, other, "is forgotten after an hour", [_LIVED], [(_MINUTE * 70, False)])
    return [*_of_any(name, other), forgotten]


def _of_any(name: str, other: str) -> list[Rule]:
    """Return the tests that hold of every service."""
    back = f"_x20 0+15x20 {GONE}"  # from 5 to 10 min, then a clean end
    soon, later = _MINUTE * 4 + _QUARTER, _MINUTE * 30
    named: list[tuple[str, list[str], Fires]] = [
        ("fires 2 min after the last sample", [_LIVED], [(_MINUTE * 4 - _QUARTER, False), (soon, True), (later, True)]),
        ("not after a clean end", [f"{_LIVED} {GONE}"], [(soon, False), (later, False)]),
        ("not while another process lives", [_LIVED, "0+15x200"], [(soon, False), (later, False)]),
        ("not once a process is back", [_LIVED, "_x20 0+15x200"], [(soon, True), (_MINUTE * 6, False)]),
        ("not if a later process ended cleanly", [_LIVED, back], [(soon, True), (_MINUTE * 20, False)]),
    ]
    return [_silent(name, other, *each) for each in named]


def _of_expected(name: str, other: str) -> list[Rule]:
    """Return the tests of a service that must be there; "once" is one alert, also where one reason follows another."""
    begun, hour = _MINUTE * 2, KNOWN + _MINUTE * 2
    on: Fires = [(hour + _QUARTER * number, True) for number in range(-2, 4 * 8)]
    named: list[tuple[str, list[str], Fires]] = [
        ("fires where nothing was ever sent", [], [(begun - _QUARTER, False), (begun, True), (hour + begun, True)]),
        ("not while it sends", ["0+15x320"], [(_QUARTER, False), (begun, False), (hour + begun, False)]),
        ("not once it sends", ["_x40 0+15x60"], [(_MINUTE * 9, True), (_MINUTE * 11, False)]),
        ("goes on firing after an hour, once", [_LIVED], on),
        (
            "fires an hour after a clean end",
            [f"{_LIVED} {GONE}"],
            [(hour, False), (hour + _QUARTER * 2, True), (hour + _MINUTE * 9, True)],
        ),
    ]
    spaced = _silent(name, other, "the same in a namespace", [_LIVED], on, **{label("service.namespace"): "a"})
    return [*(_silent(name, other, *each) for each in named), spaced]


def _silent(name: str, other: str, what: str, lives: list[str], fires: Fires, **more: str) -> Rule:
    """Return a test of the service *name*, with *more* labels, beside which an *other* is there all the time."""
    series = {selector(_UPTIME, {_NAME: other, label("service.instance.id"): "0"}): "0+15x320"}
    for number, text in enumerate(lives, 1):
        series[selector(_UPTIME, {_NAME: name, label("service.instance.id"): f"{number}", **more})] = text
    asked = [_question(SILENT, _NAME, name, *each, {_NAME: name}) for each in fires]
    return test(f"silent service {name}: {what}", _QUARTER, series, asked, fires[-1][0] + OFFSET + _QUARTER)


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


def _question(alert: str, key: str, text: str, second: int, fires: bool, of: dict[str, str] | None = None) -> Rule:
    """Return the question whether *alert* fires at *second*, and for which *key*; only those with the labels *of*."""
    labels = {"alertname": alert, "alertstate": "firing"} | (of or {})
    answer = [{"labels": selector("", {key: text}), "value": 1}] if fires else []
    return {
        "expr": f"count by ({key}) ({selector('ALERTS', labels)})",
        "eval_time": span(second),
        "exp_samples": answer,
    }
