"""Takes the pictures of the page for the documents: ``python tests/browser/screenshots.py [OUT]``, a minute and a half.

The sample application runs twice, the second time in progress; each view is taken in light and dark, wide and narrow, to
``docs/img/view-*.png``. They are to be looked at before they are committed. Needs chromium.
"""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
import sys
import tempfile
import time
import zlib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
OUT = ROOT / "docs" / "img"
SIZES = {"wide": {"width": 1440, "height": 900}, "narrow": {"width": 390, "height": 844}}
VIEWS = {"now": "#well", "time": "#time", "functions": "#functions", "start": "#start", "history": "#history"}
LARGEST = 200_000  # bytes of a picture
FIRST, WHOLE = 25, 300  # seconds that the first run and the second one last
STORY = 60  # seconds of the second one that are seen


def sample(folder: Path, seconds: int, messages: int) -> subprocess.Popen[bytes]:
    """Start the sample application in *folder*, recorded."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    words = [sys.executable, "desktop", "--messages", str(messages), "--seconds", str(seconds)]
    return subprocess.Popen(words, cwd=folder, env=environment, stdout=subprocess.DEVNULL)


def smaller(png: bytes) -> bytes:
    """Return the same picture without the filters of rows, which make flat colours and letters larger: a fifth less."""
    parts, packed, at = [], b"", 8
    while at < len(png):
        length, kind = struct.unpack(">I4s", png[at : at + 8])
        body = png[at + 8 : at + 8 + length]
        at += length + 12
        if kind == b"IDAT":
            packed += body
        elif kind != b"IEND":
            parts.append((kind, body))
    width, _, depth, color = struct.unpack(">IIBB", parts[0][1][:10])
    assert (8, True) == (depth, color in (2, 6)), "not 8 bits of RGB"
    step = 3 if color == 2 else 4
    rows = unfiltered(zlib.decompress(packed), width * step, step)
    parts += [(b"IDAT", zlib.compress(b"".join(b"\0" + row for row in rows), 9)), (b"IEND", b"")]
    chunks = (
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in parts
    )
    return png[:8] + b"".join(chunks)


def unfiltered(data: bytes, wide: int, step: int) -> list[bytes]:
    """Return the rows of a picture as they are. Source: PNG (W3C), section 9, filtering."""
    rows: list[bytes] = []
    above = bytes(wide)
    for at in range(0, len(data), wide + 1):
        kind, row = data[at], bytearray(data[at + 1 : at + 1 + wide])
        for i in range(wide) if kind else ():
            left = row[i - step] if i >= step else 0
            up = above[i]
            if kind == 1:
                row[i] = (row[i] + left) & 255
            elif kind == 2:
                row[i] = (row[i] + up) & 255
            elif kind == 3:
                row[i] = (row[i] + (left + up) // 2) & 255
            else:
                corner = above[i - step] if i >= step else 0
                guess = left + up - corner
                near = min((left, up, corner), key=lambda one: abs(guess - one))  # the first of equals
                row[i] = (row[i] + near) & 255
        above = bytes(row)
        rows.append(above)
    return rows


def main(out: Path) -> int:
    """Take all pictures; the exit status is 1 if one is too large."""
    from playwright.sync_api import sync_playwright

    folder = Path(tempfile.gettempdir()) / "sample"  # the pictures name it
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(
        ROOT / "examples" / "desktop", folder / "desktop", ignore=shutil.ignore_patterns("__pycache__", ".otel-perf")
    )
    out.mkdir(parents=True, exist_ok=True)
    started = []
    try:
        if sample(folder, FIRST, 600).wait(timeout=60) != 0:
            return 1
        started.append(sample(folder, WHOLE, 1_000))
        command = [sys.executable, "-m", "otel_perf", "view"]
        viewer = subprocess.Popen(
            command, cwd=folder, env={**os.environ, "PYTHONPATH": str(ROOT / "src")}, stdout=subprocess.PIPE, text=True
        )
        started.append(viewer)
        assert viewer.stdout is not None
        address = viewer.stdout.readline().strip()
        time.sleep(STORY)
        chromium = shutil.which("chromium") or shutil.which("chromium-browser")
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
            for size, viewport in SIZES.items():
                for scheme in ("light", "dark"):
                    context = browser.new_context(viewport=viewport, color_scheme=scheme)
                    page = context.new_page()
                    page.goto(address)
                    page.locator(".functions tbody tr").first.wait_for()
                    page.get_by_text("Against the start of").wait_for()
                    page.locator(".frames.ok").wait_for(timeout=30_000)
                    for view, selector in VIEWS.items():
                        if view == "now":
                            page.evaluate("scrollTo(0, 0)")
                        else:
                            page.locator(selector).evaluate("one => one.scrollIntoView()")
                        time.sleep(0.5)
                        (out / f"view-{view}-{size}-{scheme}.png").write_bytes(smaller(page.screenshot()))
                    context.close()
            browser.close()
    finally:
        for process in started:
            process.terminate()
            process.wait(timeout=20)
    sizes = {file.name: file.stat().st_size for file in sorted(out.glob("view-*.png"))}
    for name, number in sizes.items():
        print(f"{number / 1000:6.1f} kB  {name}")
    return int(any(number > LARGEST for number in sizes.values()))


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]) if len(sys.argv) > 1 else OUT))
