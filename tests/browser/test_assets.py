"""The built page that travels in the wheel is what its sources make, and nothing else."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
WEB = ROOT / "web"
ASSETS = ROOT / "src" / "otel_perf" / "view" / "assets"


@pytest.fixture(scope="module")
def npm():
    """Return the words that start npm, where the page's packages are installed."""
    found = shutil.which("npm")
    if found is None:
        pytest.skip("needs npm")
    if not (WEB / "node_modules" / "vite").is_dir():
        pytest.skip("needs the page's packages: make web-packages")
    return [found, "--prefix", str(WEB), "run", "--silent"]


def test_sources_give_the_same_bytes(npm, tmp_path):
    environment = {**os.environ, "OTEL_PERF_ASSETS": str(tmp_path / "built")}
    subprocess.run([*npm, "build"], env=environment, check=True, capture_output=True, timeout=100)

    built = {file.name: file.read_bytes() for file in (tmp_path / "built").iterdir()}
    assert {"index.html", "app.js", "app.css", "THIRD-PARTY.txt"} == built.keys()
    assert {file.name: file.read_bytes() for file in ASSETS.iterdir()} == built


def test_logic_without_a_browser_holds(npm):
    done = subprocess.run([*npm, "test"], capture_output=True, text=True, timeout=100, check=False)

    assert 0 == done.returncode, done.stdout


def test_page_has_no_inline_script_and_names_no_other_host():
    page, script, style = ((ASSETS / name).read_text(encoding="utf-8") for name in ("index.html", "app.js", "app.css"))

    assert re.findall(r"<script(.*?)>(.*?)</script>", page) == [(' type="module" src="./app.js"', "")]
    assert "<style" not in page
    assert " style=" not in page
    assert not re.search(r"</script|<!--", script)
    names = set(re.findall(r"https?://[\w.-]+", page + script + style))
    assert names <= {"http://www.w3.org"}  # the names of SVG and MathML


def test_lock_names_no_registry():
    lock = (WEB / "package-lock.json").read_text(encoding="utf-8")

    assert '"resolved"' not in lock
    assert lock.count('"integrity"') > 20


def test_licences_of_what_is_bundled_lie_beside_it():
    words = (ASSETS / "THIRD-PARTY.txt").read_text(encoding="utf-8")

    for package in ("preact", "@preact/signals", "@preact/signals-core", "uplot"):
        assert re.search(rf"^{re.escape(package)} \d", words, re.MULTILINE), package
    assert words.count("Permission is hereby granted") >= 4
