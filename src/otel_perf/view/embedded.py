"""The page with its data in it, one file that needs no server: `otel-perf report --html F`.

Script and style stand in the file; a policy in its head allows these two by their hash and nothing else, so that no
name in the data can make it run or load anything. Reading order: html_report(), data_of().
"""

from __future__ import annotations

import os
from base64 import b64encode
from hashlib import sha256
from typing import TYPE_CHECKING

from otel_perf.errors import UserError

from . import answers
from .encode import encode
from .runs import row_of

if TYPE_CHECKING:
    from typing import Any

    from .live import Live

ASSETS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "assets")
STYLE = '<link rel="stylesheet" href="./app.css">'
SCRIPT = '<script type="module" src="./app.js"></script>'
HEAD = "<head>"
POINTS = 300  # of a chart that is always shown
POINTS_OF_OTHERS = 60
ROWS = 1_000  # of the start
NODES = 2_000  # of the flame graph


def html_report(live: Live, assets: str = ASSETS) -> str:
    """Return the page with all that *live*, which was read to its end, has to say.

    Raises: UserError: the page is not built.
    """
    page, script, style = (_read(assets, name) for name in ("index.html", "app.js", "app.css"))
    for part in (HEAD, STYLE, SCRIPT):
        if page.count(part) != 1:
            raise UserError(
                f"{os.path.join(assets, 'index.html')} is not as this version needs it: no {part}; make web", 1
            )
    script = script.replace("</script", "<\\/script").replace("<!--", "<\\!--")
    policy = (
        f"default-src 'none'; script-src '{_hash(script)}'; style-src '{_hash(style)}'; img-src data:; font-src data:; "
        "base-uri 'none'; form-action 'none'"
    )
    data = encode(data_of(live)).replace("<", "\\u003c")
    page = page.replace(HEAD, f'{HEAD}\n    <meta http-equiv="Content-Security-Policy" content="{policy}">')
    page = page.replace(STYLE, f"<style>{style}</style>")
    embedded = f'<script type="application/json" id="data">{data}</script>\n    <script type="module">{script}</script>'
    before, _, after = page.partition(SCRIPT)
    return before + embedded + after


def data_of(live: Live) -> dict[str, Any]:
    """Return what the page takes its data from; of a long run with fewer points than a server would give."""
    process = live.settled()  # nobody reads on
    return {
        "list": {
            "folder": os.path.basename(os.path.dirname(os.path.dirname(os.path.abspath(process.path)))),
            "asked": process.run,
            "askedProcess": process.name,
            "runs": [row_of(process.run, [process])],
        },
        "overview": answers.overview(live, ROWS),
        "start": answers.start(live, ROWS),
        "series": answers.series(live, None, None, POINTS, POINTS_OF_OTHERS),
        "flame": answers.flame(live, None, None, most=NODES),
        "functions": answers.functions(live, None, None),
    }


def _read(folder: str, name: str) -> str:
    path = os.path.join(folder, name)
    try:
        with open(path, encoding="utf-8", newline="") as file:
            return file.read()
    except OSError as error:
        mend = "run make web, or install otel-perf from a wheel"
        raise UserError(f"cannot read the built page {path}: {error.strerror}; {mend}", 1) from None


def _hash(text: str) -> str:
    return f"sha256-{b64encode(sha256(text.encode()).digest()).decode()}"
