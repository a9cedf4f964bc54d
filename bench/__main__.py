"""``python -m bench [--only NAME] [--quick] [--json FILE] [--markdown FILE]``."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from . import calls, context, idle, imports, instruments, measure, run, send, start, survival, view, writer
from .table import Row, as_markdown, as_text

GROUPS = {
    "start": start,
    "call": calls,
    "instruments": instruments,
    "idle": idle,
    "imports": imports,
    "run": run,
    "writer": writer,
    "survival": survival,
    "send": send,
    "context": context,
    "view": view,
}
TEMPLATE = Path(__file__).with_name("page.md")


def main() -> int:
    """Measure, show the table, write what was asked for."""
    parser = argparse.ArgumentParser(prog="python -m bench", description="Benchmarks of otel-perf beside its peers.")
    parser.add_argument("--only", action="append", choices=GROUPS, metavar="NAME", help=f"one of {', '.join(GROUPS)}")
    parser.add_argument("--quick", action="store_true", help="few rounds: a look, not a measurement")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the rows and the machine there")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the page docs/benchmarks.md there")
    options = parser.parse_args()
    absent = measure.missing()
    if absent:
        print(f"bench: not installed: {', '.join(absent)}; make bench sets everything up", file=sys.stderr)
        return 2
    rows: list[Row] = []
    for name in options.only or GROUPS:
        rows += GROUPS[name].rows(options.quick)
    found = measure.machine()
    print("  ".join(f"{key} {value}" for key, value in found.items()))
    print(as_text(rows))
    for row in rows:
        if row.note and row.met is False:
            print(f"  {row.what}: {row.note}")
    if options.json:
        options.json.write_text(json.dumps({"machine": found, "rows": list(map(_plain, rows))}, indent=1) + "\n")
    if options.markdown:
        options.markdown.write_text(_page(rows, found), encoding="utf-8")
    return 0


def _plain(row: Row) -> dict[str, Any]:
    return row._asdict() | {"goal": row.goal._asdict(), "ratio": row.ratio, "met": row.met}


def _page(rows: list[Row], found: dict[str, Any]) -> str:
    lines = "\n".join(f"- {key}: {value}" for key, value in found.items())
    page = TEMPLATE.read_text(encoding="utf-8")
    return page.replace("<!-- machine -->", lines).replace("<!-- tables -->", as_markdown(rows).strip())


if __name__ == "__main__":
    sys.exit(main())
