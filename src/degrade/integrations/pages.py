"""Pages of our own: made at most once a second, and never on an event loop.

    asker ──┐                      ┌── what was made within the last second
    asker ──┼── Page.ask ── any? ──┤
    asker ──┘                      └── one maker, in a thread, for all who ask meanwhile

A page is open to the network and costs milliseconds for a hundred flags, so its cost must not grow
with how often it is asked for.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Final, TypeVar

__all__ = ("Made", "Page", "awaited", "started")

T = TypeVar("T")

Made = tuple[int, bytes, str]
"""Status, body and content type."""

FRESH_S: Final = 1.0
MAX_VARIANTS: Final = 4
"""Variants kept at a time: clients may ask for as many formats as they can think of."""


class _Variant:
    __slots__ = ("future", "until")

    future: Future[Made]

    def __init__(self) -> None:
        self.until = math.inf


class Page:
    """One page in a few variants, such as formats.

    Args:
        make: Makes a variant; what it raises reaches everybody who asked for it.
        now: Monotonic clock, seconds.
    """

    def __init__(self, make: Callable[[str], Made], now: Callable[[], float]) -> None:
        self._make = make
        self._now = now
        self._lock = threading.Lock()
        self._making = threading.Lock()
        self._of: object = None
        self._variants: dict[str, _Variant] = {}

    def ask(self, variant: str = "", *, of: object = None) -> Future[Made]:
        """Return the page as it was made within the last second, is being made, or is made now.

        Args:
            variant: Which one; `""` is answered where there are too many of others.
            of: What it shows; a page of another thing is another page.

        Cost:
            A look-up; a thread at most once a second for each of a few variants, one at a time.
        """
        with self._lock:
            if of is not self._of:
                self._of, self._variants = of, {}
            now = self._now()
            known = self._variants = {
                name: each for name, each in self._variants.items() if now < each.until
            }
            if variant not in known and len(known) >= MAX_VARIANTS:
                variant = ""
            if variant not in known:
                new = known[variant] = _Variant()
                new.future = started(lambda: self._made(variant, new))
            return known[variant].future

    def _made(self, variant: str, entry: _Variant) -> Made:
        with self._making:
            try:
                return self._make(variant)
            finally:
                entry.until = self._now() + FRESH_S


def started(do: Callable[[], T]) -> Future[T]:
    """Do something in a thread of its own; here and now where no thread can be started.

    The executor of an event loop would not do: it may be full of the application's waiting calls.
    """
    future: Future[T] = Future()
    future.set_running_or_notify_cancel()  # else one asker that leaves would cancel it for all

    def run() -> None:
        try:
            result = do()
        except BaseException as error:  # noqa: BLE001 - it belongs to those who wait
            future.set_exception(error)
        else:
            future.set_result(result)

    try:
        threading.Thread(target=run, name="degrade-page", daemon=True).start()
    except RuntimeError:
        run()
    return future


async def awaited(future: Future[T]) -> T:
    """Return the result of a future; a loop other than asyncio's waits for it as a whole."""
    from asyncio import get_running_loop, wrap_future  # noqa: PLC0415 - slow to import

    try:
        get_running_loop()
    except RuntimeError:
        return future.result()
    return await wrap_future(future)
