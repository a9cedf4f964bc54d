"""A real browser, real servers and real programs for the tests of the page.

The browser is the system's chromium; it asks nobody but the server of the test, and what it asks, and every error on the
page, is kept and looked at.
"""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

TESTS = Path(__file__).resolve().parents[1]
PROGRAMS = Path(__file__).with_name("programs")
WEB = TESTS.parent / "web"
AXE = WEB / "node_modules" / "axe-core" / "axe.min.js"
FLAGS = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
)  # fmt: skip
OTEL_PERF = [sys.executable, "-m", "otel_perf"]
SIZES = {"wide": {"width": 1440, "height": 900}, "narrow": {"width": 390, "height": 844}}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests of this folder."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker("browser")


def _load(name: str, path: Path) -> Any:
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


_viewing = _load("viewer", TESTS / "integration" / "viewer.py")


# --- programs and servers ---------------------------------------------------------------------------------------------


class Program:
    """A program in progress that is recorded."""

    def __init__(self, folder: Path, name: str, *words: object) -> None:
        self.process = subprocess.Popen(
            [sys.executable, PROGRAMS / name, *map(str, words)], cwd=folder, env=_viewing.environment(), text=True,
            stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
        )  # fmt: skip

    def say(self, word: str) -> None:
        """Write a line to its stdin."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{word}\n")
        self.process.stdin.flush()

    def end(self) -> None:
        """Let it end, and see that it did so well."""
        _, errors = self.process.communicate("end\n", timeout=20)
        assert (0, "") == (self.process.returncode, errors)

    def close(self) -> None:
        """Leave nothing behind."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()


@pytest.fixture(scope="session")
def otel_perf() -> list[str]:
    """Return the words that start the command."""
    return OTEL_PERF


@pytest.fixture(scope="session")
def environment() -> dict[str, str]:
    """Return the environment of a program that is to be recorded, and of the commands that look at it."""
    return _viewing.environment()


@pytest.fixture(scope="module")
def begin() -> Iterator[Callable[..., Program]]:
    """Return a function that starts a program of programs/ in a folder; none outlives the module."""
    started: list[Program] = []

    def start(folder: Path, name: str, *words: object) -> Program:
        started.append(Program(folder, name, *words))
        return started[-1]

    yield start
    for one in started:
        one.close()


@pytest.fixture(scope="module")
def record() -> Callable[..., None]:
    """Return a function that records a program of programs/ from beginning to end; *seconds* for one that is told to end."""

    def run(folder: Path, name: str, *words: object, seconds: float = 0.0) -> None:
        program = Program(folder, name, *words)
        try:
            time.sleep(seconds)
            program.end()
        finally:
            program.close()

    return run


@pytest.fixture(scope="module")
def serve() -> Iterator[Callable[..., Any]]:
    """Return a function that starts `otel-perf view` in a folder and gives its Viewer; none outlives the module."""
    started: list[Any] = []

    def start(folder: Path, *words: object) -> Any:
        command = [*OTEL_PERF, "view", *map(str, words)]
        started.append(_viewing.Viewer(command, cwd=folder, env=_viewing.environment()))
        return started[-1]

    yield start
    for one in started:
        one.close()


# --- the browser ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Return the browser; one at a time in a process, and tests/stack has its own."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        pytest.skip("needs chromium")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=chromium, args=list(FLAGS))
        yield opened
        opened.close()


class Tab:
    """One page in the browser.

    Attributes:
        page: playwright's.
        asked: addresses that were asked for.
        errors: what went wrong on the page; a server that is gone is the test's own doing.
    """

    def __init__(self, page: Any) -> None:
        self.page = page
        self.asked: list[str] = []
        self.errors: list[str] = []
        page.on("request", lambda request: self.asked.append(request.url))
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("console", self._heard)

    def _heard(self, message: Any) -> None:
        if message.type == "error" and "Failed to load resource" not in message.text:
            self.errors.append(message.text)

    def open(self, viewer: Any) -> Any:
        """Open what *viewer* serves, wait until the verdict is there, and return playwright's page."""
        self.page.goto(f"http://127.0.0.1:{viewer.port}/?token={viewer.token}")
        self.page.locator(".verdict").wait_for()
        return self.page

    def until(self, claim: str, arg: Any = None, seconds: float = 15.0) -> None:
        """Wait until the JavaScript *claim*, a function of *arg*, holds."""
        self.page.wait_for_function(claim, arg=arg, timeout=seconds * 1000)

    def says(self, selector: str, text: str, seconds: float = 15.0) -> None:
        """Wait until an element says *text*."""
        claim = (
            "([selector, text]) => [...document.querySelectorAll(selector)].some(one => one.innerText.includes(text))"
        )
        self.until(claim, [selector, text], seconds)

    def pixels(self, selector: str) -> str:
        """Return what is drawn on the first canvas in *selector*, as text."""
        return self.page.locator(f"{selector} canvas").first.evaluate("canvas => canvas.toDataURL()")

    def eventually(self, holds: Callable[[], object], seconds: float = 15.0) -> None:
        """Wait until *holds* gives something true."""
        limit = time.monotonic() + seconds
        while not holds():
            assert time.monotonic() < limit, "it never held"
            time.sleep(0.05)

    def calls(self, name: str) -> float:
        """Return how often the table says that a function was called, 0 if it is not there."""
        cells = self.rows().get(name, ["0"])
        number, _, thousands = cells[0].partition(" ")
        return float(number) * (1000 if thousands == "k" else 1)

    def rows(self) -> dict[str, list[str]]:
        """Return the table of functions: the cells by the function's name."""
        cells = self.page.locator(".functions tbody tr").evaluate_all(
            "rows => rows.map(row => [...row.children].map(cell => cell.innerText.trim()))"
        )
        return {row[0]: row[1:] for row in cells}

    def strangers(self) -> list[str]:
        """Return what was asked for elsewhere."""
        return [url for url in self.asked if not url.startswith(("http://127.0.0.1:", "file:", "data:"))]


@pytest.fixture
def open_tab(browser: Any) -> Iterator[Callable[..., Tab]]:
    """Return a function that opens an empty Tab: *size* of SIZES, *scheme* light or dark; no error may come on any."""
    contexts: list[Any] = []
    tabs: list[Tab] = []

    def make(size: str = "wide", scheme: str = "light", **more: Any) -> Tab:
        context = browser.new_context(viewport=SIZES[size], color_scheme=scheme, **more)
        context.set_default_timeout(15_000)
        contexts.append(context)
        tabs.append(Tab(context.new_page()))
        return tabs[-1]

    yield make
    errors = [error for tab in tabs for error in tab.errors]
    strangers = [url for tab in tabs for url in tab.strangers()]
    for context in contexts:
        context.close()
    assert ([], []) == (errors, strangers)


@pytest.fixture
def tab(open_tab: Callable[..., Tab]) -> Tab:
    """Return an empty Tab, 1440 pixels wide, light."""
    return open_tab()


@pytest.fixture
def axe() -> Callable[[Any], list[Any]]:
    """Return a function that gives what axe-core finds wrong with a page: rule, and where."""
    if not AXE.is_file():
        pytest.skip("needs the page's packages: make web-packages")
    source = AXE.read_text(encoding="utf-8")

    def violations(page: Any) -> list[Any]:
        page.evaluate(source)  # not by a script element, which the page's policy would refuse
        found = page.evaluate("axe.run(document, {resultTypes: ['violations']})")
        return [(one["id"], [node["target"] for node in one["nodes"]]) for one in found["violations"]]

    return violations
