"""What rules and their tests are written with: selectors, numbers, durations, templates, links."""

from __future__ import annotations

from typing import TYPE_CHECKING

from otel_perf.backends.names import PROMOTED, label, promql_regex, promql_string

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    Rule = dict[str, Any]

OFFSET = 3  # seconds that rules look back: samples come in batches, and by then they are there

PROCESS = tuple(label(attribute) for attribute in PROMOTED)
SERVICE = tuple(label(name) for name in ("service.name", "service.namespace", "deployment.environment.name"))
VERSION = (*SERVICE, label("service.version"))

RUNBOOK = "docs/alert-rules.md"
GRAFANA = "http://127.0.0.1:3000"  # where the stack of deploy/ publishes it
NAMED = "{{ $labels.service_name }}{{ with $labels.service_version }} {{ . }}{{ end }}"  # service and version

_VARIABLES = {"service": "service_name", "version": "service_version", "instance": "service_instance_id"}


class Links:
    """What the rules are about, and where their annotations point to.

    Attributes:
        services: only the series of these services are judged, all if empty.
        expected: those of them that must be there: one that never sent anything is silent, too.
        runbook: file or URL of the runbook, without its anchor.
        grafana: base URL of Grafana.
    """

    __slots__ = ("expected", "grafana", "runbook", "services")

    def __init__(
        self,
        *,
        services: Sequence[str] = (),
        expected: Sequence[str] = (),
        runbook: str = RUNBOOK,
        grafana: str = GRAFANA,
    ) -> None:
        self.services = tuple(services)
        self.expected = tuple(expected)
        self.runbook = runbook
        self.grafana = grafana.rstrip("/")

    def series(self, name: str, labels: dict[str, str] | None = None, *, versioned: bool = False) -> str:
        """Return a selector of the series *name* with *labels*, of the services if some were asked for.

        Args:
            name: of the series.
            labels: that it must have.
            versioned: leave series without a version out.
        """
        pairs = [f"{label('service.name')}{_one_of(self.services)}"] if self.services else []
        pairs += [f"{key}={promql_string(text)}" for key, text in (labels or {}).items()]
        pairs += [f'{label("service.version")}!=""'] if versioned else []
        return f"{name}{{{', '.join(pairs)}}}" if pairs else name

    def dashboard(self, uid: str, *names: str) -> str:
        """Return the URL of a dashboard with the variables *names* set to what the alert is of, as a template."""
        pairs = [f"var-{name}={{{{ $labels.{_VARIABLES[name]} | urlquery }}}}" for name in names]
        return f"{literal(self.grafana)}/d/{uid}?{'&'.join(pairs)}"

    def section(self, anchor: str) -> str:
        """Return the address of a section of the runbook, as a template."""
        return f"{literal(self.runbook)}#{anchor}"


def selector(name: str, labels: dict[str, str]) -> str:
    """Return the series *name* with *labels*."""
    return f"{name}{{{', '.join(f'{key}={promql_string(text)}' for key, text in labels.items())}}}"


def _one_of(values: tuple[str, ...]) -> str:
    """Return the matcher, without its label, of what is one of *values*."""
    return f"={promql_string(values[0])}" if len(values) == 1 else f"=~{promql_regex(*values)}"


def group(name: str, seconds: int, rules: list[Rule]) -> Rule:
    """Return a group of *rules* that is evaluated every *seconds*, about the moment OFFSET seconds ago."""
    return {"name": name, "interval": span(seconds), "query_offset": span(OFFSET), "rules": rules}


def by(labels: tuple[str, ...]) -> str:
    """Return the clause that keeps *labels*."""
    return f"by ({', '.join(labels)})"


def on(labels: tuple[str, ...]) -> str:
    """Return the clause that matches by *labels*."""
    return f"on ({', '.join(labels)})"


def literal(text: str) -> str:
    """Return *text* so that the templates of Prometheus leave it as it is."""
    return text.replace("{", '{{ "{" }}') if "{{" in text or text.endswith("{") else text


def number(value: float) -> str:
    """Return *value* as PromQL reads it, exactly."""
    return repr(float(value)).removesuffix(".0")


def span(seconds: float) -> str:
    """Return *seconds* as a duration of Prometheus, ``3s``, ``2500ms`` or ``5m``; at least a millisecond."""
    thousandths = max(1, round(seconds * 1000))
    for size, unit in ((86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1000, "s")):
        if thousandths % size == 0:
            return f"{thousandths // size}{unit}"
    return f"{thousandths}ms"
