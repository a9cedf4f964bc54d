"""Other people's files as a run: what they say becomes spans and metrics in a run folder, which every view reads.

What a file does not say stays unsaid. Where it knows no time of day, its spans are laid out one after the other, the
last of them ending when it was imported; the resource says so, and where the run comes from.

Reading order: source.py, run.py, then one file a format; of a profile marshalled.py, shares.py, pstats.py, of OTLP
otlp.py, protobuf.py.
"""

from __future__ import annotations

FORMATS = {
    "importtime": "what `python -X importtime` writes to stderr",
    "pstats": "a file of cProfile: `python -m cProfile -o FILE app.py`",
    "folded": "folded stacks, a line a call path: `main;load 12345`",
    "otlp": "OTLP, as the collector's file exporter writes it: JSON, one object or one a line, or protobuf",
}
UNITS = {"us": 1_000, "samples": 1_000}  # ns that the weight 1 of folded stacks is shown as
