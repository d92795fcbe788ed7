"""What the tests of links share: a listener, and a stopwatch."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest

from degrade.errors import StoreError
from degrade.stores.redis.transport.client import RedisTransport
from tests.servers.waiting import until

SLACK_S = 0.25
"""What a busy machine may add to a limit."""


class Listener:
    """Listens in a thread of its own, and remembers what was heard."""

    def __init__(self, link: RedisTransport, channel: str = "hint") -> None:
        self.heard: list[bytes | None] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(
            target=link.listen, args=(channel, self.heard.append, self._stop.is_set), daemon=True
        )
        self._thread.start()

    def subscriptions(self) -> int:
        return self.heard.count(None)

    def await_subscription(self, number: int = 1, *, within_s: float = 10.0) -> None:
        until(lambda: self.subscriptions() >= number, within_s=within_s, what="a subscription")

    def await_message(self, text: bytes) -> None:
        until(lambda: text in self.heard, what=f"the message {text!r}")

    def stop(self) -> None:
        self._stop.set()
        self.join()

    def join(self) -> None:
        self._thread.join(5)
        assert not self._thread.is_alive()


def took_s(doing: Callable[[], object]) -> float:
    """Return how long something takes that fails with a `StoreError`."""
    begin = time.monotonic()
    with pytest.raises(StoreError):
        doing()
    return time.monotonic() - begin
