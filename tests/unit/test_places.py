"""Whether an exporter of the application's sends to where we send."""

from __future__ import annotations

import pytest

from otel_perf.export import places


@pytest.mark.parametrize(
    ("url", "place"),
    [
        ("http://localhost:4318/v1/traces", ("localhost", 4318)),
        ("http://127.0.0.1:4318", ("localhost", 4318)),
        ("http://[::1]:4317", ("localhost", 4317)),
        ("https://user:secret@Collector.example/otlp/v1/traces", ("collector.example", 443)),
        ("http://collector/v1/traces", ("collector", 80)),
        ("collector:4317", ("collector", 4317)),
        ("localhost", ("localhost", 80)),
        ("", None),
        ("unix:///var/run/otel.sock", None),
    ],
)
def test_place_is_host_and_port_of_a_url(url, place):
    assert place == places.place_of(url)


def exporter_of(module: str, endpoint: str) -> object:
    kind = type("Exporter", (), {"__module__": module, "_endpoint": endpoint})
    return type("Processor", (), {"span_exporter": kind()})()


@pytest.mark.parametrize(
    ("ours", "theirs", "same"),
    [
        ("http://localhost:4318/v1/traces", "http://127.0.0.1:4318/v1/traces", True),
        ("http://localhost:4318/v1/traces", "localhost:4317", True),
        ("http://localhost:4318/v1/traces", "localhost:5317", False),
        ("http://a:4318/v1/traces", "http://b:4318/v1/traces", False),
        ("https://a/v1/traces", "https://a:443/v1/traces", True),
    ],
)
def test_exporter_that_sends_where_we_send_is_known_by_its_host_and_port(monkeypatch, ours, theirs, same):
    monkeypatch.setattr(places, "destinations", {})
    places.send({"traces": ours, "logs": ""})

    assert same is places.is_ours(
        "traces", exporter_of("opentelemetry.exporter.otlp.proto.http.trace_exporter", theirs)
    )
    assert not places.is_ours("traces", exporter_of("shop.exporter", theirs))
    assert not places.is_ours("logs", exporter_of("opentelemetry.exporter.otlp.proto.http", theirs))
    assert not places.is_ours("traces", object())
