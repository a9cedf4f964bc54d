"""What the documents say is true: every setting is in the README, every room in the architecture."""

from __future__ import annotations

import re
from pathlib import Path

from otel_perf import config
from otel_perf.metrics.names import INSTRUMENTS, JUDGED, WRITTEN

ROOT = Path(__file__).resolve().parents[2]


def test_readme_lists_every_setting_with_its_default():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    rows = [line for line in readme.splitlines() if line.startswith("| `")]

    assert [f"| `{key}` | `{variable}`" for key, variable, *_ in config.TABLE] == [
        " | ".join(row.split(" | ")[:2]) for row in rows
    ]
    for (key, _, _, default, meaning), row in zip(config.TABLE, rows, strict=True):
        shown = "" if default is None else {True: "on", False: "off"}[default] if isinstance(default, bool) else default
        assert f"| {shown} | {meaning} |" in row, key


def test_architecture_names_every_room():
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    rooms = [
        path
        for path in (ROOT / "src" / "otel_perf").iterdir()
        if not path.name.startswith("_") and path.name != "py.typed"
    ]

    missing = [r.name for r in rooms if f"`{r.name}" not in text]

    assert [] == missing


def test_readme_shows_the_example_that_is_run(run_python, tmp_path):
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    (example,) = [part.split("```")[0] for part in readme.split("```python\n")[1:]]

    result = run_python(example, name="shop.py")

    assert (0, "2998500\n") == (result.returncode, result.stdout)
    assert re.fullmatch(
        r"(report took .*, more than 50 ms .*\n)?", result.stderr
    )  # as it says it does, where that took so long
    report = run_python(["-m", "otel_perf", "report"])
    assert report.stdout.startswith("shop 1.4.2 started in ")


def test_every_metric_that_a_budget_can_name_is_listed_with_its_unit():
    text = (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8")
    rows = [[cell.strip(" `") for cell in line.split("|")[1:3]] for line in text.splitlines() if line.startswith("| `")]

    assert [[name, unit] for name, (_, unit, _) in {**INSTRUMENTS, **WRITTEN}.items()] == rows
    of_runs = [line.split("`")[1] for line in text.splitlines() if line.startswith("| `") and "¹" in line]
    assert [name for name in WRITTEN if name not in JUDGED] == of_runs
