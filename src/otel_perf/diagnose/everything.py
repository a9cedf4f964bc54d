"""All the looks at once, within a few seconds whatever hangs."""

from __future__ import annotations

import os
import time
from threading import Thread
from typing import TYPE_CHECKING, Any

from otel_perf import config
from otel_perf.analysis.text import duration
from otel_perf.export import endpoint as endpoints_room
from otel_perf.export.endpoint import SIGNALS

from . import installed, network, runs, sampling, settings, skew
from .advice import Adviser
from .found import ERROR, Finding, Part, Secrets

if TYPE_CHECKING:
    from collections.abc import Callable

    from otel_perf.export.endpoint import Endpoints

    from .network import Reach

BASE = "OTEL_EXPORTER_OTLP_ENDPOINT"
LIMIT = 3.3  # seconds for everything, of the five that the command has
_STEPS = {"name": "the name is not known", "connection": "no connection", "request": "not taken"}


class Diagnosis:
    """What was found.

    Attributes:
        parts: in the order in which they are shown.
        findings: of all parts; errors first.
        secrets: what hides what must not be shown.
        hanging: something did not end in time and still runs.
    """

    def __init__(self, parts: list[Part], secrets: Secrets, hanging: bool) -> None:
        self.parts = parts
        self.secrets = secrets
        found = [finding for part in parts for finding in part.findings]
        self.findings = sorted(found, key=lambda finding: finding.severity != ERROR)
        self.hanging = hanging

    @property
    def errors(self) -> list[Finding]:
        """What is wrong."""
        return [finding for finding in self.findings if finding.severity == ERROR]

    @property
    def notes(self) -> list[Finding]:
        """What is worth knowing."""
        return self.findings[len(self.errors) :]


def diagnose(endpoint: str = "", protocol: str = "", folder: str = "", limit: float = LIMIT) -> Diagnosis:
    """Look at everything that a program started here would use.

    Args:
        endpoint: base URL instead of the environment's.
        protocol: one of endpoint.PROTOCOLS instead of the environment's.
        folder: of runs, instead of the settings'.
        limit: seconds.
    """
    deadline = time.monotonic() + limit
    environ = dict(os.environ)
    chosen = config.load({})
    source = chosen.sources.get("endpoint", "")
    of_file = "" if source in ("", BASE) else chosen.endpoint
    known = {**environ, BASE: environ.get(BASE, "").strip() or of_file}  # a file's endpoint counts least
    endpoints = endpoints_room.load(endpoint or None, protocol or None, known)
    adviser = Adviser(environ, endpoint, protocol, source if of_file else "")
    work: dict[str, Callable[[], Part]] = {
        "sending": lambda: _sending(endpoints, adviser, deadline - 0.1),
        "run folder": lambda: runs.examine(chosen, folder or chosen.folder, endpoints, deadline - 0.5),
        "hooks": lambda: installed.hooks(chosen, deadline - 0.2 - time.monotonic()),
        "packages": lambda: installed.versions(endpoints),
        "sampling": lambda: sampling.examine(chosen),
        "settings": lambda: settings.examine(chosen, environ, endpoints.complaints),
    }
    found: dict[str, Part] = {}
    threads = [Thread(target=_look, args=(found, title, task), daemon=True) for title, task in work.items()]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    parts = [found.get(title) or _missing(title, limit) for title in work]
    secrets = Secrets(environ, endpoint, of_file)
    return Diagnosis(parts, secrets, any(thread.is_alive() for thread in threads))


def _look(found: dict[str, Part], title: str, task: Callable[[], Part]) -> None:
    try:
        found[title] = task()
    except Exception as error:  # noqa: BLE001  # a bug of ours must not take the other parts with it
        part = Part(title)
        part.error(f"this part could not be examined: {type(error).__name__}: {error}")
        found[title] = part


def _missing(title: str, limit: float) -> Part:
    part = Part(title)
    part.error(f"no result within {duration(limit)}: something that it asks hangs")
    return part


# --- sending ----------------------------------------------------------------------------------------------------------


def _sending(endpoints: Endpoints, adviser: Adviser, deadline: float) -> Part:
    part = Part("sending")
    for text in endpoints.complaints:
        part.error(text)
    there = [target for target in endpoints.targets.values() if "otlp" in target.exporters]
    reached = {one.target.signal: one for one in network.reach(there, deadline)} if there else {}
    for signal in SIGNALS:
        target = endpoints.targets.get(signal)
        if signal in reached:
            _row(part, reached[signal], adviser)
        elif target is not None:
            part.row(signal, "written to the program's stdout", f"OTEL_{signal.upper()}_EXPORTER")
            part.data[signal] = {"url": "stdout", "state": "not sent"}
        else:
            part.row(signal, "stay in the run folder", _unsent(signal, adviser))
            part.data[signal] = {"url": "", "state": "not sent"}
    part.findings += adviser.findings(list(reached.values()))
    _clocks(part, list(reached.values()), deadline)
    _some_only(part, endpoints, adviser)
    return part


def _clocks(part: Part, reached: list[Reach], deadline: float) -> None:
    """Say where this machine's clock is not that of a receiver, as far as it tells the time."""
    bases = {one.target.url.rpartition("/v1/")[0]: one for one in reached if one.good and one.target.protocol != "grpc"}
    for base in bases:
        ahead = skew.ahead_of(base, min(0.5, max(0.05, deadline - time.monotonic())))
        if text := skew.said(ahead, "the receiver's"):
            tell = part.error if (ahead or 0.0) >= skew.REFUSED else part.note
            tell(text, "set both machines' clocks, by NTP for example")


def _row(part: Part, one: Reach, adviser: Adviser) -> None:
    signal, target = one.target.signal, one.target
    step = one.failed
    if one.good:
        state = f"taken in {duration(one.waited)}"
    else:
        state = _STEPS.get(step.name, "") if step else "no result in time"
    source = adviser.source(signal, "ENDPOINT")
    if source.startswith("OTEL_") and not adviser.environ.get(source, "").strip():
        source = "default"
    part.row(signal, f"{state}: {target.protocol} {target.shown}", source)
    part.data[signal] = {
        "url": target.shown,
        "protocol": target.protocol,
        "state": "taken" if one.good else "failed",
        "endpoint_from": source,
        "headers": sorted(target.headers),
        "proxy": one.proxy,
        "steps": [{"name": step.name, "problem": step.problem, "seconds": step.seconds} for step in one.steps],
    }


def _unsent(signal: str, adviser: Adviser) -> str:
    variable = f"OTEL_{signal.upper()}_EXPORTER"
    return f"{variable}={adviser.environ[variable]}" if adviser.environ.get(variable, "").strip() else ""


def _some_only(part: Part, endpoints: Endpoints, adviser: Adviser) -> None:
    """Say which signals stay here, where nobody switched them off."""
    missing = [signal for signal in SIGNALS if signal not in endpoints.targets and not _unsent(signal, adviser)]
    if not endpoints.targets and len(missing) == len(SIGNALS):
        part.note(
            "nothing is sent: no endpoint is set; the run folder has everything",
            "OTEL_EXPORTER_OTLP_ENDPOINT=http://localhost:4318",
        )
    elif missing and endpoints.targets:
        names = " and ".join(missing)
        part.note(
            f"only {' and '.join(endpoints.targets)} are sent; {names} stay in the run folder: no endpoint is set for "
            "them",
            "OTEL_EXPORTER_OTLP_ENDPOINT=http://host:4318 sends all three, or OTEL_"
            f"{missing[0].upper()}_EXPORTER=none says that it is meant so",
        )


def as_json(diagnosis: Diagnosis) -> dict[str, Any]:
    """Return *diagnosis* for ``--json``; version 1 of the form."""
    found: dict[str, Any] = {
        "version": 1,
        "well": not diagnosis.errors,
        "findings": [
            {"severity": one.severity, "about": one.about, "text": one.text, "fix": one.fix}
            for one in diagnosis.findings
        ],
    }
    for part in diagnosis.parts:
        found[part.title.replace(" ", "_")] = part.data
    hidden: dict[str, Any] = diagnosis.secrets.hide_all(found)
    return hidden
