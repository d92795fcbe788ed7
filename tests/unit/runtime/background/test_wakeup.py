from __future__ import annotations

import threading

from degrade.runtime.background.wakeup import Wakeup


def test_a_ring_is_remembered_until_it_is_heard_once():
    bell = Wakeup()
    bell.ring()
    bell.ring()
    assert bell.wait(0)
    assert not bell.wait(0)


def test_a_ring_wakes_who_waits():
    bell = Wakeup()
    heard = []
    waiting = threading.Thread(target=lambda: heard.append(bell.wait(30)))
    waiting.start()
    bell.ring()
    waiting.join(30)
    assert heard == [True]


def test_rings_from_many_threads_are_one_ring_and_raise_nothing():
    bell = Wakeup()
    ringing = [threading.Thread(target=bell.ring) for _ in range(16)]
    for thread in ringing:
        thread.start()
    for thread in ringing:
        thread.join()
    assert bell.wait(0)
    assert not bell.wait(0)
