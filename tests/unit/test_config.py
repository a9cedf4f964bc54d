"""Settings: who wins, what is refused, and that a bad value costs one sentence and the default."""

from __future__ import annotations

import math
import os

import pytest

from otel_perf import config


def load(tmp_path, arguments=None, environ=None, **files):
    for name, text in files.items():
        (tmp_path / name.replace("_", "-").replace("-toml", ".toml")).write_text(text)
    return config.load(arguments or {}, environ or {}, str(tmp_path))


def test_argument_wins_over_environment_over_file(tmp_path):
    file = {"otel_perf_toml": 'service = "file"\nversion = "file"\nfolder = "file"'}
    environ = {"OTEL_SERVICE_NAME": "environment", "OTEL_PERF_VERSION": "environment"}

    settings = load(tmp_path, {"service": "argument"}, environ, **file)

    assert ("argument", "environment", "file") == (settings.service, settings.version, settings.folder)
    assert {"service": "argument", "version": "OTEL_PERF_VERSION", "folder": "otel-perf.toml"} == settings.sources


def test_own_file_wins_over_pyproject(tmp_path):
    both = {"otel_perf_toml": 'service = "own"', "pyproject_toml": '[tool.otel-perf]\nservice = "project"'}

    assert "own" == load(tmp_path, **both).service


def test_pyproject_table_is_read(tmp_path):
    settings = load(tmp_path, pyproject_toml='[tool.otel-perf]\nphases = ["Boot", "Serve"]\nimport_threshold = "1ms"')

    assert (("Boot", "Serve"), 0.001) == (settings.phases, settings.import_threshold)


def test_an_empty_variable_is_unset(tmp_path):
    assert 0.005 == load(tmp_path, environ={"OTEL_PERF_IMPORT_THRESHOLD": ""}).import_threshold


@pytest.mark.parametrize("key", [row[0] for row in config.TABLE])
@pytest.mark.parametrize("empty", ["", " ", "\t"])
def test_what_is_empty_is_unset_wherever_it_stands(tmp_path, key, empty):
    variable, default = next((row[1], row[3]) for row in config.TABLE if row[0] == key)

    settings = load(tmp_path, {key: empty}, {variable: empty}, otel_perf_toml=f'{key} = "{empty}"')

    assert (default, {}, []) == (getattr(settings, key), settings.sources, settings.complaints)


@pytest.mark.parametrize("key", ["import_threshold", "folder_limit", "keep_runs"])
def test_a_number_without_bounds_costs_its_setting_only(tmp_path, key):
    settings = load(tmp_path, otel_perf_toml=f"{key} = {'9' * 400}\nservice = 'shop'")

    assert "shop" == settings.service
    assert len(settings.complaints) == (key != "keep_runs")  # which may be as large as it likes


def test_a_bad_value_is_named_once_and_the_default_taken(tmp_path):
    settings = load(tmp_path, environ={"OTEL_PERF_IMPORT_THRESHOLD": "soon"})

    assert 0.005 == settings.import_threshold
    (complaint,) = settings.complaints
    assert complaint.startswith("OTEL_PERF_IMPORT_THRESHOLD: ")
    assert "'soon'" in complaint
    assert complaint.endswith("taking 0.005")


def test_a_bad_argument_leaves_the_environment_its_turn(tmp_path):
    settings = load(tmp_path, {"phases": 7}, {"OTEL_PERF_PHASES": "A, B"})

    assert ("A", "B") == settings.phases
    assert 1 == len(settings.complaints)


def test_a_broken_file_and_an_unknown_key_are_named(tmp_path):
    assert "otel-perf.toml" in load(tmp_path, otel_perf_toml="x = [").complaints[0]
    assert "'servise' is no setting" in load(tmp_path, otel_perf_toml='servise = "x"').complaints[0]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"\xff\xfe", "otel-perf.toml: 'utf-8' codec can't decode"),
        (b"x = " + b"[" * 100_000, "otel-perf.toml: maximum recursion depth exceeded"),
        (b"x = 1\nx = 2", "otel-perf.toml: Cannot overwrite a value"),
        (b"#" * 1_000_001, "otel-perf.toml: longer than 1 MB; taking no setting from it"),
    ],
)
def test_a_file_that_cannot_be_read_as_toml_is_named_and_the_next_one_counts(tmp_path, content, said):
    (tmp_path / "otel-perf.toml").write_bytes(content)

    settings = load(tmp_path, pyproject_toml='[tool.otel-perf]\nservice = "project"')

    assert "project" == settings.service
    (complaint,) = settings.complaints
    assert complaint.startswith(said)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="only where pipes have names")
def test_a_pipe_in_place_of_the_file_is_named_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "otel-perf.toml")
    os.mkfifo(tmp_path / "pyproject.toml")

    assert ["otel-perf.toml: not a regular file; taking no setting from it"] == load(tmp_path).complaints


def test_a_folder_in_place_of_the_file_is_named(tmp_path):
    (tmp_path / "otel-perf.toml").mkdir()

    (complaint,) = load(tmp_path).complaints

    assert complaint.startswith("otel-perf.toml: Is a directory")


def test_what_is_known_better_takes_the_place_of_what_was_said_before(tmp_path):
    settings = load(tmp_path, environ={"OTEL_PERF_KEEP_RUNS": "many"})

    settings.complain(["A: wrong", "B: wrong"])
    settings.complain(["A: quite wrong", "A: twice"])

    assert ["OTEL_PERF_KEEP_RUNS", "B", "A", "A"] == [text.partition(":")[0] for text in settings.complaints]
    assert ["A: quite wrong", "A: twice"] == settings.complaints[2:]


@pytest.mark.parametrize(
    ("name", "other"),
    [
        ("OTEL_BSP_MAX_QUEUE_SIZE", True),
        ("OTEL_PERF_KEEP_RUN", True),
        ("OTEL_PERF_KEEP_RUNS", False),
        ("OTEL_PERF_RUN", False),
        ("OTELCOL", False),
        ("HOME", False),
    ],
)
def test_only_what_is_no_setting_of_ours_has_the_other_table_loaded(name, other):
    assert other is config.others({name: "1"})
    assert config.others({name: ""}) is False


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("100ms", 0.1),
        ("1.5 s", 1.5),
        ("250us", 0.00025),
        ("250µs", 0.00025),
        ("2min", 120.0),
        (3, 3.0),
        ("0.5", 0.5),
        ("7d", 604800.0),
    ],
)
def test_durations_carry_a_unit_or_are_seconds(value, expected):
    assert expected == pytest.approx(config.seconds(value))


@pytest.mark.parametrize("value", ["", "fast", "10 parsecs", -1, math.nan, "-5ms"])
def test_what_is_no_duration_is_a_value_error(value):
    with pytest.raises(ValueError, match="duration must be 0 or more"):
        config.seconds(value)


@pytest.mark.parametrize("value", [None, True, [], {}])
def test_a_duration_of_another_type_is_a_type_error_naming_it(value):
    with pytest.raises(TypeError, match=type(value).__name__):
        config.seconds(value)


@pytest.mark.parametrize(("value", "expected"), [("150MB", 150_000_000), ("1 MiB", 2**20), ("1GB", 10**9), (5, 5)])
def test_sizes_are_decimal_or_binary_by_their_unit(value, expected):
    assert expected == config.size(value)


@pytest.mark.parametrize("value", ["150 apples", -1, math.inf])
def test_what_is_no_size_is_a_value_error(value):
    with pytest.raises(ValueError, match="size must be 0 or more"):
        config.size(value)


@pytest.mark.parametrize("value", [[], ["A", "A"], ["A", ""], ""])
def test_phases_without_names_or_with_doubles_are_refused(value):
    with pytest.raises(ValueError, match="at least one name"):
        config.names(value)


@pytest.mark.parametrize(("text", "expected"), [("TRUE", True), ("true", True), ("False", False), (" false ", False)])
def test_an_otel_boolean_is_true_or_false(text, expected):
    assert expected is config.otel_boolean(text)


@pytest.mark.parametrize("text", ["1", "yes", "on", "0", "True!"])
def test_an_otel_boolean_of_another_word_is_false_and_named(tmp_path, text):
    """The specification: false by anything else than true, and a warning where it is not false."""
    settings = load(tmp_path, environ={"OTEL_SDK_DISABLED": text})

    assert settings.disabled is False
    assert [f"OTEL_SDK_DISABLED: disabled: write true or false, got {text!r}; taking false"] == settings.complaints


def test_every_setting_has_a_variable_of_its_own_and_a_meaning():
    keys, variables = [row[0] for row in config.TABLE], [row[1] for row in config.TABLE]

    assert len(keys) == len(set(keys))
    assert len(variables) == len(set(variables))
    assert all(row[4] for row in config.TABLE)


@pytest.mark.parametrize(
    ("orig", "argv", "expected"),
    [
        (["python", "app.py"], ["app.py"], "app"),
        (["python", "-m", "http.server"], ["-m"], "http.server"),
        (["python", "-c", "pass"], ["-c"], "python"),
        (["/venv/bin/python", "/venv/bin/flask", "run"], ["/venv/bin/flask", "run"], "flask"),
        (["python", "-X", "dev", "tool.pyz", "-m", "x"], ["tool.pyz", "-m", "x"], "tool"),
        (["python"], [""], "python"),
    ],
)
def test_a_program_is_named_by_its_script_or_module(monkeypatch, orig, argv, expected):
    monkeypatch.setattr(config.sys, "orig_argv", orig)
    monkeypatch.setattr(config.sys, "argv", argv)

    assert expected == config.program_name()
