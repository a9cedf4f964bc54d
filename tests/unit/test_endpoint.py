"""OTEL_EXPORTER_OTLP_* and OTEL_*_EXPORTER mean what the specification says."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from otel_perf.export.endpoint import Endpoints, Target, load, shown_url

E = "OTEL_EXPORTER_OTLP_"


def read(environ: dict[str, str], **arguments: Any) -> Endpoints:
    return load(environ=environ, **arguments)


def target(environ: dict[str, str], signal: str = "traces", **arguments: Any) -> Target:
    return read(environ, **arguments).targets[signal]


# --- whether -----------------------------------------------------------------------------------------------


def test_without_any_variable_nothing_is_sent():
    assert not read({})


def test_endpoint_sends_all_signals():
    found = read({f"{E}ENDPOINT": "http://collector:4318"})

    assert ["traces", "metrics", "logs"] == list(found.targets)
    assert "http://collector:4318/v1/logs" == found.targets["logs"].url


def test_endpoint_of_one_signal_sends_that_one_alone():
    assert ["metrics"] == list(read({f"{E}METRICS_ENDPOINT": "http://collector/m"}).targets)


def test_exporter_named_without_endpoint_goes_to_the_default_one():
    found = read({"OTEL_TRACES_EXPORTER": "otlp"})

    assert ["traces"] == list(found.targets)
    assert "http://localhost:4318/v1/traces" == found.targets["traces"].url


def test_exporter_none_wins_over_an_endpoint():
    found = read({f"{E}ENDPOINT": "http://collector:4318", "OTEL_METRICS_EXPORTER": "none"})

    assert ["traces", "logs"] == list(found.targets)


def test_console_alone_has_no_url_and_both_may_be_named():
    assert ("console",) == target({"OTEL_TRACES_EXPORTER": "console"}).exporters
    assert "stdout" == target({"OTEL_TRACES_EXPORTER": "console"}).shown
    assert ("otlp", "console") == target({"OTEL_TRACES_EXPORTER": "otlp, console"}).exporters


def test_exporter_of_the_programs_own_sdk_is_its_affair_and_the_others_count():
    found = read({"OTEL_TRACES_EXPORTER": "zipkin,otlp"})

    assert ("otlp",) == found.targets["traces"].exporters
    assert [] == found.complaints


def test_exporter_that_is_not_ours_is_named_where_everything_is_to_be_sent():
    found = read({"OTEL_TRACES_EXPORTER": "zipkin,otlp"}, everything=True)

    assert ["OTEL_TRACES_EXPORTER: 'zipkin' is none of otlp, console, none; it is left out"] == found.complaints


@pytest.mark.parametrize(
    ("name", "protocol", "url"),
    [
        ("otlp_proto_http", "http/protobuf", "http://localhost:4318/v1/traces"),
        ("otlp_proto_grpc", "grpc", "http://localhost:4317"),
        ("OTLP", "http/json", "http://localhost:4318/v1/traces"),
    ],
)
def test_exporter_by_its_name_in_the_sdk_says_the_protocol(name, protocol, url):
    found = target({"OTEL_TRACES_EXPORTER": f"{name},", f"{E}PROTOCOL": "http/json"})

    assert (("otlp",), protocol, url) == (found.exporters, found.protocol, found.url)


def test_empty_variable_is_unset():
    assert not read({f"{E}ENDPOINT": "", "OTEL_TRACES_EXPORTER": " "})


def test_everything_sends_to_the_default_endpoint():
    assert "http://localhost:4317" == target({}, everything=True, protocol="grpc").url


# --- where -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("environ", "url"),
    [
        ({f"{E}ENDPOINT": "http://c:4318"}, "http://c:4318/v1/traces"),
        ({f"{E}ENDPOINT": "http://c:4318/"}, "http://c:4318/v1/traces"),
        ({f"{E}ENDPOINT": "https://c/otlp"}, "https://c/otlp/v1/traces"),
        ({f"{E}TRACES_ENDPOINT": "http://c:4318/mine"}, "http://c:4318/mine"),
        ({f"{E}TRACES_ENDPOINT": "http://c:4318"}, "http://c:4318/"),
        ({f"{E}TRACES_ENDPOINT": "http://one/t", f"{E}ENDPOINT": "http://two"}, "http://one/t"),
        ({f"{E}METRICS_ENDPOINT": "http://one/t", f"{E}ENDPOINT": "http://two"}, "http://two/v1/traces"),
        ({f"{E}ENDPOINT": "http://[::1]:4318"}, "http://[::1]:4318/v1/traces"),
        ({f"{E}ENDPOINT": "http://c:4317", f"{E}PROTOCOL": "grpc"}, "http://c:4317"),
        ({f"{E}TRACES_ENDPOINT": "https://c:4317/x", f"{E}PROTOCOL": "grpc"}, "https://c:4317"),
        ({f"{E}ENDPOINT": "c:4317", f"{E}PROTOCOL": "grpc"}, "https://c:4317"),
        ({f"{E}ENDPOINT": "dns:///c:4317", f"{E}PROTOCOL": "grpc", f"{E}INSECURE": "true"}, "http://c:4317"),
        ({f"{E}ENDPOINT": "DNS:c:4317", f"{E}PROTOCOL": "grpc"}, "https://c:4317"),
        ({f"{E}ENDPOINT": "dns:4317", f"{E}PROTOCOL": "grpc"}, "https://dns:4317"),
        ({f"{E}ENDPOINT": "ipv6:[::1]:4317", f"{E}PROTOCOL": "grpc"}, "https://[::1]:4317"),
        ({f"{E}ENDPOINT": "c:4317", f"{E}PROTOCOL": "grpc", f"{E}INSECURE": "true"}, "http://c:4317"),
    ],
)
def test_url_of_traces(environ, url):
    assert url == target(environ).url


def test_argument_wins_over_every_variable():
    environ = {f"{E}ENDPOINT": "http://two", f"{E}TRACES_ENDPOINT": "http://three/t"}

    assert "http://one/v1/traces" == target(environ, endpoint="http://one").url


def test_http_url_without_scheme_is_named_and_taken_as_http():
    found = read({f"{E}ENDPOINT": "collector:4318"})

    assert "http://collector:4318/v1/traces" == found.targets["traces"].url
    assert [f"{E}ENDPOINT: a URL begins with http:// or https://; taking http://collector:4318"] == found.complaints


@pytest.mark.parametrize("url", ["ftp://collector", "http://", "http://c:99999", "http://c:port"])
def test_what_is_no_url_of_a_collector_sends_nothing_and_is_named(url):
    found = read({f"{E}TRACES_ENDPOINT": url})

    assert not found
    assert url in found.complaints[0]


@pytest.mark.parametrize("protocol", ["http/protobuf", "grpc", "http/json"])
def test_user_in_the_url_becomes_a_header_and_is_never_shown(protocol):
    """No library finds the password in a URL, then, to repeat it in a message."""
    found = target({f"{E}ENDPOINT": "http://user:s%3Acret@c:4318", f"{E}PROTOCOL": protocol})

    assert {"authorization": "Basic " + base64.b64encode(b"user:s:cret").decode()} == found.headers
    assert "cret" not in found.url + found.shown + repr(found)


def test_header_that_is_set_wins_over_the_user_in_the_url():
    environ = {f"{E}ENDPOINT": "http://user:secret@c:4318", f"{E}HEADERS": "authorization=Bearer%20x"}

    assert {"authorization": "Bearer x"} == target(environ).headers


@pytest.mark.parametrize(
    ("variable", "url"),
    [("ENDPOINT", "http://c:4318/v1/traces?token=secret"), ("TRACES_ENDPOINT", "http://c:4318/?token=secret")],
)
def test_query_of_the_url_is_used_and_never_shown(variable, url):
    found = target({f"{E}{variable}": "http://c:4318?token=secret"})

    assert url == found.url
    assert "secret" not in found.shown + repr(found)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("http://user:secret@c:4318/a", "http://c:4318/a"),
        ("http://user:sec/ret@c:4318/a", "http://c:4318/a"),
        ("http://user:sec?ret@c:4318/a", "http://***"),
        ("http://user:sec#ret@c:4318/a", "http://***"),
        ("http://c:4318/a?token=secret", "http://c:4318/a"),
        ("http://c:4318/a?token=sec@ret", "http://***"),
        ("http://c:4318/a#secret", "http://c:4318/a"),
        ("user:secret@c:4318", "c:4318"),
        ("secret@c", "c"),
        ("", ""),
    ],
)
def test_url_is_shown_without_user_password_and_query(url, shown):
    assert shown == shown_url(url)


@pytest.mark.parametrize("url", ["ftp://user:secret@c", "http://user:secret@:4318", "http://c:port?token=secret"])
def test_secret_of_a_url_that_is_none_is_not_in_the_complaint(url):
    assert "secret" not in read({f"{E}TRACES_ENDPOINT": url}).complaints[0]


def test_texts_lose_the_secrets_of_a_target():
    environ = {f"{E}TRACES_ENDPOINT": "http://user:hunter22@c/?key=quer1", f"{E}HEADERS": "x-key=Bearer%20sesame,y=abc"}

    found = target(environ).hide("Bearer sesame, sesame, quer1, dXNlcjpodW50ZXIyMg==, abc")

    assert "***, ***, ***, ***, abc" == found  # what is that short stands in every other word


# --- how ---------------------------------------------------------------------------------------------------


def test_protocol_of_a_signal_wins():
    environ = {f"{E}ENDPOINT": "http://c", f"{E}PROTOCOL": "grpc", f"{E}METRICS_PROTOCOL": "http/json"}

    assert ["grpc", "http/json", "grpc"] == [one.protocol for one in read(environ).targets.values()]


def test_unknown_protocol_is_named_once_with_the_default_taken():
    found = read({f"{E}ENDPOINT": "http://c", f"{E}PROTOCOL": "thrift"})

    assert "http/protobuf" == found.targets["traces"].protocol
    assert [
        f"{E}PROTOCOL: 'thrift' is none of http/protobuf, grpc, http/json; taking http/protobuf"
    ] == found.complaints


def test_headers_are_percent_decoded_and_those_of_a_signal_replace_the_general_ones():
    environ = {f"{E}ENDPOINT": "http://c", f"{E}HEADERS": "Authorization=Bearer%20a%3Db%2Cc, x-y = 1"}
    environ[f"{E}LOGS_HEADERS"] = "api-key=k=v"

    assert {"authorization": "Bearer a=b,c", "x-y": "1"} == target(environ).headers
    assert {"api-key": "k=v"} == target(environ, "logs").headers


@pytest.mark.parametrize(
    ("entry", "http", "grpc"),
    [
        ("x=%C3%A9t%C3%A9", True, False),
        ("x=%E2%82%AC", False, False),
        ("x!y=1", True, False),
        ("x-bin=1", True, False),
        ("a.b-c_9=~!", True, True),
    ],
)
def test_header_that_its_protocol_cannot_carry_is_named_before_every_request_fails(entry, http, grpc):
    """gRPC answers INTERNAL to it, for which records would be dropped."""
    for protocol, good in (("http/protobuf", http), ("http/json", http), ("grpc", grpc)):
        found = read({f"{E}TRACES_ENDPOINT": "http://c/", f"{E}HEADERS": entry, f"{E}PROTOCOL": protocol})

        assert (int(good), int(not good)) == (len(found.targets["traces"].headers), len(found.complaints))


@pytest.mark.parametrize("entry", ["secret", "a b=secret", "key=sec%0Aret", "=secret"])
def test_header_that_is_none_is_named_by_its_place_and_never_by_its_value(entry):
    found = read({f"{E}TRACES_ENDPOINT": "http://c/", f"{E}HEADERS": f"a=1,{entry}"})

    assert {"a": "1"} == found.targets["traces"].headers
    assert [f"{E}HEADERS: entry 2 is no key=value with a percent-encoded value; it is left out"] == found.complaints


def test_timeout_is_in_milliseconds():
    assert 2.5 == target({f"{E}ENDPOINT": "http://c", f"{E}TIMEOUT": "2500"}).timeout
    assert 10.0 == target({f"{E}ENDPOINT": "http://c"}).timeout


@pytest.mark.parametrize(("text", "seconds"), [("10", 10.0), ("2.5", 2.5), ("99", 99.0), ("100", 0.1)])
def test_timeout_that_no_request_could_keep_is_in_seconds_as_the_official_sdk_reads_it(text, seconds):
    """It takes seconds against the specification, so that one variable cannot say both."""
    found = read({f"{E}TRACES_ENDPOINT": "http://c/", f"{E}TIMEOUT": text})

    assert (seconds, []) == (found.targets["traces"].timeout, found.complaints)


def test_timeout_of_zero_is_no_limit():
    found = read({f"{E}TRACES_ENDPOINT": "http://c/", f"{E}TIMEOUT": "0"})

    assert (3600.0, []) == (found.targets["traces"].timeout, found.complaints)


@pytest.mark.parametrize("text", ["soon", "-1", "nan", "1e999"])
def test_timeout_that_is_no_number_is_named_with_the_default_taken(text):
    found = read({f"{E}TRACES_ENDPOINT": "http://c/", f"{E}TIMEOUT": text})

    assert 10.0 == found.targets["traces"].timeout
    assert [f"{E}TIMEOUT: write a number of milliseconds, got {text!r}; taking 10000"] == found.complaints


def test_compression_is_gzip_deflate_or_none():
    assert "deflate" == target({f"{E}ENDPOINT": "http://c", f"{E}COMPRESSION": "deflate"}).compression
    assert "gzip" == target({f"{E}ENDPOINT": "http://c", f"{E}TRACES_COMPRESSION": "GZIP"}).compression
    assert "" == target({f"{E}ENDPOINT": "http://c", f"{E}COMPRESSION": "none"}).compression
    assert [f"{E}COMPRESSION: 'zstd' is none of gzip, deflate, none; taking none"] == read(
        {f"{E}ENDPOINT": "http://c", f"{E}COMPRESSION": "zstd"}
    ).complaints


def test_certificates_of_a_signal_win_and_a_missing_file_is_named(tmp_path):
    there = tmp_path / "ca.pem"
    there.write_text("")
    environ = {f"{E}ENDPOINT": "https://c", f"{E}CERTIFICATE": str(there), f"{E}LOGS_CERTIFICATE": "gone.pem"}

    found = read(environ)

    assert [str(there), str(there), "gone.pem"] == [one.certificate for one in found.targets.values()]
    assert [
        f"{E}LOGS_CERTIFICATE: cannot read the file 'gone.pem'; requests will fail until it is there"
    ] == found.complaints


@pytest.mark.parametrize("text", ["-----BEGIN PRIVATE KEY-----", "MII\nE", "k" * 3000])
def test_key_in_place_of_its_file_is_not_in_the_complaint(text):
    found = read({f"{E}TRACES_ENDPOINT": "https://c/", f"{E}CLIENT_KEY": text})

    assert [
        f"{E}CLIENT_KEY: cannot read the file that is named there; requests will fail until it is there"
    ] == found.complaints


def test_interval_is_two_seconds_or_what_the_signals_own_variable_says():
    environ = {f"{E}ENDPOINT": "http://c", "OTEL_BSP_SCHEDULE_DELAY": "500", "OTEL_METRIC_EXPORT_INTERVAL": "60000"}

    assert [0.5, 60.0, 2.0] == [one.interval for one in read(environ).targets.values()]


P = "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE"


@pytest.mark.parametrize("text", ["delta", "DELTA", " LowMemory ", "cumulative", ""])
def test_temporality_is_what_the_preference_says_in_any_case(text):
    found = read({f"{E}ENDPOINT": "http://c", P: text})

    assert (text.strip().lower() or "cumulative") == found.targets["metrics"].temporality
    assert {"cumulative"} == {found.targets[signal].temporality for signal in ("traces", "logs")}
    assert [] == found.complaints


def test_temporality_that_is_none_is_named_once_with_the_default_taken():
    found = read({f"{E}ENDPOINT": "http://c", P: "sometimes"})

    assert "cumulative" == found.targets["metrics"].temporality
    assert [f"{P}: 'sometimes' is none of cumulative, delta, lowmemory; taking cumulative"] == found.complaints


def test_what_is_sent_of_metrics_is_in_the_settings():
    environ = {f"{E}ENDPOINT": "http://c", "OTEL_PERF_SYSTEM_METRICS": "all", "OTEL_PERF_PROFILE_SERIES": "7"}

    found = read(environ).targets["metrics"]

    assert ("all", 7) == (found.system_metrics, found.profile_series)
    assert ("few", 500) == (target({f"{E}ENDPOINT": "http://c"}, "metrics").system_metrics, 500)
