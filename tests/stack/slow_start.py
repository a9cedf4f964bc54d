"""A start that took minutes, some time ago, as its process would have sent it: spans, an event and the process's age.

No test can wait for one. Its trace id begins with 00, as one of an application's own may: ours never do.
"""

from __future__ import annotations

import secrets
import time
from typing import Any

SECOND = 10**9  # ns
LASTED = 600  # seconds
PHASES = ("CoreInit", "Database", "Plugins", "Devices", "UI")
IMPORTS = 3  # in each phase


class SlowStart:
    """One start, not sent yet.

    Attributes:
        service: its service; ``instance`` its process.
        trace_id: 32 digits, the first two of which are 00.
        began: seconds since 1970; ``ended`` is LASTED later.
        spans: what is expected of each: name, ids, parent (None for the root), times in ns.
    """

    def __init__(self, service: str, ended_ago: int) -> None:
        self.service = service
        self.instance = f"slow-{secrets.token_hex(8)}"
        self.trace_id = f"00{secrets.token_hex(15)}"
        self.ended = int(time.time()) - ended_ago
        self.began = self.ended - LASTED
        self.spans = list(self._spans())
        self._resource = {"attributes": _attributes(self._of_resource())}

    @property
    def short_id(self) -> str:
        """The trace id without its leading zeros, as Tempo's search has it."""
        return self.trace_id.lstrip("0")

    def bodies(self) -> dict[str, Any]:
        """Return the requests in OTLP/JSON, by the path that each is sent to; the spans are one batch."""
        scope = {"name": "otel_perf"}
        spans = [self._sent(span, order) for order, span in enumerate(self.spans)]
        ages = [self._age(seconds) for seconds in range(0, LASTED + 1, 5)]
        metric = {"name": "process.uptime", "unit": "s", "gauge": {"dataPoints": ages}}
        return {
            "/v1/traces": {"resourceSpans": [self._group(scopeSpans=[{"scope": scope, "spans": spans}])]},
            "/v1/metrics": {"resourceMetrics": [self._group(scopeMetrics=[{"scope": scope, "metrics": [metric]}])]},
            "/v1/logs": {
                "resourceLogs": [self._group(scopeLogs=[{"scope": scope, "logRecords": [self._completed()]}])]
            },
        }

    def send(self, stack: Any) -> None:
        """Send it through the collector of a stack."""
        assert {200} == {stack.post(f"{stack.otlp_http}{path}", body) for path, body in self.bodies().items()}

    def _spans(self) -> Any:
        root, part = secrets.token_hex(8), LASTED // len(PHASES)
        yield self._span("startup", root, None, 0, LASTED)
        for number, name in enumerate(PHASES):
            phase, begin = secrets.token_hex(8), number * part
            yield self._span(name, phase, root, begin, part)
            for one in range(IMPORTS):
                yield self._span(f"import {name.lower()}.{one}", secrets.token_hex(8), phase, begin + one * 10, 10)

    def _span(self, name: str, span_id: str, parent_id: str | None, begin: int, seconds: int) -> dict[str, Any]:
        start = (self.began + begin) * SECOND
        ids = {"trace_id": self.trace_id, "span_id": span_id, "parent_id": parent_id}
        return {"name": name, **ids, "start": start, "end": start + seconds * SECOND}

    def _sent(self, span: dict[str, Any], order: int) -> dict[str, Any]:
        depth = 0 if span["parent_id"] is None else 2 if span["name"].startswith("import ") else 1
        below = [one for one in self.spans if one["parent_id"] == span["span_id"]]
        own = span["end"] - span["start"] - sum(one["end"] - one["start"] for one in below)
        told = {"otel_perf.kind": ("startup", "phase", "import")[depth], "otel_perf.depth": depth,
                "otel_perf.order": order, "otel_perf.self_ns": own}  # fmt: skip
        if depth == 0:
            told |= {"otel_perf.bottleneck": "Database", "otel_perf.bottleneck.reason": "waiting for the network",
                     "otel_perf.bottleneck.share": 0.2}  # fmt: skip
        parent = {} if span["parent_id"] is None else {"parentSpanId": span["parent_id"]}
        return {
            "traceId": self.trace_id,
            "spanId": span["span_id"],
            **parent,
            "name": span["name"],
            "kind": 1,
            "startTimeUnixNano": str(span["start"]),
            "endTimeUnixNano": str(span["end"]),
            "attributes": _attributes(told),
        }

    def _age(self, seconds: int) -> dict[str, Any]:
        return {"timeUnixNano": str((self.began + seconds) * SECOND), "asDouble": float(seconds)}

    def _completed(self) -> dict[str, Any]:
        event = "otel_perf.startup.completed"
        return {
            "timeUnixNano": str(self.ended * SECOND),
            "severityNumber": 9,
            "severityText": "INFO",
            "eventName": event,
            "body": {"stringValue": "startup completed"},
            "attributes": _attributes({"event.name": event}),
            "traceId": self.trace_id,
            "spanId": self.spans[0]["span_id"],
        }

    def _group(self, **scoped: Any) -> dict[str, Any]:
        return {"resource": self._resource, **scoped}

    def _of_resource(self) -> dict[str, str]:
        return {"service.name": self.service, "service.version": "1.0.0", "service.instance.id": self.instance}


def _attributes(values: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"key": key, "value": _value(value)} for key, value in values.items()]


def _value(value: Any) -> dict[str, Any]:
    if isinstance(value, int):
        return {"intValue": str(value)}
    return {"doubleValue": value} if isinstance(value, float) else {"stringValue": value}
