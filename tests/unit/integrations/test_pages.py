"""Pages that cost the same however often they are asked for."""

from __future__ import annotations

import asyncio
import threading

import pytest
import trio

from degrade.integrations.pages import FRESH_S, MAX_VARIANTS, Page, awaited, started


class Maker:
    """Makes pages that say how often it was asked; a test may hold it back."""

    def __init__(self) -> None:
        self.made: list[str] = []
        self.going = threading.Event()
        self.going.set()
        self.error: Exception | None = None

    def __call__(self, variant: str) -> tuple[int, bytes, str]:
        self.made.append(variant)
        assert self.going.wait(10)
        if self.error is not None:
            raise self.error
        return 200, b"%d" % len(self.made), variant


@pytest.fixture
def make():
    return Maker()


@pytest.fixture
def page(make, clock):
    return Page(make, clock.monotonic)


def test_a_page_is_made_once_a_second(page, make, clock):
    for _ in range(100):
        assert page.ask().result(10) == (200, b"1", "")
        clock.advance(FRESH_S / 100 - 1e-9)
    clock.advance(FRESH_S / 100)
    assert page.ask().result(10) == (200, b"2", "")
    assert len(make.made) == 2


def test_all_who_ask_while_it_is_made_get_the_same_however_long_it_takes(page, make, clock):
    make.going.clear()
    asked = [page.ask() for _ in range(10)]
    clock.advance(60)
    asked += [page.ask() for _ in range(10)]
    make.going.set()
    assert {future.result(10) for future in asked} == {(200, b"1", "")}
    clock.advance(FRESH_S / 2)
    assert page.ask().result(10)[1] == b"1", "the second begins when it was made"


def test_a_page_that_cannot_be_made_is_tried_again_after_a_second(page, make, clock):
    make.error = LookupError("bug")
    for _ in range(3):
        with pytest.raises(LookupError, match="bug"):
            page.ask().result(10)
    assert len(make.made) == 1
    make.error = None
    clock.advance(FRESH_S)
    assert page.ask().result(10)[0] == 200


def test_variants_are_made_one_at_a_time_and_are_few(page, make):
    make.going.clear()
    asked = {f"format {n}": page.ask(f"format {n}") for n in range(50)}
    assert len(make.made) <= 1
    make.going.set()
    answers = {name: future.result(10)[2] for name, future in asked.items()}
    kept = [f"format {n}" for n in range(MAX_VARIANTS)]
    assert answers == {name: name if name in kept else "" for name in asked}
    assert sorted(make.made) == ["", *kept]


def test_what_another_source_shows_is_another_page(page):
    one, other = object(), object()
    assert page.ask(of=one).result(10)[1] == b"1"
    assert page.ask(of=one).result(10)[1] == b"1"
    assert page.ask(of=other).result(10)[1] == b"2"


def test_where_no_thread_can_be_started_the_page_is_made_at_once(page, monkeypatch):
    def refuse(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    assert page.ask().done()
    assert page.ask().result()[0] == 200


def test_one_who_leaves_takes_the_page_from_nobody(page, make):
    make.going.clear()

    async def main() -> bytes:
        leaving = asyncio.create_task(awaited(page.ask()))
        staying = asyncio.create_task(awaited(page.ask()))
        await asyncio.sleep(0)
        leaving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await leaving
        make.going.set()
        return (await staying)[1]

    assert asyncio.run(main()) == b"1"


def test_the_loop_goes_on_while_a_page_is_made(page, make):
    make.going.clear()

    async def main() -> bytes:
        waiting = asyncio.create_task(awaited(page.ask()))
        await asyncio.sleep(0)
        make.going.set()  # had the loop waited, nobody would have set it
        return (await waiting)[1]

    assert asyncio.run(main()) == b"1"


@pytest.mark.parametrize("error", [None, LookupError("bug")])
def test_another_loop_than_asyncios_gets_its_pages_too(page, make, error):
    make.error = error

    async def main() -> bytes:
        return (await awaited(page.ask()))[1]

    if error is None:
        assert trio.run(main) == b"1"
    else:
        with pytest.raises(LookupError, match="bug"):
            trio.run(main)


def test_what_a_thread_raises_reaches_the_one_who_waits():
    def interrupt() -> None:
        raise SystemExit(3)

    with pytest.raises(SystemExit):
        started(interrupt).result(10)
