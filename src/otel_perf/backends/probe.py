"""One trace, one metric and one log record through a stack and back: shows that its parts are wired to each other.

A wrong address between collector and backend loses data without a word: what a backend refuses for good is dropped.
"""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import secrets
import time
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from .services import request

if TYPE_CHECKING:
    from .services import Addresses

SERVICE = "otel-perf-stack"
METRIC = "otel_perf.stack.probe"
EVENT = "otel_perf.stack.probe"
LOOK_EVERY = 0.2  # seconds


def probe(addresses: Addresses, seconds: float) -> dict[str, str]:
    """Send one record of each signal and look for it; return by signal why it did not come back.

    Args:
        addresses: of the stack.
        seconds: how long to look for all of them.
    """
    mark = secrets.token_hex(15)
    ids = {"trace": f"1{mark}1", "span": f"1{mark[:15]}"}  # no leading zero, which Tempo strips
    bodies = _bodies(ids, mark)
    problems = {signal: problem for signal, body in bodies.items() if (problem := _refusal(addresses, signal, body))}
    end = time.monotonic() + seconds
    waiting = bodies.keys() - problems.keys()
    while waiting and time.monotonic() < end:
        waiting = {signal for signal in waiting if not _is_there(signal, addresses, ids["trace"], mark)}
        time.sleep(LOOK_EVERY if waiting else 0)
    problems |= dict.fromkeys(waiting, f"the collector took it, and it is nowhere after {seconds:g} s")
    return {signal: problems[signal] for signal in bodies if signal in problems}


def _refusal(addresses: Addresses, signal: str, body: object) -> str:
    """Send a request; return why the collector does not take it, empty where it does."""
    try:
        status, answer = request(f"{addresses.otlp_http}/v1/{signal}", json.dumps(body).encode())
    except (OSError, http.client.HTTPException) as error:
        return f"the collector does not take it: {error or type(error).__name__}"
    return "" if status == 200 else f"the collector answers {status} {answer.decode(errors='replace')[:100]}"


def _is_there(signal: str, addresses: Addresses, trace: str, mark: str) -> bool:
    """Say whether a backend has what was sent; one that gives no answer, or none that is JSON, has it not yet."""
    looks = [_LOOKS[name] for name in addresses.services if _SIGNALS.get(name) == signal]
    with contextlib.suppress(OSError, http.client.HTTPException, ValueError):
        return any(look(addresses, trace, mark) for look in looks)
    return False


def _bodies(ids: dict[str, str], mark: str) -> dict[str, object]:
    """Return an OTLP/JSON request for each signal."""
    now = str(time.time_ns())
    resource = {"attributes": [_text("service.name", SERVICE), _text("service.instance.id", mark)]}
    scope = {"name": "otel_perf"}
    span = {
        "traceId": ids["trace"],
        "spanId": ids["span"],
        "name": "probe",
        "kind": 1,
        "startTimeUnixNano": now,
        "endTimeUnixNano": str(int(now) + 1000),
    }
    metric = {"name": METRIC, "gauge": {"dataPoints": [{"timeUnixNano": now, "asDouble": 1.0}]}}
    record = {
        "timeUnixNano": now,
        "severityNumber": 9,
        "severityText": "INFO",
        "eventName": EVENT,
        "body": {"stringValue": "probe"},
        "attributes": [_text("event.name", EVENT), _text("mark", mark)],
    }
    return {
        "traces": {"resourceSpans": [{"resource": resource, "scopeSpans": [{"scope": scope, "spans": [span]}]}]},
        "metrics": {
            "resourceMetrics": [{"resource": resource, "scopeMetrics": [{"scope": scope, "metrics": [metric]}]}]
        },
        "logs": {"resourceLogs": [{"resource": resource, "scopeLogs": [{"scope": scope, "logRecords": [record]}]}]},
    }


def _text(key: str, value: str) -> dict[str, object]:
    return {"key": key, "value": {"stringValue": value}}


def _in_prometheus(addresses: Addresses, trace: str, mark: str) -> bool:
    query = f'otel_perf_stack_probe{{service_instance_id="{mark}"}}'
    status, body = request(f"{addresses.services['prometheus']}/api/v1/query?{urlencode({'query': query})}")
    return status == 200 and bool(json.loads(body)["data"]["result"])


def _in_tempo(addresses: Addresses, trace: str, mark: str) -> bool:
    status, body = request(f"{addresses.services['tempo']}/api/traces/{trace}")
    in_base64 = base64.b64encode(bytes.fromhex(trace))  # as Tempo writes an id in JSON
    return status == 200 and (in_base64 in body or trace.encode() in body)


def _in_jaeger(addresses: Addresses, trace: str, mark: str) -> bool:
    status, body = request(f"{addresses.services['jaeger']}/api/v3/traces/{trace}")
    return status == 200 and trace.encode() in body


def _in_loki(addresses: Addresses, trace: str, mark: str) -> bool:
    query = {"query": f'{{service_name="{SERVICE}"}} | mark="{mark}"', "since": "1h"}
    status, body = request(f"{addresses.services['loki']}/loki/api/v1/query_range?{urlencode(query)}")
    return status == 200 and bool(json.loads(body)["data"]["result"])


def _in_victorialogs(addresses: Addresses, trace: str, mark: str) -> bool:
    url = f"{addresses.services['victorialogs']}/select/logsql/query?{urlencode({'query': f'mark:={mark}'})}"
    status, body = request(url)
    return status == 200 and mark.encode() in body


_SIGNALS = {"prometheus": "metrics", "tempo": "traces", "jaeger": "traces", "loki": "logs", "victorialogs": "logs"}
_LOOKS = {
    "prometheus": _in_prometheus,
    "tempo": _in_tempo,
    "jaeger": _in_jaeger,
    "loki": _in_loki,
    "victorialogs": _in_victorialogs,
}
