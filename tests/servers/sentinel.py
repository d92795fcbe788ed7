"""A primary, its replicas, and three sentinels that watch them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from types import TracebackType
from typing import Self

from tests.servers.redis_server import RedisError, RedisServer
from tests.servers.waiting import until

__all__ = ("SentinelTrio",)

DOWN_AFTER_S = 1.0


class SentinelTrio:
    """A service `name` that three sentinels (quorum two) keep available.

    A primary that does not answer for a second is replaced by a replica.
    """

    def __init__(self, *, name: str = "fleet", replicas: int = 1, patience_s: float = 20.0) -> None:
        quick = {"repl-diskless-sync-delay": "0", "repl-ping-replica-period": "1"}
        self.name = name
        self._patience_s = patience_s
        self._stack = contextlib.ExitStack()
        first = RedisServer(config=quick)
        follow = quick | {"replicaof": f"{first.host} {first.port}"}
        self.servers = [first, *(RedisServer(config=follow) for _ in range(replicas))]
        watch = [
            f"monitor {name} {first.host} {first.port} 2",
            f"down-after-milliseconds {name} {int(DOWN_AFTER_S * 1000)}",
            f"failover-timeout {name} 1500",
            f"parallel-syncs {name} 1",
        ]
        self.sentinels = [
            RedisServer(
                config={"sentinel": "\n".join(watch)},
                mode=("--sentinel",),
            )
            for _ in range(3)
        ]

    @property
    def addresses(self) -> list[str]:
        """Return where the sentinels listen."""
        return [f"{sentinel.host}:{sentinel.port}" for sentinel in self.sentinels]

    @property
    def url(self) -> str:
        """Return what `degrade.configure(store=...)` takes."""
        return f"redis+sentinel://{','.join(self.addresses)}/{self.name}/0"

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as stack:
            for server in (*self.servers, *self.sentinels):
                stack.enter_context(server)
            until(self._watched, within_s=self._patience_s, what="sentinels that know each other")
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.close()

    def logs(self) -> dict[str, str]:
        kinds = (("redis-server", self.servers), ("sentinel", self.sentinels))
        return {f"{kind} {one.port}": one.log() for kind, some in kinds for one in some}

    # ------------------------------------------------------------------ who serves

    def primary_port(self) -> int:
        """Return the port of the primary by the word of the first sentinel that runs."""
        for sentinel in self._awake():
            answer = sentinel.cli("SENTINEL", "get-master-addr-by-name", self.name)
            return int(answer.splitlines()[1])
        raise RuntimeError("no sentinel runs")

    @property
    def primary(self) -> RedisServer:
        port = self.primary_port()
        return next(server for server in self.servers if server.port == port)

    @property
    def replicas(self) -> list[RedisServer]:
        port = self.primary_port()
        return [server for server in self.servers if server.port != port]

    def failover(self) -> RedisServer:
        """Have the sentinels move the primary, and return the new one once all three name it."""
        before = self.primary
        # right after a failover they refuse the next one for a moment
        until(self._asked_to_move, within_s=self._patience_s, what="a failover that may begin")
        return self.await_other_than(before)

    def await_other_than(self, old: RedisServer) -> RedisServer:
        """Wait until every sentinel names another primary, which takes writes, and return it."""

        def moved() -> RedisServer | None:
            ports = {
                int(sentinel.cli("SENTINEL", "get-master-addr-by-name", self.name).split()[1])
                for sentinel in self._awake()
            }
            if len(ports) != 1 or old.port in ports:
                return None
            new = next(server for server in self.servers if server.port in ports)
            return new if new.info("replication")["role"] == "master" else None

        new = until(moved, within_s=self._patience_s, what="a failover")
        assert new is not None
        return new

    # ------------------------------------------------------------------ inside

    def _awake(self) -> Iterator[RedisServer]:
        return (one for one in self.sentinels if one.running and not one.frozen)

    def _asked_to_move(self) -> bool:
        try:
            next(self._awake()).cli("SENTINEL", "FAILOVER", self.name)
        except RedisError:
            return False
        return True

    def _watched(self) -> bool:
        """Say whether every sentinel knows both others and every replica, and those are synced."""
        for sentinel in self.sentinels:
            told = sentinel.cli("SENTINEL", "master", self.name).splitlines()
            known = dict(zip(told[::2], told[1::2], strict=False))
            if known.get("num-other-sentinels") != "2":
                return False
            if known.get("num-slaves") != str(len(self.servers) - 1):
                return False
        links = [server.info("replication") for server in self.servers[1:]]
        return all(link.get("master_link_status") == "up" for link in links)
