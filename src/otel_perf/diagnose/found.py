"""What a diagnosis is made of, and what must never stand in it."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from otel_perf.config import unquote
from otel_perf.export.endpoint import SHORTEST_SECRET

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

ERROR, NOTE = "error", "note"
SET = "set"  # what stands for a value that may be a secret
HIDDEN = "***"
_SECRET_NAMES = ("TOKEN", "SECRET", "PASSWORD", "PASSWD", "API_KEY", "APIKEY", "ACCESS_KEY")


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong, or worth knowing.

    Attributes:
        severity: ``error`` makes the exit status 1, ``note`` does not.
        about: what it is about: a signal or several, ``settings``, ``run folder``, ``hooks``, ``packages``.
        text: what is the matter, and why.
        fix: what to do about it: the variable to change with its value, where there is one.
    """

    severity: str
    about: str
    text: str
    fix: str = ""


@dataclass(slots=True)
class Row:
    """One line of a part: a name, its value, and where that came from or what it means."""

    name: str
    value: str
    source: str = ""


@dataclass(slots=True)
class Part:
    """What one room found.

    Attributes:
        title: of the part, as it is shown.
        rows: what is.
        findings: what is wrong about it.
        data: the same for ``--json``, where rows are not enough.
    """

    title: str
    rows: list[Row] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    data: dict[str, Any] = field(default_factory=dict)

    def row(self, name: str, value: str, source: str = "") -> None:
        """Add a line."""
        self.rows.append(Row(name, value, source))

    def error(self, text: str, fix: str = "", about: str = "") -> None:
        """Add what is wrong."""
        self.findings.append(Finding(ERROR, about or self.title, text, fix))

    def note(self, text: str, fix: str = "", about: str = "") -> None:
        """Add what is worth knowing."""
        self.findings.append(Finding(NOTE, about or self.title, text, fix))


class Secrets:
    """The secrets that this process knows: a last look before anything is shown.

    Each room leaves them out by itself; this finds what a receiver or a library repeats in a message.
    """

    def __init__(self, environ: Mapping[str, str], *urls: str) -> None:
        """Collect them.

        Args:
            environ: the environment.
            urls: further URLs that may hold a password.
        """
        found = {secret for name, value in environ.items() for secret in _secrets_of(name, value)}
        found |= {secret for url in urls for secret in _of_url(url)}
        self._found = sorted((one for one in found if len(one) >= SHORTEST_SECRET), key=len, reverse=True)

    def hide(self, text: str) -> str:
        """Return *text* without any of them."""
        for secret in self._found:
            text = text.replace(secret, HIDDEN)
        return text

    def hide_all(self, value: Any) -> Any:
        """Return a value for JSON with all its texts hidden."""
        if isinstance(value, str):
            return self.hide(value)
        if isinstance(value, dict):
            return {key: self.hide_all(item) for key, item in value.items()}
        return [self.hide_all(item) for item in value] if isinstance(value, list) else value


def _secrets_of(name: str, value: str) -> Iterator[str]:
    upper = name.upper()
    if upper.endswith("_HEADERS"):
        for entry in value.split(","):
            text = entry.partition("=")[2].strip() or entry.strip()
            for one in (text, unquote(text)):
                yield one
                yield one.split(" ")[-1]  # the token of "Bearer token"
    elif any(word in upper for word in _SECRET_NAMES) and not os.path.exists(value):
        yield value
    elif "ENDPOINT" in upper or "PROXY" in upper:
        yield from _of_url(value)


def _of_url(url: str) -> Iterator[str]:
    rest = url.partition("://")[2] or url
    user, at, _ = rest.rpartition("@")
    if at:
        password = user.partition(":")[2]
        yield from (user, unquote(user), password, unquote(password))
        yield from user.split("/")  # a slash in a password ends the host for whoever reads it as a URL
    for pair in rest.partition("?")[2].split("&"):
        yield pair.partition("=")[2]
