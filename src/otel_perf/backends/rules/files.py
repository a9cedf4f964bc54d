"""Which files there are, what stands in them, and whether they are up to date."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from otel_perf.backends import yaml

from .of_budgets import budgets_file
from .of_services import services_file
from .proofs import proofs_file
from .service_proofs import service_proofs_file

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

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


def differing(folder: str, files: Mapping[str, str]) -> dict[str, str]:
    """Return which of *files* are not in *folder* as they should be, and why: ``missing`` or ``out of date``.

    Raises: OSError: one of them is there and cannot be read.
    """
    found = {}
    for path, text in files.items():
        try:
            with open(os.path.join(folder, path), "rb") as file:
                if file.read().replace(b"\r\n", b"\n") != text.encode():
                    found[path] = "out of date"
        except (FileNotFoundError, NotADirectoryError):
            found[path] = "missing"
    return found


def write(folder: str, files: Mapping[str, str]) -> None:
    """Write *files* into *folder*, each by replacing it, so that nobody reads half a file.

    Raises: OSError: that is not possible.
    """
    for path, text in files.items():
        target = os.path.join(folder, path)
        os.makedirs(os.path.dirname(target), exist_ok=True)
        with open(f"{target}.new", "w", encoding="utf-8", newline="\n") as file:
            file.write(text)
        os.replace(f"{target}.new", target)
