"""Who the process is: names from the semantic conventions, values from the environment as the specification says."""

from __future__ import annotations

import os
import platform
import socket
import sys

import pytest

PROGRAM = """
    import otel_perf as perf
    perf.init({arguments})
    @perf.profile(span_threshold=0)
    def function():
        pass
    function()
"""


@pytest.fixture
def resource_of(run_python, spans_of, metrics_of, tmp_path):
    """Return a function giving the resource that a program with these variables and arguments of init() writes."""

    def run(arguments="", said="", **env):
        result = run_python(PROGRAM.format(arguments=arguments), env=env, name="shop_server.py")
        assert (0, said) == (result.returncode, result.stderr)
        (resource,) = {repr(span["resource"]): span["resource"] for span in spans_of(tmp_path)}.values()
        assert [resource] * len(metrics_of(tmp_path)) == [metric["resource"] for metric in metrics_of(tmp_path)]
        return resource

    return run


def test_the_resource_names_the_process_by_the_semantic_conventions(resource_of):
    from opentelemetry.semconv._incubating.attributes import (
        host_attributes as host,
    )
    from opentelemetry.semconv._incubating.attributes import (
        os_attributes,
        process_attributes,
        service_attributes,
        telemetry_attributes,
    )

    resource = resource_of()
    known = {
        value
        for module in (host, os_attributes, process_attributes, service_attributes, telemetry_attributes)
        for name, value in vars(module).items()
        if name.isupper() and isinstance(value, str)
    }
    machine = {"x86_64": "amd64", "AMD64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())

    ours = {"otel_perf.cpu.count", "otel_perf.cpu.usable", "otel_perf.memory.total"}  # more in a container with limits
    limits = {"otel_perf.container.cpu.limit", "otel_perf.container.memory.limit"}
    assert ours == resource.keys() - known - limits
    assert "shop_server" == resource[service_attributes.SERVICE_NAME]
    assert "python" == resource[telemetry_attributes.TELEMETRY_SDK_LANGUAGE]
    assert "otel-perf" == resource[telemetry_attributes.TELEMETRY_DISTRO_NAME]
    assert sys.implementation.name == resource[process_attributes.PROCESS_RUNTIME_NAME]
    assert platform.python_version() == resource[process_attributes.PROCESS_RUNTIME_VERSION]
    assert sys.executable == resource[process_attributes.PROCESS_EXECUTABLE_PATH]
    assert os.getpid() == resource[process_attributes.PROCESS_PARENT_PID]
    assert resource[process_attributes.PROCESS_PID] > 0
    assert platform.system().lower() == resource[os_attributes.OS_TYPE]
    assert machine == resource[host.HOST_ARCH]
    assert socket.gethostname() == resource[host.HOST_NAME]


def test_a_span_names_its_code_by_the_semantic_conventions(run_python, spans_of, tmp_path):
    from opentelemetry.semconv.attributes import code_attributes as code
    from opentelemetry.semconv.attributes import exception_attributes as exception

    run_python(
        """
        import otel_perf as perf
        perf.init("code")
        @perf.profile(span_threshold=0)
        def function():
            raise KeyError("key")
        try:
            function()
        except KeyError:
            pass
        """
    )
    (span,) = [span for span in spans_of(tmp_path) if span["name"] == "function"]
    (event,) = span["events"]

    assert "__main__.function" == span["attributes"][code.CODE_FUNCTION_NAME]
    assert str(tmp_path / "script.py") == span["attributes"][code.CODE_FILE_PATH]
    assert 4 == span["attributes"][code.CODE_LINE_NUMBER]
    assert ("exception", "KeyError", "'key'") == (
        event["name"],
        event["attributes"][exception.EXCEPTION_TYPE],
        event["attributes"][exception.EXCEPTION_MESSAGE],
    )
    ours = {name for name in span["attributes"] if not name.startswith("otel_perf.")}
    assert {code.CODE_FUNCTION_NAME, code.CODE_FILE_PATH, code.CODE_LINE_NUMBER} == ours


@pytest.mark.parametrize(
    ("arguments", "variables", "service"),
    [
        ("'argument'", {"OTEL_SERVICE_NAME": "variable", "OTEL_RESOURCE_ATTRIBUTES": "service.name=list"}, "argument"),
        ("", {"OTEL_SERVICE_NAME": "variable", "OTEL_RESOURCE_ATTRIBUTES": "service.name=list"}, "variable"),
        ("", {"OTEL_SERVICE_NAME": "", "OTEL_RESOURCE_ATTRIBUTES": "service.name=list"}, "list"),
        ("", {"OTEL_RESOURCE_ATTRIBUTES": "service.name="}, "shop_server"),
        ("", {}, "shop_server"),
    ],
)
def test_the_service_name_is_that_of_the_strongest_source(resource_of, arguments, variables, service):
    assert service == resource_of(arguments, **variables)["service.name"]


def test_entries_of_the_variable_win_over_what_is_detected_and_are_percent_decoded(resource_of):
    resource = resource_of(
        OTEL_RESOURCE_ATTRIBUTES="deployment.environment.name=staging, team=a%2Cb%3Dc%20d ,greek=%CE%B1%CE%B2,"
        "equals=a=b,half=50%,odd=%zz,host.name=elsewhere,service.version=1.2,service.instance.id=mine,"
    )

    assert {
        "deployment.environment.name": "staging",
        "team": "a,b=c d",
        "greek": "αβ",
        "equals": "a=b",
        "half": "50%",
        "odd": "%zz",
        "host.name": "elsewhere",
        "service.version": "1.2",
        "service.instance.id": "mine",
    }.items() <= resource.items()


def test_the_variable_is_read_as_the_sdk_reads_it(resource_of, monkeypatch):
    from opentelemetry.sdk.resources import OTELResourceDetector

    text = "a=1,b=%41%42,c=x%20y, d = e ,f=g%2Ch,empty="
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", text)
    theirs = {key: value for key, value in OTELResourceDetector().detect().attributes.items() if value != ""}

    assert theirs.items() <= resource_of(OTEL_RESOURCE_ATTRIBUTES=text).items()


def test_of_a_list_with_invalid_entries_the_valid_ones_count(resource_of):
    resource = resource_of(
        OTEL_RESOURCE_ATTRIBUTES="a=1,nonsense,=nameless,b=2,,",
        said="otel-perf: OTEL_RESOURCE_ATTRIBUTES: entries 2, 3 are no key=value with a comma in a value written %2C; left out\n",
    )

    assert {"a": "1", "b": "2"}.items() <= resource.items()
    assert not {"nonsense", ""} & resource.keys()


def test_the_version_given_to_init_wins(resource_of):
    resource = resource_of("version='2.0'", OTEL_RESOURCE_ATTRIBUTES="service.version=1.0")

    assert "2.0" == resource["service.version"]


def test_nothing_of_the_arguments_and_the_environment_is_told(run_python, spans_of, tmp_path):
    run_python(PROGRAM.format(arguments=""), args=["--password", "hunter2"], env={"API_TOKEN": "hunter2"})

    assert spans_of(tmp_path)
    for file in tmp_path.glob(".otel-perf/*/*/*.jsonl"):
        assert "hunter2" not in file.read_text()
