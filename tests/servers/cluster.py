"""A Redis Cluster of six nodes: three primaries, each with a replica."""

from __future__ import annotations

import contextlib
import subprocess
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from tests.servers.binaries import find_redis
from tests.servers.redis_server import RedisError, RedisServer
from tests.servers.waiting import until

__all__ = ("Cluster", "Node")

NODE_TIMEOUT_S = 1.5
_PRIMARIES = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """What the cluster says of one of its nodes."""

    id: str
    server: RedisServer
    primary: bool
    failed: bool
    slots: tuple[range, ...]


class Cluster:
    """Six nodes that redis-cli joins; a primary silent for 1.5 s is replaced by its replica."""

    def __init__(self, *, patience_s: float = 30.0) -> None:
        self._patience_s = patience_s
        self._stack = contextlib.ExitStack()
        self.servers = [
            RedisServer(
                bus=True,
                config={
                    "cluster-enabled": "yes",
                    "cluster-node-timeout": str(int(NODE_TIMEOUT_S * 1000)),
                    "repl-diskless-sync-delay": "0",
                    "repl-ping-replica-period": "1",
                },
            )
            for _ in range(2 * _PRIMARIES)
        ]

    @property
    def addresses(self) -> list[str]:
        return [f"{server.host}:{server.port}" for server in self.servers]

    @property
    def url(self) -> str:
        """Return what `degrade.configure(store=...)` takes."""
        return f"redis+cluster://{','.join(self.addresses)}"

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as stack:
            for server in self.servers:
                stack.enter_context(server)
            self._join()
            until(self.healthy, within_s=self._patience_s, what="a healthy cluster")
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
        return {f"node {server.port}": server.log() for server in self.servers}

    # ------------------------------------------------------------------ who serves what

    def healthy(self) -> bool:
        """Say whether all nodes that run agree on three primaries for all slots, with replicas."""
        awake = self._awake()
        for server in awake:
            if server.info("replication").get("master_link_status", "up") != "up":
                return False
            if "cluster_state:ok" not in server.cli("CLUSTER", "INFO"):
                return False
            seen = [node for node in self.nodes(server) if node.server in awake]
            if len(seen) != len(awake) or any(node.failed for node in seen):
                return False
            primaries = [node for node in seen if node.primary]
            if len(primaries) != _PRIMARIES or not all(node.slots for node in primaries):
                return False
        return True

    def nodes(self, told_by: RedisServer | None = None) -> list[Node]:
        """Return the nodes as one of them, the first that runs unless given, sees them."""
        teller = told_by or self._awake()[0]
        by_port = {server.port: server for server in self.servers}
        return [
            _node(line.split(), by_port) for line in teller.cli("CLUSTER", "NODES").splitlines()
        ]

    def slot_of(self, key: str) -> int:
        return int(self._awake()[0].cli("CLUSTER", "KEYSLOT", key))

    def node_of(self, key: str) -> Node:
        """Return the primary that serves a key's slot."""
        slot = self.slot_of(key)
        return next(
            node
            for node in self.nodes()
            if node.primary and any(slot in some for some in node.slots)
        )

    # ------------------------------------------------------------------ what befalls it

    def kill_node_of(self, key: str) -> RedisServer:
        """Kill (SIGKILL) the primary that serves a key's slot, and return it."""
        server = self.node_of(key).server
        server.kill()
        return server

    def await_takeover(self, key: str, old: RedisServer) -> RedisServer:
        """Wait until another node serves a key's slot and answers for it, and return it."""

        def taken() -> RedisServer | None:
            try:
                node = self.node_of(key)
                if node.failed or node.server is old:
                    return None
                node.server.cli("EXISTS", key)
            except (RedisError, StopIteration):  # while the slot is nobody's
                return None
            return node.server

        new = until(taken, within_s=self._patience_s, what=f"a new node for {key}")
        assert new is not None
        return new

    def migrate_slot_of(self, key: str) -> RedisServer:
        """Move a key's slot with everything in it to the next primary, and return that one."""
        slot, source = self.slot_of(key), self.node_of(key)
        primaries = [node for node in self.nodes() if node.primary and not node.failed]
        here = next(i for i, node in enumerate(primaries) if node.id == source.id)
        target = primaries[(here + 1) % len(primaries)]
        target.server.cli("CLUSTER", "SETSLOT", slot, "IMPORTING", source.id)
        source.server.cli("CLUSTER", "SETSLOT", slot, "MIGRATING", target.id)
        while keys := source.server.cli("CLUSTER", "GETKEYSINSLOT", slot, 100).split():
            source.server.cli(
                "MIGRATE", target.server.host, target.server.port, "", 0, 5000, "KEYS", *keys
            )
        for node in (target, source, *primaries):
            node.server.cli("CLUSTER", "SETSLOT", slot, "NODE", target.id)
        return target.server

    # ------------------------------------------------------------------ inside

    def _awake(self) -> list[RedisServer]:
        return [server for server in self.servers if server.running and not server.frozen]

    def _join(self) -> None:
        binaries = find_redis()
        command = [binaries.cli, "--cluster", "create", *self.addresses]
        done = subprocess.run(
            [*command, "--cluster-replicas", "1", "--cluster-yes"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=self._patience_s,
            env=binaries.environment,
        )
        if done.returncode:
            raise RuntimeError(f"the nodes did not join:\n{done.stdout}{done.stderr}")


def _node(words: list[str], by_port: dict[int, RedisServer]) -> Node:
    """Read one line of CLUSTER NODES: id, host:port@bus, flags, ..., slots."""
    flags = words[2].split(",")
    spans = [word.split("-") for word in words[8:] if not word.startswith("[")]
    return Node(
        id=words[0],
        server=by_port[int(words[1].split("@")[0].rsplit(":", 1)[1])],
        primary="master" in flags,
        failed="fail" in flags or "fail?" in flags,
        slots=tuple(range(int(span[0]), int(span[-1]) + 1) for span in spans),
    )
