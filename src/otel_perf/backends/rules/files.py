"""Which files there are, and what stands in them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from otel_perf.backends import yaml

from .of_budgets import budgets_file
from .of_services import services_file
from .proofs import proofs_file
from .service_proofs import service_proofs_file

if TYPE_CHECKING:
    from collections.abc import Sequence

    from otel_perf.budgets import Budget

    from .parts import Links

BUDGETS, SERVICES = "otel-perf-budgets.yml", "otel-perf-services.yml"

_HEADER = """\
# Written by `otel-perf rules`: do not edit. What is judged stands in otel-perf.toml, or below [tool.otel-perf] in
# pyproject.toml; `otel-perf rules --check` says whether this file is up to date.
"""
_PROVEN = "# promtool test rules {}\n"


def files_of(budgets: Sequence[Budget], links: Links) -> dict[str, str]:
    """Return path and text of each file, for Prometheus and for promtool."""
    return {
        f"rules/{BUDGETS}": _HEADER + yaml.dump(budgets_file(budgets, links)),
        f"rules/{SERVICES}": _HEADER + yaml.dump(services_file(links)),
        f"tests/{BUDGETS}": _test(BUDGETS, yaml.dump(proofs_file(budgets, links, f"../rules/{BUDGETS}"))),
        f"tests/{SERVICES}": _test(SERVICES, yaml.dump(service_proofs_file(links, f"../rules/{SERVICES}"))),
    }


def _test(name: str, text: str) -> str:
    return _HEADER + _PROVEN.format(f"tests/{name}") + text
