"""identify(): an id is given once, to a span that will be there, whatever other threads do at the same time."""

from __future__ import annotations

import contextvars
import sys
import threading

import pytest

from otel_perf import recorder
from otel_perf.recorder import CHILDREN, CLOSED, CURRENT, LIMIT, NEVER, PARENT, ROOT, SPAN


@pytest.fixture(autouse=True)
def recording(monkeypatch):
    """Record as if init() had been called; nobody writes."""
    monkeypatch.setattr(recorder.state, "recording", True)
    monkeypatch.setattr(recorder.state, "startup", None)
    recorder.finished.clear()
    before = CURRENT.set(ROOT)
    yield
    current = CURRENT.get()
    CURRENT.reset(before)  # not set again, if it was not
    recorder.finished.clear()
    assert {} == recorder.open_spans, "every id that was given belongs to a span that has ended"
    assert current is ROOT


@pytest.fixture
def quick_switches():
    """Let the interpreter switch threads as often as it can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def site(name, threshold=3600.0):
    return recorder.site_for(name, name, "function", threshold=threshold)


def ids_of(records):
    return [record[2] for record in records]


def test_an_id_is_given_up_the_chain_to_the_root(recording):
    outer, middle, inner = (recorder.enter(site(name)) for name in ("outer", "middle", "inner"))

    span = recorder.identify(inner)

    assert span is inner[SPAN]
    assert (span.parent_id, middle[SPAN].parent_id) == (middle[SPAN].span_id, outer[SPAN].span_id)
    assert (0, 0, 1, 2) == (outer[SPAN].parent_id, *(frame[SPAN].depth for frame in (outer, middle, inner)))
    assert outer[SPAN].trace is middle[SPAN].trace is inner[SPAN].trace
    for frame in (inner, middle, outer):
        recorder.fail(frame, None)
    assert ["inner", "middle", "outer"] == [record[0].name for record in recorder.finished]


def test_asking_again_gives_the_same_id(recording):
    frame = recorder.enter(site("again"))

    assert recorder.identify(frame).span_id == recorder.identify(frame, forced=False).span_id
    recorder.fail(frame, None)


def test_a_frame_that_ended_without_an_id_answers_with_its_nearest_ancestor(recording):
    outer = recorder.enter(site("outer"))
    ended = recorder.enter(site("ended"))
    recorder.fail(ended, None)

    assert recorder.identify(ended) is outer[SPAN]
    recorder.fail(outer, None)
    assert ["outer"] == [record[0].name for record in recorder.finished]


def test_at_the_root_of_a_context_there_is_no_id_to_give(recording):
    ended = recorder.enter(site("ended"))
    recorder.fail(ended, None)

    assert recorder.identify(ROOT) is None
    assert recorder.identify(ended) is None


def test_without_recording_no_id_is_given(recording, monkeypatch):
    """Else each phase after shutdown() would stand in open_spans for ever."""
    monkeypatch.setattr(recorder.state, "recording", False)
    frame = recorder.enter(site("not recorded", threshold=0.0))

    assert recorder.identify(frame) is None
    recorder.fail(frame, None)
    assert [] == recorder.finished


def test_a_child_of_an_ended_span_is_detached_and_no_part_of_its_self_time(recording):
    parent = recorder.enter(site("parent", threshold=0.0))
    copy = contextvars.copy_context()
    recorder.fail(parent, None)

    def work():
        recorder.fail(recorder.enter(site("child", threshold=0.0)), None)

    copy.run(work)
    first, second = recorder.finished
    assert (first[2], {"otel_perf.detached": True}) == (second[3], second[8])


def interleaved(first, second, at, as_signal=False):
    """Run *second* on another thread, or as a signal handler runs, at the *at*-th call or return inside *first*; say whether there was one.

    The interpreter switches threads at calls and returns only; what waits for a lock goes on when *first* is done.
    """
    thread, seen = threading.Thread(target=contextvars.copy_context().run, args=[second]), 0

    def hook(frame, event, argument):
        nonlocal seen
        seen += 1
        if seen == at and as_signal:
            sys.setprofile(None)
            second()
        elif seen == at:
            thread.start()
            thread.join(0.02)

    sys.setprofile(hook)
    try:
        first()
    finally:
        sys.setprofile(None)
    if seen >= at and not as_signal:
        thread.join()
    return seen >= at


@pytest.mark.parametrize("threshold", [3600.0, 0.0], ids=["fast", "span"])
@pytest.mark.parametrize("first", ["exit", "ask"])
def test_an_id_asked_while_the_call_ends_is_that_of_a_span_or_none(recording, first, threshold):
    """The exit decides that no span is needed, and at the same moment another thread asks: one of both must know."""
    function = site(f"ends meanwhile {threshold}", threshold)
    for _ in range(3):
        recorder.leave(recorder.enter(function), 1e-6)  # no longer the first call
    outcomes = set()
    for at in range(1, 1000):
        recorder.finished.clear()
        frame, asked = recorder.enter(function), []
        steps = [lambda: recorder.leave(frame, 1e-6), lambda: asked.append(recorder.identify(frame))]  # noqa: B023
        if not interleaved(*(steps if first == "exit" else reversed(steps)), at):
            break
        recorder.leave(frame, 1e-6)
        CURRENT.set(ROOT)
        ids = [span.span_id for span in asked if span is not None]
        assert ids == ids_of(recorder.finished)[: len(ids)], f"at event {at}"
        assert len(recorder.finished) <= 1
        outcomes.add(bool(ids))
    recorder.leave(frame, 1e-6)

    assert at > 10
    assert outcomes == ({True, False} if threshold else {True})


@pytest.mark.parametrize("as_signal", [False, True], ids=["thread", "signal"])
@pytest.mark.parametrize("first", ["exit", "cut"])
def test_a_span_that_ends_while_the_start_does_is_recorded_once(recording, first, as_signal):
    function = site("cut", 0.0)
    for at in range(1, 1000):
        recorder.finished.clear()
        frame = recorder.enter(function)
        recorder.identify(frame, forced=False)
        steps = [
            lambda: recorder.leave(frame, 1e-6),  # noqa: B023
            lambda: recorder.cut(frame, function, recorder.now(), {"otel_perf.open": True}),  # noqa: B023
        ]
        more = interleaved(*(steps if first == "exit" else reversed(steps)), at, as_signal)
        recorder.leave(frame, 1e-6)
        CURRENT.set(ROOT)
        ids = ids_of(recorder.finished)
        assert 1 <= len(ids) == len(set(ids)) <= 2, f"at event {at}"
        if not more:
            break

    assert at > 10


@pytest.mark.parametrize("first", ["context", "ask"])
def test_a_context_made_while_the_id_is_asked_does_not_lose_it(recording, first):
    function = site("context")
    for at in range(1, 1000):
        recorder.finished.clear()
        frame, asked, made = recorder.enter(function), [], []
        steps = [lambda: made.append(recorder.state_of(frame)), lambda: asked.append(recorder.identify(frame))]  # noqa: B023
        more = interleaved(*(steps if first == "context" else reversed(steps)), at)
        asked = asked or [recorder.identify(frame)]
        made = made or [recorder.state_of(frame)]
        assert asked == made == [frame[SPAN]], f"at event {at}"
        recorder.leave(frame, 1e-6)
        assert [asked[0].span_id] == ids_of(recorder.finished)
        if not more:
            break


def test_two_threads_that_ask_at_once_get_one_id(recording):
    for at in range(1, 1000):
        outer, inner, found = recorder.enter(site("outer")), recorder.enter(site("inner")), []
        ask = lambda inner=inner, found=found: found.append(recorder.identify(inner).span_id)  # noqa: E731
        done = interleaved(ask, ask, at)
        recorder.fail(inner, None)
        recorder.fail(outer, None)
        records = recorder.drain()
        assert {records[0][2]} == set(found), f"at event {at}"
        assert ["inner", "outer"] == [record[0].name for record in records]
        if not done:
            break

    assert at > 10


def test_no_id_is_given_twice_by_many_threads(recording, quick_switches):
    def work():
        for _ in range(1500):
            outer, inner = recorder.enter(site("outer", 0.0)), recorder.enter(site("inner", 0.0))
            recorder.fail(inner, None)
            recorder.fail(outer, None)

    threads = [threading.Thread(target=contextvars.copy_context().run, args=[work]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    ids = ids_of(recorder.drain())

    assert 2 * 4 * 1500 == len(ids) == len(set(ids))


def test_the_sampler_is_asked_outside_of_the_lock(recording, monkeypatch):
    """It may log, and a log handler of another thread that asks for an id may hold what it needs."""
    other = []

    def slow(trace_id, name):
        if name == "asks":
            frame = contextvars.copy_context()
            thread = threading.Thread(target=frame.run, args=[another])
            thread.start()
            thread.join(5)
            other.append(thread.is_alive())
        return True

    def another():
        frame = recorder.enter(site("another"))
        recorder.identify(frame)
        recorder.fail(frame, None)

    monkeypatch.setattr(recorder.state, "on_root", slow)
    frame = recorder.enter(site("asks"))
    token = CURRENT.set(ROOT)
    recorder.identify(frame)
    CURRENT.reset(token)
    recorder.fail(frame, None)

    assert [False] == other


def test_the_sampler_answers_for_the_whole_trace(recording, monkeypatch):
    asked = []
    monkeypatch.setattr(recorder.state, "on_root", lambda trace_id, name: asked.append(name) or name != "dropped")
    for name in ("kept", "dropped"):
        outer = recorder.enter(site(name, 0.0))
        inner = recorder.enter(site(f"below {name}", 0.0))
        recorder.identify(inner)
        recorder.fail(inner, None)
        recorder.fail(outer, None)

    assert ["kept", "dropped"] == asked
    assert ["below kept", "kept"] == [record[0].name for record in recorder.finished]


def test_the_message_of_an_exception_is_asked_for_outside_of_the_lock(recording):
    class Slow(Exception):
        def __str__(self):
            thread = threading.Thread(target=recorder.identify, args=[ROOT])
            thread.start()
            thread.join(5)
            return "alive" if thread.is_alive() else "ended"

    recorder.fail(recorder.enter(site("failing", 0.0)), Slow())

    assert ("test_recorder_identity", "ended") == (
        recorder.finished[0][9][0].split(".")[-4].rpartition("/")[2],
        recorder.finished[0][9][1],
    )


def test_an_ended_frame_leads_to_no_ended_frames_above_it(recording):
    """Each callback runs in a copy of the context of the one before."""
    context = contextvars.copy_context()
    frames = []

    def callback(threshold):
        frame = recorder.enter(site(f"callback {threshold}", threshold))
        frames.append(frame)
        after = contextvars.copy_context()
        recorder.fail(frame, None)
        return after

    for number in range(300):
        context = context.run(callback, 0.0 if number % 3 else 3600.0)
    length = 0
    frame = context.run(CURRENT.get)
    while frame is not None:
        length, frame = length + 1, frame[PARENT]

    assert length < 5
    assert {True} == {frame[CHILDREN] is CLOSED for frame in frames}
    assert {NEVER} == {frame[LIMIT] for frame in frames[1::3]}


def test_many_children_on_many_threads_never_break_the_self_time(recording, quick_switches):
    parent = recorder.enter(site("parent", 0.0))
    recorder.identify(parent)
    errors = []

    def work():
        try:
            for _ in range(1000):
                recorder.fail(recorder.enter(site("child", 0.0)), None)
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=contextvars.copy_context().run, args=[work]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    recorder.fail(parent, None)
    last = recorder.finished[-1]
    self_time, duration = last[6], last[5] - last[4]

    assert [] == errors
    assert 0.0 <= self_time <= duration
