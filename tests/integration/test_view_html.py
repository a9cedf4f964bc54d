"""``otel-perf report --html``: one file with the page and its data, which asks nobody for anything."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

PROGRAM = Path(__file__).with_name("programs") / "viewed.py"
ASSETS = Path(__file__).resolve().parents[2] / "src" / "otel_perf" / "view" / "assets"
HOSTILE = ["</script><script>alert(1)</script>", "<!--", "\u2028\u2029", "]]>", "&lt;b&gt;", "'\"`", "\ud800"]


class Parts(HTMLParser):
    """What a browser would find in the file: elements with their attributes, and the text of script and style."""

    def __init__(self, text):
        super().__init__(convert_charrefs=False)
        self.elements = []
        self.texts = []
        self.inside = False
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        self.texts.append("")
        self.inside = True

    def handle_endtag(self, tag):
        self.inside = False

    def handle_data(self, data):
        if self.inside:
            self.texts[-1] += data

    def of(self, tag, **wanted):
        return [
            (attributes, text)
            for (name, attributes), text in zip(self.elements, self.texts, strict=True)
            if name == tag and wanted.items() <= attributes.items()
        ]


@pytest.fixture(scope="module")
def run(tmp_path_factory, otel_perf, viewer_module):
    """Return a function that runs a command of otel-perf in the folder in which the program was recorded."""
    folder = tmp_path_factory.mktemp("recorded")
    environment = viewer_module.environment()
    subprocess.run([sys.executable, PROGRAM], cwd=folder, env=environment, check=True, timeout=60)

    def ran(*words, cwd=folder):
        return subprocess.run(
            [*otel_perf, *map(str, words)], cwd=cwd, env=environment, stdin=subprocess.DEVNULL, capture_output=True,
            timeout=60, check=False,
        )  # fmt: skip

    ran.folder = folder
    return ran


@pytest.fixture
def page(run, tmp_path):
    """Return a function that writes the report of a run and gives the file's text."""

    def written(*words, **more):
        file = tmp_path / "report.html"
        done = run("report", "--html", file, *words, **more)
        assert (0, b"", b"") == (done.returncode, done.stdout, done.stderr)
        return file.read_text(encoding="utf-8")

    return written


def data_of(text):
    ((_, data),) = Parts(text).of("script", type="application/json", id="data")
    return json.loads(data)


def hash_of(text):
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def test_only_the_page_s_own_script_and_style_may_run_by_their_hashes(page):
    text = page()
    parts = Parts(text)

    ((policy, _),) = parts.of("meta", **{"http-equiv": "Content-Security-Policy"})
    rules = dict(rule.split(" ", 1) for rule in policy["content"].split("; "))
    ((_, script),) = parts.of("script", type="module")
    ((_, style),) = parts.of("style")
    assert ("'none'", hash_of(script), hash_of(style)) == (
        rules["default-src"],
        rules["script-src"],
        rules["style-src"],
    )
    assert {"img-src": "data:", "font-src": "data:", "base-uri": "'none'", "form-action": "'none'"} == {
        name: value for name, value in rules.items() if name not in ("default-src", "script-src", "style-src")
    }
    first = min(text.index(tag) for tag in ("<script", "<style", "<link"))
    assert text.index("Content-Security-Policy") < first  # what stands before it would not be held


def test_script_and_style_are_those_of_the_server_s_page(page):
    parts = Parts(page())

    ((_, script),) = parts.of("script", type="module")
    ((_, style),) = parts.of("style")
    assert (ASSETS / "app.js").read_text(encoding="utf-8") == script
    assert (ASSETS / "app.css").read_text(encoding="utf-8") == style


def test_nothing_is_loaded_from_anywhere(page):
    for tag, attributes in Parts(page()).elements:
        assert "src" not in attributes, tag
        assert attributes.get("href", "data:").startswith("data:"), (tag, attributes)


def test_data_is_what_the_report_says(page, run):
    found = data_of(page())
    report = json.loads(run("report", "--json").stdout)

    assert {"list", "overview", "start", "series", "flame", "functions"} == found.keys()
    for key in ("critical_path", "off_the_path"):  # the waterfall has them
        del report["start"][key]
    assert report == found["overview"]["report"]
    assert [report["run"]] == [one["name"] for one in found["list"]["runs"]]
    assert [row["name"] for row in report["functions"]] == [row["name"] for row in found["functions"]["functions"]]
    assert report["start"]["seconds"] == pytest.approx(found["start"]["seconds"], abs=1e-9)
    assert {metric["name"] for metric in report["metrics"]} <= {one["name"] for one in found["series"]["series"]}
    assert "load" in found["flame"]["names"]
    assert ["alert", "ready", "resolved"] == sorted(one["kind"] for one in found["series"]["markers"])


def test_usual_run_is_at_most_a_megabyte(page):
    assert len(page().encode()) <= 1_000_000


def test_names_end_no_script_and_begin_no_tag(page, tmp_path, viewer_module):
    program = f"""
import time
import otel_perf as perf
perf.init(service={HOSTILE[0]!r}, version={HOSTILE[1]!r}, folder={str(tmp_path / "runs")!r})
for name in {HOSTILE!r}:
    with perf.operation(name):
        time.sleep(0.002)
perf.ready()
"""
    subprocess.run([sys.executable, "-c", program], env=viewer_module.environment(), check=True, timeout=60)

    text = page("--folder", tmp_path / "runs")

    parts = Parts(text)
    assert 2 == len(parts.of("script"))  # data and page
    data = data_of(text)
    assert HOSTILE[0] == data["overview"]["report"]["service"]["name"]
    names = {row["name"] for row in data["functions"]["functions"]}
    assert {*HOSTILE[:-1]} <= names
    raw = re.search('<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)[1]
    assert not set("<\u2028\u2029") & set(raw)
    assert raw.isascii()


def test_file_that_is_there_is_not_replaced_unless_asked(run, tmp_path):
    file = tmp_path / "kept.html"
    file.write_text("mine", encoding="utf-8")

    done = run("report", "--html", file)

    assert (2, b"", f"otel-perf report: {file} exists; name another file, or write --force to replace it\n".encode()) == (
        done.returncode, done.stdout, done.stderr,
    )  # fmt: skip
    assert "mine" == file.read_text(encoding="utf-8")
    assert 0 == run("report", "--html", file, "--force").returncode
    assert file.read_text(encoding="utf-8").startswith("<!doctype html>")


def test_dash_is_stdout(run):
    done = run("report", "--html", "-")

    assert (0, b"") == (done.returncode, done.stderr)
    assert "viewed" == data_of(done.stdout.decode())["overview"]["report"]["service"]["name"]


def test_file_that_cannot_be_written_is_named_and_leaves_nothing(run, tmp_path):
    done = run("report", "--html", tmp_path / "nowhere" / "report.html")

    assert 1 == done.returncode
    assert done.stderr.startswith(f"otel-perf report: cannot write {tmp_path / 'nowhere'}/report.html: ".encode())
    assert [] == list(tmp_path.iterdir())


def test_run_and_process_that_are_not_there_are_said(run, tmp_path):
    done = run("report", "--html", tmp_path / "x.html", "nothing")
    assert 2 == done.returncode
    assert done.stderr.startswith(b"otel-perf report: no run 'nothing'")
    assert 2 == run("report", "--html", tmp_path / "x.html", "--json").returncode
    assert [] == list(tmp_path.iterdir())


def test_damage_is_told_on_stderr(run, page, tmp_path):
    recorded = Path(data_of(page())["list"]["folder"])
    shutil.copytree(run.folder / recorded, tmp_path / "copy")
    (process,) = (tmp_path / "copy").glob("*/*/")
    with open(process / "metrics.jsonl", "a", encoding="utf-8") as file:
        file.write("garbage\n")

    done = run("report", "--html", "-", "--folder", tmp_path / "copy")

    expected = f"otel-perf report: skipped 1 damaged line (not JSON) in {process / 'metrics.jsonl'}\n"
    assert (0, expected) == (done.returncode, done.stderr.decode())
    assert 1 == data_of(done.stdout.decode())["overview"]["damaged"]
