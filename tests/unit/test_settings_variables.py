"""Every variable of the OpenTelemetry specification has a rule: what the specification or the official SDK takes is fine,
what neither takes is named once with the value and what is taken instead, and no secret is repeated.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import opentelemetry.environment_variables
import opentelemetry.sdk.environment_variables
import pytest

from otel_perf import config, sampling, variables
from otel_perf.variables import complaints, is_installed

if TYPE_CHECKING:
    from pathlib import Path

E = "OTEL_EXPORTER_OTLP_"
OTLP = (
    "ENDPOINT",
    "PROTOCOL",
    "HEADERS",
    "TIMEOUT",
    "COMPRESSION",
    "INSECURE",
    "CERTIFICATE",
    "CLIENT_KEY",
    "CLIENT_CERTIFICATE",
)
# As the specification lists them, version 1.60: general, processors, limits, exporters, metrics, declarative configuration.
SPECIFIED = {
    "OTEL_SDK_DISABLED", "OTEL_ENTITIES", "OTEL_RESOURCE_ATTRIBUTES", "OTEL_SERVICE_NAME", "OTEL_LOG_LEVEL", "OTEL_PROPAGATORS",
    "OTEL_TRACES_SAMPLER", "OTEL_TRACES_SAMPLER_ARG",
    *(f"OTEL_{one}_{name}" for one in ("BSP", "BLRP") for name in ("SCHEDULE_DELAY", "EXPORT_TIMEOUT", "MAX_QUEUE_SIZE", "MAX_EXPORT_BATCH_SIZE")),
    "OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT", "OTEL_ATTRIBUTE_COUNT_LIMIT", "OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT",
    "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", "OTEL_SPAN_EVENT_COUNT_LIMIT", "OTEL_SPAN_LINK_COUNT_LIMIT",
    "OTEL_EVENT_ATTRIBUTE_COUNT_LIMIT", "OTEL_LINK_ATTRIBUTE_COUNT_LIMIT", "OTEL_LOGRECORD_ATTRIBUTE_VALUE_LENGTH_LIMIT",
    "OTEL_LOGRECORD_ATTRIBUTE_COUNT_LIMIT",
    *(f"{E}{signal}{name}" for signal in ("", "TRACES_", "METRICS_", "LOGS_") for name in OTLP),
    "OTEL_EXPORTER_OTLP_SPAN_INSECURE", "OTEL_EXPORTER_OTLP_METRIC_INSECURE",
    "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE", "OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION",
    "OTEL_EXPORTER_ZIPKIN_ENDPOINT", "OTEL_EXPORTER_ZIPKIN_TIMEOUT", "OTEL_EXPORTER_ZIPKIN_PROTOCOL",
    "OTEL_EXPORTER_PROMETHEUS_HOST", "OTEL_EXPORTER_PROMETHEUS_PORT",
    "OTEL_TRACES_EXPORTER", "OTEL_METRICS_EXPORTER", "OTEL_LOGS_EXPORTER",
    "OTEL_METRICS_EXEMPLAR_FILTER", "OTEL_METRIC_EXPORT_INTERVAL", "OTEL_METRIC_EXPORT_TIMEOUT",
    "OTEL_CONFIG_FILE", "OTEL_EXPERIMENTAL_CONFIG_FILE",
}  # fmt: skip


def test_every_variable_of_the_specification_has_a_row_and_only_one():
    rows = [row[0] for row in variables.TABLE]
    both = {row[1] for row in config.TABLE} & set(rows)

    assert set() == SPECIFIED - set(rows) - {row[1] for row in config.TABLE}
    assert len(rows) == len(set(rows))
    assert {f"{E}ENDPOINT"} == both  # a setting, whose rule is here


def test_every_variable_that_the_official_sdk_knows_has_a_row_but_its_own():
    names = {
        value
        for module in (opentelemetry.environment_variables, opentelemetry.sdk.environment_variables)
        for name, value in vars(module).items()
        if name.lstrip("_").startswith("OTEL_") and isinstance(value, str)
    }
    own = {name for name in names if name.startswith(("OTEL_PYTHON_", "OTEL_EXPERIMENTAL_RESOURCE_"))}

    assert len(names) > 80
    assert set() == names - own - SPECIFIED


@pytest.mark.parametrize("name", sorted(SPECIFIED))
def test_what_is_empty_is_unset(name):
    assert [] == complaints({name: ""}) + complaints({name: "  "})


WHOLE = ["1", "512", " 7 ", "2147483647"]
TIMES = [*WHOLE, "0"]
FILES = [__file__]
GOOD = {
    "OTEL_LOG_LEVEL": ["info", "DEBUG", "warn", "Warning", "error"],
    "OTEL_ENTITIES": [
        "service{service.name=my-app,service.instance.id=1}[service.version=1.0.0]@https://opentelemetry.io/schemas/1.21.0",
        ";service{service.name=app1};;host{host.id=host-123};",
    ],
    "OTEL_CONFIG_FILE": FILES,
    "OTEL_EXPERIMENTAL_CONFIG_FILE": FILES,
    "OTEL_TRACES_EXPORTER": [
        "otlp", "otlp_proto_http", "otlp_proto_grpc", "console", "none", "otlp,console", "otlp, console,", "zipkin", "OTLP", "otlp/stdout",
    ],
    "OTEL_METRICS_EXPORTER": ["prometheus", "otlp,prometheus", "console", "none", "otlp_proto_grpc"],
    "OTEL_LOGS_EXPORTER": ["otlp", "console", "none", "otlp_proto_http"],
    "OTEL_PROPAGATORS": ["tracecontext,baggage", "b3", "b3multi", "jaeger", "xray", "ottrace", "none", "TraceContext"],
    "OTEL_BSP_SCHEDULE_DELAY": WHOLE,
    "OTEL_BSP_EXPORT_TIMEOUT": TIMES,
    "OTEL_BSP_MAX_QUEUE_SIZE": ["512", "65536"],
    "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": ["1", "2048"],
    "OTEL_BLRP_SCHEDULE_DELAY": WHOLE,
    "OTEL_BLRP_EXPORT_TIMEOUT": TIMES,
    "OTEL_BLRP_MAX_QUEUE_SIZE": ["512", "65536"],
    "OTEL_BLRP_MAX_EXPORT_BATCH_SIZE": ["1", "2048"],
    "OTEL_LOGRECORD_ATTRIBUTE_COUNT_LIMIT": TIMES,
    "OTEL_LOGRECORD_ATTRIBUTE_VALUE_LENGTH_LIMIT": TIMES,
    "OTEL_METRIC_EXPORT_INTERVAL": [*WHOLE, "0.5"],
    "OTEL_METRIC_EXPORT_TIMEOUT": TIMES,
    f"{E}METRICS_TEMPORALITY_PREFERENCE": ["Cumulative", "delta", "LOWMEMORY"],
    f"{E}METRICS_DEFAULT_HISTOGRAM_AGGREGATION": ["explicit_bucket_histogram", "BASE2_exponential_bucket_histogram"],
    "OTEL_EXPORTER_OTLP_SPAN_INSECURE": ["true", "False"],
    "OTEL_EXPORTER_OTLP_METRIC_INSECURE": ["true", "False"],
    "OTEL_EXPORTER_ZIPKIN_ENDPOINT": ["http://localhost:9411/api/v2/spans"],
    "OTEL_EXPORTER_ZIPKIN_TIMEOUT": TIMES,
    "OTEL_EXPORTER_ZIPKIN_PROTOCOL": ["v2/json"],
    "OTEL_EXPORTER_PROMETHEUS_HOST": ["0.0.0.0", "localhost", "::"],
    "OTEL_EXPORTER_PROMETHEUS_PORT": ["9464", "0", "65535"],
}  # fmt: skip
GOOD_OTLP = {
    "ENDPOINT": [
        "http://localhost:4318",
        "https://c/otlp",
        "HTTP://[::1]:4318/",
        "c:4317",
        "localhost",
        "http://user:pass@c",
    ],
    "PROTOCOL": ["grpc", "http/protobuf", "http/json", "GRPC"],
    "HEADERS": ["a=b", "authorization=Bearer%20x,x-y = 1", "a=b,", "k=v=w", "empty="],
    "TIMEOUT": [*TIMES, "10", "0.5"],
    "COMPRESSION": ["gzip", "none", "deflate", "GZIP"],
    "INSECURE": ["true", "false", "TRUE"],
    "CERTIFICATE": FILES,
    "CLIENT_KEY": FILES,
    "CLIENT_CERTIFICATE": FILES,
}
NO_WHOLE = ["-1", "many", "1.5", "1e3", "12ms", "nan"]
NO_FILES = ["/no/such/file", "gone.pem"]
BAD = {
    "OTEL_LOG_LEVEL": ["loud", "7"],
    "OTEL_ENTITIES": ["service", "service{}", "{a=b}", "host{host.id=1};invalid{syntax"],
    "OTEL_CONFIG_FILE": NO_FILES,
    "OTEL_EXPERIMENTAL_CONFIG_FILE": NO_FILES,
    "OTEL_TRACES_EXPORTER": ["otpl", "otlp,otpl", "prometheus"],
    "OTEL_METRICS_EXPORTER": ["prometeus", "zipkin"],
    "OTEL_LOGS_EXPORTER": ["file", "zipkin"],
    "OTEL_PROPAGATORS": ["b4", "tracecontext,bagage"],
    "OTEL_BSP_SCHEDULE_DELAY": [*NO_WHOLE, "0"],
    "OTEL_BSP_EXPORT_TIMEOUT": NO_WHOLE,
    "OTEL_BSP_MAX_QUEUE_SIZE": [*NO_WHOLE, "0"],
    "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": [*NO_WHOLE, "0", "2049"],
    "OTEL_BLRP_SCHEDULE_DELAY": [*NO_WHOLE, "0"],
    "OTEL_BLRP_EXPORT_TIMEOUT": NO_WHOLE,
    "OTEL_BLRP_MAX_QUEUE_SIZE": [*NO_WHOLE, "0"],
    "OTEL_BLRP_MAX_EXPORT_BATCH_SIZE": [*NO_WHOLE, "0", "2049"],
    "OTEL_LOGRECORD_ATTRIBUTE_COUNT_LIMIT": NO_WHOLE,
    "OTEL_LOGRECORD_ATTRIBUTE_VALUE_LENGTH_LIMIT": NO_WHOLE,
    "OTEL_METRIC_EXPORT_INTERVAL": ["-1", "0", "soon", "nan"],
    "OTEL_METRIC_EXPORT_TIMEOUT": ["-1", "soon", "nan"],
    f"{E}METRICS_TEMPORALITY_PREFERENCE": ["sometimes"],
    f"{E}METRICS_DEFAULT_HISTOGRAM_AGGREGATION": ["exponential"],
    "OTEL_EXPORTER_OTLP_SPAN_INSECURE": ["1"],
    "OTEL_EXPORTER_OTLP_METRIC_INSECURE": ["yes"],
    "OTEL_EXPORTER_ZIPKIN_ENDPOINT": ["localhost:9411", "ftp://localhost"],
    "OTEL_EXPORTER_ZIPKIN_TIMEOUT": ["-1", "soon"],
    "OTEL_EXPORTER_PROMETHEUS_PORT": ["-1", "65536", "web"],
}
BAD_OTLP = {
    "ENDPOINT": ["ftp://collector", "http://", "http://c:99999", "c:port"],
    "PROTOCOL": ["thrift", "http"],
    "HEADERS": ["a", "a b=c", "=x", "a=b,c"],
    "TIMEOUT": ["-1", "soon", "10s", "nan"],
    "COMPRESSION": ["zstd", "true"],
    "INSECURE": ["1", "yes"],
    "CERTIFICATE": NO_FILES,
    "CLIENT_KEY": NO_FILES,
    "CLIENT_CERTIFICATE": NO_FILES,
}
SIGNALS = ("", "TRACES_", "METRICS_", "LOGS_")
GOOD |= {f"{E}{signal}{name}": values for signal in SIGNALS for name, values in GOOD_OTLP.items()}
BAD |= {f"{E}{signal}{name}": values for signal in SIGNALS for name, values in BAD_OTLP.items()}


def test_every_row_is_tried_with_good_and_bad_values():
    rows = {row[0] for row in variables.TABLE}
    any_text = {"OTEL_EXPORTER_ZIPKIN_PROTOCOL", "OTEL_EXPORTER_PROMETHEUS_HOST"}

    assert (rows, rows - any_text) == (set(GOOD), set(BAD))


@pytest.mark.parametrize("name", sorted(GOOD))
def test_what_is_taken_is_not_called_wrong(name):
    assert [] == [text for value in GOOD[name] for text in complaints({name: value})]


@pytest.mark.parametrize("name", sorted(BAD))
def test_what_is_not_taken_is_named_once_with_what_is_taken_instead(name):
    for value in BAD[name]:
        (text,) = complaints({name: value})

        assert text.startswith(f"{name}: "), text
        assert len(text.splitlines()) == 1
        if not name.endswith(("HEADERS", "ENTITIES")):  # whose entries may be secrets, and are named by their places
            assert repr(value.rpartition(",")[2]) in text or f"got {value}" in text
        assert "; " in text, "and what is taken instead"


@pytest.mark.parametrize("processor", ["BSP", "BLRP"])
def test_batch_larger_than_its_queue_is_named_as_the_sdk_refuses_both(processor):
    queue, batch = f"OTEL_{processor}_MAX_QUEUE_SIZE", f"OTEL_{processor}_MAX_EXPORT_BATCH_SIZE"

    assert [] == complaints({queue: "100", batch: "100"})
    assert [f"{batch}: write no more than {queue}, which is 100, got 101; taking 100"] == complaints(
        {queue: "100", batch: "101"}
    )
    assert [f"{batch}: write no more than {queue}, which is 511, got 512; taking 511"] == complaints({queue: "511"})


def test_of_a_list_only_what_is_wrong_is_named_by_its_place():
    (headers,) = complaints({f"{E}HEADERS": "a=1,secret,b=2,=secret"})
    (entities,) = complaints({"OTEL_ENTITIES": "host{host.id=1};secret{syntax;service{service.name=a}"})

    assert f"{E}HEADERS: entries 2, 4 are no key=value with a percent-encoded value; left out" == headers
    assert "OTEL_ENTITIES: entry 2 is no type{key=value}; left out" == entities


@pytest.mark.parametrize(
    ("name", "value"),
    [
        (f"{E}HEADERS", "authorization Bearer secret"),
        (f"{E}TRACES_ENDPOINT", "ftp://user:secret@collector/?token=secret"),
        (f"{E}ENDPOINT", "user:secret@collector:port"),
        ("OTEL_EXPORTER_ZIPKIN_ENDPOINT", "user:secret@zipkin"),
        (f"{E}CLIENT_KEY", "-----BEGIN PRIVATE KEY-----secret"),
        (f"{E}CERTIFICATE", "secret\nsecret"),
        ("OTEL_ENTITIES", "service{token=secret"),
    ],
)
def test_what_may_be_a_secret_is_not_repeated(name, value):
    (text,) = complaints({name: value})

    assert text.startswith(f"{name}: ")
    assert "secret" not in text


def test_long_value_is_cut():
    (text,) = complaints({"OTEL_LOG_LEVEL": "x" * 10_000})

    assert len(text) < 300


ROWS = [row for row in config.TABLE if row[2] not in (config._text, config.names)]  # any text is a name


@pytest.mark.parametrize("row", ROWS, ids=[row[1] for row in ROWS])
def test_setting_of_ours_is_named_too(row):
    key, variable, _, default, _ = row

    settings = config.load({}, {variable: "not that"})

    (text,) = settings.complaints
    assert default == getattr(settings, key)
    assert text.startswith(f"{variable}: {key}: ")
    assert "'not that'" in text
    assert "; taking " in text


# --- ours -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "advice"),
    [
        ("OTEL_PERF_IMPORT", "did you mean OTEL_PERF_IMPORTS?"),
        ("OTEL_PERF_FOLDRE", "did you mean OTEL_PERF_FOLDER?"),
        ("OTEL_PERF_SERVICE_NAME_OF_MINE", "unset it"),
    ],
)
def test_name_of_ours_that_nobody_reads_is_named_with_the_nearest_one(name, advice):
    assert [f"{name} is no setting of otel-perf; {advice}"] == complaints({name: "1"})
    assert [] == complaints({name: ""})


def test_names_that_the_package_sets_itself_or_gives_to_the_stack_are_known():
    names = [*(row[1] for row in config.TABLE if row[1].startswith("OTEL_PERF_")), *config.INTERNAL]

    assert [] == complaints(dict.fromkeys([*names, "OTEL_PERF_STACK_GRAFANA_PORT"], "1"))


@pytest.mark.parametrize("variable", ["", "OTEL_BSP_MAX_QUEUE_SIZE", "OTEL_PERF_IMPORT"])
def test_table_is_loaded_only_where_a_variable_is_set_that_needs_it(variable, modules_after):
    """The start of everybody else pays for a look through the names of the environment, and no more."""
    code = f"import os; os.environ[{variable or 'HOME'!r}] = '1'; import otel_perf; otel_perf.init()"

    assert bool(variable) is ("otel_perf.variables" in modules_after(code))


# --- components of what is installed ----------------------------------------------------------------------------------


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Install a package with an exporter, a propagator and a sampler, as pip would."""
    package = tmp_path / "shop_telemetry-1.0.dist-info"
    package.mkdir()
    (package / "entry_points.txt").write_text(
        "[console_scripts]\nrogue = shop:main\n\n"
        "[opentelemetry_traces_exporter]\nshop_exporter = shop:Exporter\n\n"
        "[opentelemetry_propagator]\nshop_propagator=shop:Propagator\n\n"
        "[opentelemetry_traces_sampler]\nshop_sampler = shop:Sampler\n",
        encoding="utf-8",
    )
    monkeypatch.syspath_prepend(str(tmp_path))


@pytest.mark.usefixtures("installed")
def test_component_of_an_installed_package_is_not_called_wrong():
    assert [] == complaints({"OTEL_TRACES_EXPORTER": "otlp,shop_exporter", "OTEL_PROPAGATORS": "shop_propagator"})
    assert 2 == len(complaints({"OTEL_METRICS_EXPORTER": "shop_exporter", "OTEL_PROPAGATORS": "rogue"}))


@pytest.mark.parametrize("name", ["shop_sampler", "jaeger_remote", "parentbased_jaeger_remote", "xray", "traceidratio"])
@pytest.mark.usefixtures("installed")
def test_sampler_of_the_programs_sdk_is_not_called_wrong(name):
    assert [] == sampling.decisions(config.load({}, {"OTEL_TRACES_SAMPLER": name}))[2]


def test_sampler_that_nobody_has_is_named():
    (text,) = sampling.decisions(config.load({}, {"OTEL_TRACES_SAMPLER": "shop_sampler"}))[2]

    assert text.startswith("OTEL_TRACES_SAMPLER: 'shop_sampler' is none of always_on, ")
    assert text.endswith("; taking parentbased_always_on")


def test_where_packages_lie_in_an_archive_nothing_is_called_wrong(tmp_path, monkeypatch):
    (tmp_path / "app.pyz").write_bytes(b"PK")
    assert not is_installed("opentelemetry_propagator", "b4")

    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path / "app.pyz")])

    assert is_installed("opentelemetry_propagator", "b4")


def test_entry_points_are_those_that_the_library_finds():
    from importlib.metadata import entry_points

    for group in (
        "opentelemetry_propagator",
        "opentelemetry_traces_exporter",
        "opentelemetry_traces_sampler",
        "pytest11",
    ):
        names = entry_points(group=group).names
        assert len(names) > 1
        assert names == {name for name in names if is_installed(group, name)}
        assert not is_installed(group, "nobody_has_this")
