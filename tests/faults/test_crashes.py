"""Processes that end without a word: what they recorded is on disk, is OTLP, and is sent by whoever comes later.

tests/integration/test_crash.py has the ends that are not here, without an endpoint; test_unfinished.py what was open.
"""

from __future__ import annotations

import os

import pytest

pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals and exec are POSIX")
CRASHES = (
    "SIGKILL",
    "os._exit",
    "SIGTERM, no handler",
    "SIGTERM",
    "execv",
    "segmentation fault",
    "abort",
    "MemoryError, large pieces",
    "MemoryError, small pieces",
)
DEATHS = ("SIGKILL", "os._exit", "segmentation fault", "SIGTERM", "MemoryError")


def test_every_case_is_here(cases):
    assert (list(CRASHES), list(DEATHS)) == (list(cases.CRASHES), list(cases.DEATHS))


@pytest.mark.parametrize("end", [end for end in CRASHES if end.startswith(("segmentation", "MemoryError"))])
def test_a_thousand_spans_survive_what_the_program_did_not_choose(cases, end, tmp_path):
    line, code = cases.CRASHES[end]

    ended = cases.run(cases.crashing() + line, tmp_path)

    left = cases.Left(tmp_path, official=True)
    assert code == ended.code, ended.errors
    assert "otel-perf" not in ended.errors
    assert (cases.SPANS, 0) == (len(set(left.ids())), left.damaged)
    assert cases.SPANS == len(left.ids())
    assert {"startup", "CoreInit"} <= {name for _, name in left.spans}


@pytest.mark.parametrize("end", CRASHES)
def test_a_thousand_spans_wait_in_the_folder_for_whoever_sends_them(cases, end, tmp_path, receiver):
    """The folder is the spool: the collector is dead when the process crashes, and a replay delivers each span once."""
    line, code = cases.CRASHES[end]

    ended = cases.run(cases.crashing() + line, tmp_path, **cases.sending(cases.DEAD))

    left = cases.Left(tmp_path, official=True)
    assert code == ended.code, ended.errors
    assert (cases.SPANS, 0) == (len(left.ids()), left.damaged)
    there = receiver()
    replayed = cases.replay(tmp_path, there.http)
    assert (0, "") == (replayed.returncode, replayed.stderr)
    assert sorted(one for one, _ in left.spans) == sorted(span["span_id"] for span in there.spans())
    assert cases.SPANS == len(set(cases.received(there)))


def test_a_torn_last_line_costs_itself_and_readers_count_it(cases, tmp_path, receiver):
    """As after a power failure: the file system has kept a part of what was written last."""
    line, _ = cases.CRASHES["SIGKILL"]
    cases.run(cases.crashing() + line, tmp_path, **cases.sending(cases.DEAD))
    (file,) = tmp_path.glob(".otel-perf/*/*/traces.jsonl")
    whole = file.read_bytes()
    last = whole.rstrip(b"\n").rindex(b"\n") + 1
    file.write_bytes(whole[: (last + len(whole)) // 2])

    left = cases.Left(tmp_path, official=True)
    report = cases.command(tmp_path, "report")
    doctor = cases.command(tmp_path, "doctor")
    there = receiver()
    replayed = cases.replay(tmp_path, there.http)

    kept = left.ids()
    assert 1 == left.damaged
    assert cases.SPANS - 250 <= len(kept) < cases.SPANS
    assert report.stderr.startswith("otel-perf report: skipped 1 damaged line (torn at the end) in "), report.stderr
    assert "step" in report.stdout
    assert "1 damaged line in the newest run, skipped (torn at the end)" in " ".join(doctor.stdout.split())
    assert "otel-perf replay: skipped what is damaged: 1 line or record (torn at the end)\n" == replayed.stderr
    assert sorted(kept) == sorted(cases.received(there))


@pytest.mark.parametrize("death", DEATHS)
def test_a_process_that_dies_in_its_start_is_reported_with_phase_import_and_line(cases, death, tmp_path, receiver):
    """Also where an endpoint is set: what it had recorded is sent by the next one, or by hand."""
    line, code = cases.DEATHS[death]
    (tmp_path / "dies.py").write_text(cases.DIES.format(how=line))

    ended = cases.run(cases.DEATH, tmp_path, **cases.sending(cases.DEAD))

    assert code == ended.code, ended.errors
    report = " ".join(cases.command(tmp_path, "report").stdout.split())
    assert "Plugins" in report
    assert "import dies" in report
    assert "dies.py:2" in report
    if code not in (1, -15):  # else the process itself has told its end
        assert "unfinished: Plugins > import dies at dies.py:2" in report
    assert 1 == cases.command(tmp_path, "check").returncode
    there = receiver()
    assert 0 == cases.replay(tmp_path, there.http).returncode
    written = sorted(one for one, _ in cases.Left(tmp_path, official=True).spans)
    assert written == sorted(span["span_id"] for span in there.spans())
    assert {"PreInit", "CoreInit", "step"} <= {span["name"] for span in there.spans()}
