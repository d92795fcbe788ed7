from __future__ import annotations

import threading
import time

import pytest

from degrade.clock import Clock, ManualClock, SystemClock


def test_the_system_clock_is_the_clock_of_the_operating_system() -> None:
    clock: Clock = SystemClock()
    before = time.monotonic(), time.time()
    read = clock.monotonic(), clock.wall()
    after = time.monotonic(), time.time()
    assert before[0] <= read[0] <= after[0]
    assert before[1] <= read[1] <= after[1]


def test_the_system_clock_binds_the_builtins_so_that_a_call_costs_no_python_frame() -> None:
    assert SystemClock().monotonic is time.monotonic
    assert SystemClock().wall is time.time


def test_a_manual_clock_stands_still_until_it_is_advanced() -> None:
    clock = ManualClock(monotonic_s=5, wall_s=50)
    assert [clock.monotonic(), clock.monotonic()] == [5, 5]
    clock.advance(2.5)
    assert (clock.monotonic(), clock.wall()) == (7.5, 52.5)
    clock.advance(0)
    assert (clock.monotonic(), clock.wall()) == (7.5, 52.5)


def test_a_manual_clock_never_goes_back() -> None:
    clock = ManualClock()
    with pytest.raises(ValueError, match=r"cannot go back by -1 s"):
        clock.advance(-1)
    assert clock.monotonic() == ManualClock().monotonic()


@pytest.mark.parametrize("step_s", [3_600, -3_600])
def test_the_wall_clock_can_jump_alone(step_s: float) -> None:
    clock = ManualClock(monotonic_s=5, wall_s=50_000)
    clock.jump_wall(step_s)
    assert (clock.monotonic(), clock.wall()) == (5, 50_000 + step_s)


def test_a_manual_clock_loses_no_advance_of_any_thread() -> None:
    clock = ManualClock(monotonic_s=0, wall_s=0)
    threads = [
        threading.Thread(target=lambda: [clock.advance(1) for _ in range(2_000)]) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (clock.monotonic(), clock.wall()) == (8_000, 8_000)


def test_clocks_show_themselves_in_one_line() -> None:
    assert repr(SystemClock()) == "SystemClock()"
    assert repr(ManualClock(1, 2)) == "ManualClock(monotonic_s=1, wall_s=2)"
