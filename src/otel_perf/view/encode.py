"""JSON as a page can read it, whatever numbers and names a run has in it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Any


def encode(found: object) -> str:
    """Return *found* as JSON in ASCII; what no number is becomes null."""
    try:
        return json.dumps(found, allow_nan=False, separators=(",", ":"))
    except ValueError:
        return json.dumps(_finite(found), separators=(",", ":"))


def _finite(found: Any) -> Any:
    if isinstance(found, float):
        return found if abs(found) < float("inf") else None  # NaN is not below it either
    if isinstance(found, dict):
        return {key: _finite(value) for key, value in found.items()}
    return [_finite(value) for value in found] if isinstance(found, list | tuple) else found
