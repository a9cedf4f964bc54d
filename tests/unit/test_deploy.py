"""The files of deploy/ say what the pinned images need: held here, as no container can run on every machine.

The facts were read in each project's Dockerfile, documentation and issues; deploy/README.md names the sources.
"""

from __future__ import annotations

import os
import re
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from otel_perf.backends.names import PROMOTED
from otel_perf.backends.services import DASHBOARDS, PORTS

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
ENDPOINT = re.compile(r"""endpoint:\s*["']?(?:\$\{env:\w+:-)?([^"'}\s]+)""")


def read(file: str) -> Any:
    return yaml.safe_load((DEPLOY / file).read_text(encoding="utf-8"))


COMPOSE = read("docker-compose.yml")
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]

# image, user of the image, where it keeps data, what can be asked inside it (nothing in an image without programs)
IMAGES = {
    "collector": ("otel/opentelemetry-collector-contrib:0.145.0", "10001:10001", "/queue", None),
    "prometheus": ("prom/prometheus:v3.16.0", "65534:65534", "/prometheus", "/bin/promtool"),
    "tempo": ("grafana/tempo:2.9.0", "10001:10001", "/var/tempo", "/busybox/wget"),
    "loki": ("grafana/loki:3.7.8", "10001:10001", "/loki", "/usr/bin/loki"),
    "grafana": ("grafana/grafana:13.0.1", "472:0", "/var/lib/grafana", "curl"),
}
LISTENS = {"collector": {4317, 4318, 13133}, "prometheus": {9090}, "tempo": {3200}, "loki": {3100}, "grafana": {3000}}
services = pytest.mark.parametrize("name", IMAGES)


def volumes(name: str) -> dict[str, str]:
    """Return {path in the container: named volume} of a service."""
    pairs = (item.split(":") for item in SERVICES[name]["volumes"] if isinstance(item, str))
    return {target: source for source, target in pairs}


def binds(name: str) -> list[dict[str, Any]]:
    return [item for item in SERVICES[name]["volumes"] if not isinstance(item, str)]


def test_there_are_the_five_services_and_the_one_that_prepares_a_volume():
    assert {*IMAGES, "queue-init"} == SERVICES.keys()


@services
def test_image_user_and_data_are_those_that_belong_together(name):
    image, user, data, _ = IMAGES[name]

    assert image == SERVICES[name]["image"]
    assert user == SERVICES[name]["user"]
    # docker gives a fresh named volume the owner that this folder has in the image, and nobody else may write there
    assert [data] == list(volumes(name))
    assert volumes(name)[data] in COMPOSE["volumes"]


def test_no_image_without_a_version():
    for service in SERVICES.values():
        tag = service["image"].partition(":")[2]
        assert re.fullmatch(r"v?\d+\.\d+\.\d+", tag), service["image"]


def test_each_volume_belongs_to_one_service():
    owners = [volume for name in IMAGES for volume in volumes(name).values()]

    assert sorted(COMPOSE["volumes"]) == sorted(owners)


@services
def test_service_may_do_nothing_that_it_does_not_need(name):
    service = SERVICES[name]

    assert service["read_only"] is True
    assert ["ALL"] == service["cap_drop"]
    assert "cap_add" not in service
    assert "privileged" not in service
    assert ["no-new-privileges:true"] == service["security_opt"]
    assert ["/tmp"] == service["tmpfs"]
    assert not service["user"].startswith("0:")
    assert re.fullmatch(r"\d+[mg]", service["mem_limit"])
    assert "30s" == service["stop_grace_period"]
    assert {"max-size", "max-file"} == service["logging"]["options"].keys()


def test_queue_is_given_to_the_collector_before_it_starts():
    init = SERVICES["queue-init"]
    user = IMAGES["collector"][1]

    assert [
        "chown",
        user,
        "/queue",
    ] == init["entrypoint"]
    assert SERVICES["prometheus"]["image"] == init["image"]  # has busybox, and is pulled anyway
    assert ("0:0", ["ALL"], ["CHOWN"]) == (init["user"], init["cap_drop"], init["cap_add"])
    assert "no" == init["restart"]
    assert ["/prometheus"] == init["tmpfs"]  # the image's VOLUME: else an anonymous one is left behind
    assert volumes("queue-init") == volumes("collector")
    assert {"queue-init": {"condition": "service_completed_successfully"}} == SERVICES["collector"]["depends_on"]
    assert not any("depends_on" in SERVICES[name] for name in IMAGES if name != "collector")


@services
def test_health_is_asked_with_a_program_that_is_in_the_image(name):
    program = IMAGES[name][3]
    check = SERVICES[name].get("healthcheck", {}).get("test")

    if program is None:
        assert check is None
        return
    assert ["CMD", program] == check[:2]  # never CMD-SHELL: Tempo and Loki have no shell
    assert not any("localhost" in word for word in check)  # busybox tries ::1 first


def test_ports_are_on_loopback_and_moved_by_the_variables_that_stack_up_names():
    published = [port for name in IMAGES for port in SERVICES[name]["ports"]]
    parts = [re.fullmatch(r"127\.0\.0\.1:\$\{(\w+):-(\d+)\}:(\d+)", port) for port in published]

    assert all(parts), published
    assert {(variable, default) for variable, default, _ in PORTS.values()} == {
        (part[1], int(part[2])) for part in parts if part
    }
    assert all(part[2] == part[3] for part in parts if part)
    for name, numbers in LISTENS.items():
        assert numbers == {int(port.rpartition(":")[2]) for port in SERVICES[name]["ports"]}
        assert numbers == {default for _, default, service in PORTS.values() if service == name}


@services
def test_mounted_folders_exist_and_are_never_made_by_docker(name):
    assert binds(name)
    for bind in binds(name):
        assert {"create_host_path": False} == bind["bind"]  # a missing source would become an empty folder of root's
        assert bind["read_only"] is True
        folder = DEPLOY / bind["source"]
        assert folder.is_dir(), folder  # a folder, not a file: an editor's rename would leave the old file mounted
        assert bind["target"] not in ("/etc", "/etc/grafana", *volumes(name))


@pytest.mark.skipif(sys.platform == "win32", reason="modes of files")
def test_files_can_be_read_by_the_users_of_the_images():
    for path in (DEPLOY, *DEPLOY.rglob("*")):
        wanted = 0o555 if path.is_dir() else 0o444
        assert wanted == stat.S_IMODE(path.stat().st_mode) & wanted, path


@pytest.mark.parametrize(
    ("name", "option"),
    [
        ("collector", "--config="),
        ("prometheus", "--config.file="),
        ("tempo", "-config.file="),
        ("loki", "-config.file="),
    ],
)
def test_configuration_that_is_named_is_in_a_mounted_folder(name, option):
    (path,) = [word.removeprefix(option) for word in SERVICES[name]["command"] if word.startswith(option)]
    (bind,) = [bind for bind in binds(name) if path.startswith(f"{bind['target']}/")]

    assert (DEPLOY / bind["source"] / path.removeprefix(f"{bind['target']}/")).is_file()


@pytest.mark.parametrize("file", ["collector/config.yaml", "tempo/tempo.yaml"])
def test_what_listens_in_a_container_listens_on_all_its_addresses(file):
    """The most frequent failure of such stacks: the default is localhost, which is the container itself."""
    text = (DEPLOY / file).read_text(encoding="utf-8")
    own = [
        address for address in ENDPOINT.findall(text) if not re.match(r"(http://)?(tempo|prometheus|loki):", address)
    ]

    assert 2 <= len(own)
    assert all(address.startswith("0.0.0.0:") for address in own), own


def test_collector_loses_nothing_when_a_backend_is_away():
    config = read("collector/config.yaml")

    assert {"otlp_grpc/traces", "otlp_http/metrics", "otlp_http/logs"} == config["exporters"].keys()
    for exporter in config["exporters"].values():
        queue = exporter["sending_queue"]
        assert "30s" == exporter["timeout"]  # a slow backend gets a batch late, not never
        assert "0s" == exporter["retry_on_failure"]["max_elapsed_time"]  # the default drops after 5 minutes
        assert "file_storage" == queue["storage"]
        assert ("bytes", 2_000_000_000) == (queue["sizer"], queue["queue_size"])  # a disk is bounded by nothing else
        assert {"sizer", "flush_timeout", "min_size", "max_size"} == queue["batch"].keys()
    assert 1 == config["exporters"]["otlp_http/metrics"]["sending_queue"]["num_consumers"]  # keeps their order
    for pipeline in config["service"]["pipelines"].values():
        assert ["memory_limiter"] == pipeline["processors"]  # and no batch processor, which holds what is not on disk
    assert {"file_storage", "health_check"} == set(config["service"]["extensions"])
    assert volumes("collector") == {
        config["extensions"]["file_storage"]["directory"].rpartition(":-")[2].rstrip("}"): "queue"
    }


def test_memory_at_which_the_collector_refuses_is_the_one_that_is_documented():
    """It refuses from its limit less the spike on, and at the limit it collects garbage, too."""
    limiter = read("collector/config.yaml")["processors"]["memory_limiter"]
    hard = limiter["limit_mib"]
    soft = hard - limiter["spike_limit_mib"]

    for file in ("README.md", "collector/config.yaml"):
        text = (DEPLOY / file).read_text(encoding="utf-8").lower()
        assert f"from {soft} mib of heap on" in text, file
        assert re.search(f"from {hard} (mib )?on it also collects garbage", text), file


def test_queue_files_give_their_room_back_within_the_folder_that_they_are_in():
    """Elsewhere, in the container's /tmp, a new file would lie in memory, and not take its place in one step."""
    storage = read("collector/config.yaml")["extensions"]["file_storage"]
    compaction = storage["compaction"]

    assert storage["directory"] == compaction["directory"]
    assert compaction["on_rebound"] is True
    assert compaction["cleanup_on_start"] is True
    assert "on_start" not in compaction  # a full queue would need its room twice
    assert compaction["rebound_trigger_threshold_mib"] < compaction["rebound_needed_threshold_mib"] <= 100


def test_collector_sends_to_where_the_others_listen():
    text = (DEPLOY / "collector" / "config.yaml").read_text(encoding="utf-8")

    assert "${env:TRACES_ENDPOINT:-tempo:4317}" in text
    assert "${env:METRICS_ENDPOINT:-http://prometheus:9090/api/v1/otlp/v1/metrics}" in text
    assert "${env:LOGS_ENDPOINT:-http://loki:3100/otlp/v1/logs}" in text
    assert "--web.enable-otlp-receiver" in SERVICES["prometheus"]["command"]  # else it answers 404, and all is dropped


def test_a_message_as_large_as_the_collector_makes_is_taken():
    """gRPC takes 4 MiB by default, and the collector drops what is refused for its size."""
    collector, tempo = read("collector/config.yaml"), read("tempo/tempo.yaml")
    ours = collector["receivers"]["otlp"]["protocols"]["grpc"]["max_recv_msg_size_mib"]
    theirs = tempo["distributor"]["receivers"]["otlp"]["protocols"]["grpc"]["max_recv_msg_size_mib"]

    assert 32 == ours == theirs
    assert 50_000_000 == tempo["overrides"]["defaults"]["global"]["max_bytes_per_trace"]
    assert 10_000 == tempo["query_frontend"]["search"]["max_spans_per_span_set"]


def test_resource_attributes_become_the_labels_that_the_queries_ask_for():
    config = read("prometheus/prometheus.yml")

    assert set(PROMOTED) == set(config["otlp"]["promote_resource_attributes"])
    assert "UnderscoreEscapingWithSuffixes" == config["otlp"]["translation_strategy"]
    loki = read("loki/loki.yaml")["limits_config"]["otlp_config"]["resource_attributes"]
    assert loki["ignore_defaults"] is True
    assert "service.instance.id" not in loki["attributes_config"][0]["attributes"]  # a stream for each process


def test_prometheus_scrapes_the_collectors_own_metrics_at_a_target_file_beside_it():
    (job,) = read("prometheus/prometheus.yml")["scrape_configs"]
    (files,) = job["file_sd_configs"]
    (target,) = read(f"prometheus/{files['files'][0]}")
    own = read("collector/config.yaml")["service"]["telemetry"]["metrics"]["readers"][0]["pull"]["exporter"][
        "prometheus"
    ]

    assert "collector" == job["job_name"]
    assert [f"collector:{own['port'].rpartition(':-')[2].rstrip('}')}"] == target["targets"]
    assert own["host"].endswith(":-0.0.0.0}")


def test_every_backend_forgets_after_a_time():
    assert {"time", "size"} == read("prometheus/prometheus.yml")["storage"]["tsdb"]["retention"].keys()
    assert "168h" == read("tempo/tempo.yaml")["compactor"]["compaction"]["block_retention"]
    loki = read("loki/loki.yaml")
    assert "168h" == loki["limits_config"]["retention_period"]
    assert loki["compactor"]["retention_enabled"] is True
    assert "filesystem" == loki["compactor"]["delete_request_store"]  # without it Loki does not start


def test_a_replayed_run_is_found_by_search_wherever_tempo_still_has_it():
    """Search asks the ingester, which has new blocks for half an hour, for times of the last 30 min only by default."""
    tempo = read("tempo/tempo.yaml")
    kept = tempo["compactor"]["compaction"]["block_retention"]

    assert kept == tempo["storage"]["trace"]["wal"]["ingestion_time_range_slack"]
    assert kept == tempo["query_frontend"]["search"]["query_ingesters_until"]
    assert "query_backend_after" not in tempo["query_frontend"]["search"]  # 15m, which must not be more than that


def test_longest_range_of_a_search_is_documented():
    """It is Tempo's default; a range above it is answered with an error."""
    readme = (DEPLOY / "README.md").read_text(encoding="utf-8")
    dashboards = (DEPLOY.parent / "docs" / "dashboards.md").read_text(encoding="utf-8")

    assert "max_duration" not in read("tempo/tempo.yaml")["query_frontend"]["search"]
    assert "Tempo searches a range of at most 7 days" in readme
    assert "Tempo searches at most 7 days" in dashboards


def test_tempo_and_loki_write_only_to_their_volumes():
    tempo, loki = read("tempo/tempo.yaml")["storage"]["trace"], read("loki/loki.yaml")["common"]

    for path in (tempo["local"]["path"], tempo["wal"]["path"]):
        assert path.startswith(f"{IMAGES['tempo'][2]}/")
    directories = loki["storage"]["filesystem"].values()
    assert IMAGES["loki"][2] == loki["path_prefix"]
    assert all(path.startswith(f"{loki['path_prefix']}/") for path in directories)


@pytest.mark.parametrize("file", ["tempo/tempo.yaml", "loki/loki.yaml"])
def test_each_key_of_a_file_that_is_read_strictly_is_listed_with_its_source(file):
    def keys(value: Any, before: str = "") -> list[str]:
        if isinstance(value, list):
            return [key for item in value for key in keys(item, before)] if isinstance(value[0], dict) else [before]
        if not isinstance(value, dict):
            return [before]
        return [key for name, item in value.items() for key in keys(item, f"{before}.{name}" if before else name)]

    readme = (DEPLOY / "README.md").read_text(encoding="utf-8")
    section = readme.partition(f"### {file}")[2].partition("\n#")[0]
    listed = re.findall(r"^\| `([^`]+)` \|[^|]*\| (.+) \|$", section, re.MULTILINE)

    assert sorted(set(keys(read(file)))) == sorted(key for key, _ in listed)
    assert all(source.strip() for _, source in listed)


# --- Grafana ----------------------------------------------------------------------------------------------


def test_grafana_has_no_default_password_and_takes_no_sign_up():
    text = (DEPLOY / "docker-compose.yml").read_text(encoding="utf-8")
    environment = SERVICES["grafana"]["environment"]

    assert "GF_SECURITY_ADMIN_PASSWORD" not in environment
    assert "GF_SECURITY_ADMIN_PASSWORD=" not in text
    assert "false" == environment["GF_USERS_ALLOW_SIGN_UP"]
    assert ("true", "Viewer") == (environment["GF_AUTH_ANONYMOUS_ENABLED"], environment["GF_AUTH_ANONYMOUS_ORG_ROLE"])
    assert "true" == environment["GF_PLUGINS_PREINSTALL_DISABLED"]  # else it does not start without a network
    assert all(isinstance(value, str) for value in environment.values())


@pytest.mark.skipif(sys.platform == "win32", reason="sh")
def test_grafanas_start_makes_a_password_once_that_only_it_can_read(tmp_path):
    """The words of the compose file, run by a real sh; what the image starts is replaced by a look at the variable."""
    assert ["/bin/sh", "-euc"] == SERVICES["grafana"]["entrypoint"]
    (script,) = SERVICES["grafana"]["command"]
    script = script.replace("$$", "$").replace("/var/lib/grafana", str(tmp_path))
    script = script.replace("/run.sh", "printenv GF_SECURITY_ADMIN_PASSWORD__FILE")
    file = tmp_path / "admin-password"

    def start() -> str:
        result = subprocess.run(["/bin/sh", "-euc", script], capture_output=True, text=True, check=True, timeout=20)
        assert (f"{file}\n", "") == (result.stdout, result.stderr)
        return file.read_text(encoding="ascii")

    first = start()

    assert re.fullmatch(r"[A-Za-z0-9+/]{32}\n", first)  # 24 random bytes
    assert 0o600 == stat.S_IMODE(file.stat().st_mode)
    assert ["admin-password"] == os.listdir(tmp_path)
    assert first == start()
    file.unlink()
    assert first != start()


def test_data_sources_are_those_that_the_dashboards_name():
    sources = read("grafana/provisioning/datasources/otel-perf.yaml")
    by_uid = {source["uid"]: source for source in sources["datasources"]}

    assert {"prometheus", "tempo", "loki"} == by_uid.keys()
    for uid, source in by_uid.items():
        assert uid == source["type"]
        assert f"http://{uid}:{next(iter(LISTENS[uid]))}" == source["url"]
        assert source["editable"] is False
    assert (
        read("prometheus/prometheus.yml")["global"]["scrape_interval"]
        == by_uid["prometheus"]["jsonData"]["timeInterval"]
    )
    assert not {"streamingEnabled", "serviceMap", "tracesToMetrics", "traceQuery"} & by_uid["tempo"]["jsonData"].keys()


def test_a_dollar_of_grafanas_own_is_written_twice():
    text = (DEPLOY / "grafana/provisioning/datasources/otel-perf.yaml").read_text(encoding="utf-8")
    content = "\n".join(line for line in text.splitlines() if not line.startswith("#"))

    assert [] == re.findall(r"(?<!\$)\$(?!\$)", content)


def test_dashboards_are_provisioned_from_where_they_are_mounted():
    (provider,) = read("grafana/provisioning/dashboards/otel-perf.yaml")["providers"]
    targets = {bind["target"]: bind["source"] for bind in binds("grafana")}
    home = SERVICES["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]

    assert "./grafana/dashboards" == targets[provider["options"]["path"]]
    assert "./grafana/provisioning" == targets["/etc/grafana/provisioning"]
    folder, _, name = home.rpartition("/")
    assert provider["options"]["path"] == folder
    assert name.removesuffix(".json") in DASHBOARDS
    assert (DEPLOY / "grafana" / "dashboards" / name).is_file()
