"""The queues of a flag: what is cut off is neither lost nor seen twice."""

from __future__ import annotations

from degrade.core.enums import Outcome
from degrade.runtime.monitoring.call_recorder import CallRecorder, EndedCall, missing


def test_a_drain_takes_all_that_is_there_and_leaves_nothing():
    recorder = CallRecorder()
    assert recorder.empty
    for i in range(3):
        recorder.started.append(float(i))
    recorder.ended.extend((0.0, 0.5))
    recorder.marked.append(EndedCall(1.0, 1.5, Outcome.FAILURE))
    assert not recorder.empty
    batch = recorder.drain()
    assert batch == ([0.0, 1.0, 2.0], [0.0, 0.5], [EndedCall(1.0, 1.5, Outcome.FAILURE)])
    assert recorder.empty
    assert recorder.drain() == ([], [], [])


def test_what_comes_after_a_drain_is_in_the_next_one():
    recorder = CallRecorder()
    started, ended = recorder.started, recorder.ended
    recorder.drain()
    started.append(1.0)
    ended.extend((1.0, 2.0))
    assert recorder.drain() == ([1.0], [1.0, 2.0], []), "the lists that calls hold stay the same"


def test_missing_is_the_difference_of_multisets():
    assert missing([], []) == []
    assert missing([3.0, 1.0, 2.0], []) == [1.0, 2.0, 3.0]
    assert missing([1.0, 1.0, 2.0], [1.0]) == [1.0, 2.0]
    assert missing([1.0], [0.0, 1.0, 1.0, 5.0]) == []
    assert missing([2.0, 4.0], [1.0, 3.0, 5.0]) == [2.0, 4.0]


def test_missing_finds_the_one_among_very_many():
    started = [float(i) for i in range(100_000)]
    ended = started[:70_123] + started[70_124:]
    assert missing(started[::-1], ended[::-1]) == [70_123.0]
