"""How far this machine's clock and a receiver's are apart: what is dated too far from its clock is dropped there.

The receiver's time is in the ``Date`` of its HTTP answers, in whole seconds.
Source: RFC 9110, section 6.6.1; Prometheus refuses samples more than 10 min ahead (storage: "out of bounds").
"""

from __future__ import annotations

import http.client
import ssl
import time
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit

from otel_perf.analysis.text import duration

WORTH_SAYING = 30.0  # seconds: from then on the dashboards take a live process for one that is gone
REFUSED = 600.0  # seconds ahead of Prometheus


def ahead_of(url: str, seconds: float) -> float | None:
    """Return by how many seconds this machine's clock is ahead of the server's at *url*, None where it is not known.

    Args:
        url: of any path of it.
        seconds: that the answer may take.
    """
    parts = urlsplit(url)
    begun = time.time()
    try:
        connection = _connection(parts.scheme, parts.hostname or "", parts.port, seconds)
        try:
            connection.request("GET", "/")
            told = connection.getresponse().getheader("Date")
        finally:
            connection.close()
        theirs = parsedate_to_datetime(told or "").timestamp() + 0.5  # it is cut to a second
    except (OSError, http.client.HTTPException, ValueError):
        return None
    return (begun + time.time()) / 2 - theirs


def _connection(scheme: str, host: str, port: int | None, seconds: float) -> http.client.HTTPConnection:
    if scheme != "https":
        return http.client.HTTPConnection(host, port, timeout=seconds)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # only a time is read, and nothing of ours is sent
    return http.client.HTTPSConnection(host, port, timeout=seconds, context=context)


def said(ahead: float | None, whose: str) -> str:
    """Return in words what a difference of clocks means, empty where it means nothing.

    Args:
        ahead: seconds, as ahead_of() gives them.
        whose: the other clock, ``the receiver's``.
    """
    if ahead is None or abs(ahead) < WORTH_SAYING:
        return ""
    which = "ahead of" if ahead > 0 else "behind"
    apart = f"this machine's clock is {duration(abs(ahead))} {which} {whose}"
    if ahead >= REFUSED:
        return f"{apart}: Prometheus refuses metrics that are more than 10 min ahead of its clock"
    return f"{apart}: dashboards take a process whose last sample is more than 30 s old for one that is gone"
