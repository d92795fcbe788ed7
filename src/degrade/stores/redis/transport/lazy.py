"""A link whose library is loaded with its first use, by the thread that uses it.

Loading redis takes longer than everything else that a process does to start. So who configures a
store, and makes the first guarded call, does not wait for it: the I/O worker does.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from degrade.errors import StoreError
from degrade.forks import follow_forks
from degrade.stores.redis.transport.address import Address
from degrade.stores.redis.transport.base import Check, Command, Transacted, Transport

if TYPE_CHECKING:
    from degrade.stores.redis.transport.client import RedisTransport

__all__ = ("LazyTransport",)


class LazyTransport:
    """A `RedisTransport` that is made when it is needed.

    Args:
        address: Where it leads.

    Guarantees:
        A fork waits for a load that is under way: a child could never finish it.
    """

    def __init__(self, address: Address) -> None:
        self._address = address
        self._lock = threading.Lock()
        self._made: RedisTransport | None = None
        self._closed = False
        follow_forks(self)

    @property
    def url(self) -> str:
        return self._address.url

    def read(
        self, key: str, commands: Sequence[Command], *, within_s: float | None = None
    ) -> list[Any]:
        return self._link().read(key, commands, within_s=within_s)

    def transact(
        self,
        keys: Sequence[str],
        checks: Sequence[Check],
        commands: Sequence[Command],
        *,
        deadline: float | None,
    ) -> Transacted:
        return self._link().transact(keys, checks, commands, deadline=deadline)

    def write(self, key: str, commands: Sequence[Command]) -> list[Any]:
        return self._link().write(key, commands)

    def scatter(self, commands: Sequence[Command]) -> list[tuple[Command, StoreError]]:
        return self._link().scatter(commands)

    def listen(
        self, channel: str, hear: Callable[[bytes | None], None], stopping: Callable[[], bool]
    ) -> None:
        self._link().listen(channel, hear, stopping)

    def close(self) -> None:
        with self._lock:
            self._closed = True
            made = self._made
        if made is not None:
            made.close()

    def before_fork(self) -> None:
        self._lock.acquire()

    def after_fork_in_parent(self) -> None:
        self._lock.release()

    def after_fork_in_child(self) -> None:
        self._lock = threading.Lock()

    def _link(self) -> Transport:
        made = self._made
        if made is None:
            with self._lock:
                if self._closed:
                    raise StoreError(f"the store {self.url} is closed")
                if self._made is None:
                    from degrade.stores.redis.transport.client import RedisTransport  # noqa: PLC0415 - see above

                    self._made = RedisTransport(self._address)
                made = self._made
        return made

    def __repr__(self) -> str:
        return f"LazyTransport({self.url!r})"
