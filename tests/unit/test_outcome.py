"""What became of a request: what is said of it, and what of it counts."""

from __future__ import annotations

import pytest

from otel_perf.export.endpoint import Target
from otel_perf.export.follow import as_json
from otel_perf.export.follow.outcome import LONGEST_REASON, Outcome, retry_after, why
from otel_perf.export.otlp_json import log_line, scope

TOKEN = "eyJhbGciOiJIUzI1NiJ9." + "SECRET0123456789" * 30


@pytest.mark.parametrize("before", [0, 20, LONGEST_REASON - 20, LONGEST_REASON])
@pytest.mark.parametrize("error", [None, ValueError, RuntimeError])
def test_a_secret_that_is_longer_than_the_reason_is_hidden_whole(before, error):
    target = Target("traces", "http://127.0.0.1:4318/v1/traces", headers={"authorization": f"Bearer {TOKEN}"})
    said = "x" * before + f" {TOKEN} is wrong"
    outcome = Outcome("refused", said if error is None else why(error(said)))

    outcome.hide(target.hide)

    assert TOKEN[:10] not in outcome.reason
    assert len(outcome.reason) <= LONGEST_REASON


@pytest.mark.parametrize(
    ("body", "rejected"),
    [
        (b'{"partialSuccess":{"rejectedSpans":"3"}}', 3),
        (b'{"partialSuccess":{"rejectedSpans":-5}}', 0),
        (b'{"partialSuccess":{"rejectedSpans":1e999}}', 0),
        (b'{"partialSuccess":[]}', 0),
        (b"thanks", 0),
    ],
)
def test_an_answer_of_success_is_one_whatever_it_says_of_rejected_records(body, rejected):
    found = as_json._partial("traces", body)

    assert ("sent", rejected) == (found.kind, found.rejected)


def test_an_event_without_a_body_is_a_log_record_too():
    events = [("otel_perf.process.ended", 10**18, 9, 0, 0, {"otel_perf.end": "exit"}, text) for text in ("", "over")]

    assert 2 == as_json.count("logs", log_line("", scope("otel_perf", "0"), events))


@pytest.mark.parametrize(
    ("value", "wait"), [("7", 7.0), ("0", 0.0), ("Wed, 21 Oct 2015 07:28:00 GMT", 0.0), ("soon", None)]
)
def test_seconds_and_dates_say_how_long_to_wait(value, wait):
    assert wait == retry_after(value)
