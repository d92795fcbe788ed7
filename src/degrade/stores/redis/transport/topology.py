"""Ways to the primary of a key: straight, through the sentinels, or by the slots of a cluster.

Whatever is known of a way to a server is forgotten after every error there (`lost`), so that the
next connection is found anew. `open` and `told` may take long and are called in threads of their own.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any, Protocol

from redis import exceptions
from redis.crc import key_slot

from degrade.stores.redis.transport.address import Address, Credentials, Endpoint
from degrade.stores.redis.transport.connection import CLIENT_NAME, FAILURES, OLDEST_S, Connection
from degrade.stores.redis.transport.errors import LinkError, explained

__all__ = ("Route", "route_of")


class Route(Protocol):
    """The way to the primaries of an address."""

    def known(self, key: str) -> Endpoint | None:
        """Return where the primary of a key is, if that is known without asking anybody."""
        ...

    def open(self, key: str) -> Connection:
        """Find the primary of a key, and connect; raises `LinkError`.

        Forgets a place that it was told of and could not connect to.
        """
        ...

    def leads_to(self, place: Endpoint) -> bool:
        """Say whether any key is there, as far as is known."""
        ...

    def lost(self, place: Endpoint) -> None:
        """Forget what is known to be at a place where something went wrong."""
        ...

    @property
    def is_told(self) -> bool:
        """Whether somebody can be asked where the primary is while all goes well."""
        ...

    def told(self) -> Endpoint | None:
        """Ask where the primary is, if there is anybody to ask; raises `LinkError`.

        May take long. Not from two threads at once, but while another one is in `open`.
        """
        ...

    def hang_up(self) -> None:
        """Close the connection that asking keeps, from whatever thread."""
        ...


def route_of(address: Address, *, timeout_s: float) -> Route:
    """Return the way that fits an address; no step of it may take longer than `timeout_s`."""
    if address.kind == "sentinel":
        return SentinelTopology(address, timeout_s)
    if address.kind == "cluster":
        return ClusterTopology(address, timeout_s)
    return SingleServer(address, timeout_s)


class _NoDiscovery:
    """Who learns only from an error that the primary is another."""

    is_told = False

    def told(self) -> Endpoint | None:
        return None

    def hang_up(self) -> None:
        pass


class SingleServer(_NoDiscovery):
    def __init__(self, address: Address, timeout_s: float) -> None:
        self._address = address
        self._timeout_s = timeout_s

    def known(self, key: str) -> Endpoint | None:  # noqa: ARG002 - there is only one
        return self._address.places[0]

    def open(self, key: str) -> Connection:  # noqa: ARG002 - there is only one
        return _introduced(self._address, self._address.places[0], self._timeout_s)

    def leads_to(self, place: Endpoint) -> bool:
        return place == self._address.places[0]

    def lost(self, place: Endpoint) -> None:
        pass  # a name is resolved with every connection


class SentinelTopology:
    """Asks the sentinels in turn; the one that answered comes first the next time.

    A primary that is moved on purpose answers on until the sentinels demote it, ten seconds later,
    and so does one that wakes up after it was replaced. So `told` asks again; it asks the
    sentinel whose word was followed first, since another may know less. It keeps its connection:
    a new one a second would be a handshake of TLS, and leave sixty ports in TIME_WAIT.
    """

    is_told = True

    def __init__(self, address: Address, timeout_s: float) -> None:
        self._address = address
        self._timeout_s = timeout_s
        self._sentinels = address.places
        self._primary: Endpoint | None = None
        self._kept: Connection | None = None

    def known(self, key: str) -> Endpoint | None:  # noqa: ARG002 - all keys are there
        return self._primary

    def leads_to(self, place: Endpoint) -> bool:
        return place == self._primary

    def lost(self, place: Endpoint) -> None:
        if place == self._primary:
            self._primary = None

    def open(self, key: str) -> Connection:  # noqa: ARG002 - all keys are there
        failure: LinkError | None = None
        tried: set[Endpoint] = set()
        for sentinel in self._sentinels:
            try:
                primary = self._ask(sentinel)
                if primary in tried:
                    continue
                tried.add(primary)
                wire = self._open_primary(primary)
            except LinkError as error:
                failure = error
                continue
            self._put_first(sentinel)
            self._primary = primary
            return wire
        raise failure or explained("SENTINELS", self._address)

    def told(self) -> Endpoint | None:
        failure: LinkError | None = None
        for sentinel in self._sentinels:
            try:
                primary = self._ask(sentinel, keep=True)
            except LinkError as error:
                failure = error
                continue
            self._put_first(sentinel)
            return primary
        raise failure or explained("SENTINELS", self._address)

    def hang_up(self) -> None:
        wire, self._kept = self._kept, None
        if wire is not None:
            wire.close()

    def _put_first(self, sentinel: Endpoint) -> None:
        others = (one for one in self._sentinels if one != sentinel)
        self._sentinels = (sentinel, *others)

    def _ask(self, sentinel: Endpoint, *, keep: bool = False) -> Endpoint:
        question = ("SENTINEL", "GET-MASTER-ADDR-BY-NAME", self._address.service)
        try:
            wire = self._still_open(sentinel) if keep else None
            if wire is None:
                wire = _wire(
                    self._address, sentinel, self._timeout_s, secrets=self._address.sentinel_secrets
                )
            if keep:
                self._kept = wire
            try:
                (answer,) = wire.ask([question], time.monotonic() + self._timeout_s)
            finally:
                if not keep:
                    wire.close()
            if isinstance(answer, Exception):
                raise answer
            if answer is not None:
                return Endpoint(answer[0].decode(), int(answer[1]))
        except FAILURES as error:
            failure = explained(error, self._address, where=f"sentinel {sentinel}")
        else:
            failure = explained("SENTINELS", self._address, where=f"sentinel {sentinel}")
        if keep:
            self.hang_up()
        raise failure

    def _still_open(self, sentinel: Endpoint) -> Connection | None:
        wire = self._kept
        if wire is None:
            return None
        young = time.monotonic() - wire.since < OLDEST_S
        if young and wire.place == sentinel and wire.fresh():
            return wire
        self.hang_up()
        return None

    def _open_primary(self, place: Endpoint) -> Connection:
        wire = _introduced(self._address, place, self._timeout_s)
        failure: LinkError | None = None
        try:
            (role,) = wire.ask([("ROLE",)], time.monotonic() + self._timeout_s)
        except FAILURES as error:
            failure = explained(error, self._address, where=str(place))
        else:
            # Who may not ask for the role learns from the refusal of a write.
            if not isinstance(role, Exception) and role[0] != b"master":
                failure = explained("NOTPRIMARY", self._address, where=str(place))
        if failure is not None:
            wire.close()
            raise failure
        return wire


class ClusterTopology(_NoDiscovery):
    """Asks any node who serves which slots; the nodes it was told of before the ones of the URL.

    A node where something went wrong is asked last, and the others keep their slots: one that is
    frozen takes nobody with it.
    """

    def __init__(self, address: Address, timeout_s: float) -> None:
        self._address = address
        self._timeout_s = timeout_s
        self._primaries: tuple[tuple[int, int, Endpoint], ...] = ()
        self._nodes: tuple[Endpoint, ...] = ()

    def known(self, key: str) -> Endpoint | None:
        slot = key_slot(key.encode())
        for first, last, place in self._primaries:
            if first <= slot <= last:
                return place
        return None

    def leads_to(self, place: Endpoint) -> bool:
        return any(place == primary for _, _, primary in self._primaries)

    def lost(self, place: Endpoint) -> None:
        self._primaries = tuple(row for row in self._primaries if row[2] != place)
        self._nodes = (*(node for node in self._nodes if node != place), place)

    def open(self, key: str) -> Connection:
        place = self.known(key)
        if place is not None:
            return _introduced(self._address, place, self._timeout_s)
        teller = self._ask_around()
        place = self.known(key)
        if teller.place == place:
            return teller
        teller.close()
        if place is None:
            raise explained("CLUSTERDOWN", self._address)
        try:
            return _introduced(self._address, place, self._timeout_s)
        except LinkError:
            self.lost(place)
            raise

    def _ask_around(self) -> Connection:
        failure: LinkError | None = None
        for node in dict.fromkeys((*self._nodes, *self._address.places)):
            try:
                wire = _introduced(self._address, node, self._timeout_s)
            except LinkError as error:
                failure = error
                continue
            try:
                (answer,) = wire.ask([("CLUSTER", "SLOTS")], time.monotonic() + self._timeout_s)
                if isinstance(answer, Exception):
                    raise answer
                self._learn(answer, node)
            except FAILURES as error:
                failure = explained(error, self._address, where=str(node))
                wire.close()
                continue
            return wire
        raise failure or explained("CLUSTERDOWN", self._address)

    def _learn(self, answer: Iterable[Any], teller: Endpoint) -> None:
        primaries, nodes = [], []
        for first, last, primary, *replicas in answer:
            places = [
                # a node that does not know its own address is where we asked it
                Endpoint((host or b"").decode() or teller.host, int(port))
                for host, port, *_ in (primary, *replicas)
            ]
            primaries.append((int(first), int(last), places[0]))
            nodes += places
        if not primaries:
            raise exceptions.ClusterDownError("no slots are served")
        self._primaries, self._nodes = tuple(primaries), tuple(nodes)


def _introduced(address: Address, place: Endpoint, timeout_s: float) -> Connection:
    """Connect to a data server, and tell it our name if it lets us."""
    try:
        wire = _wire(address, place, timeout_s, secrets=address.secrets, db=address.db)
        try:
            wire.ask([("CLIENT", "SETNAME", CLIENT_NAME)], time.monotonic() + timeout_s)
        except BaseException:  # whatever it is, the socket must not leak; it is raised again
            wire.close()
            raise
    except FAILURES as error:
        failure = explained(error, address, where=str(place))
    else:
        return wire
    raise failure


def _wire(
    address: Address, place: Endpoint, timeout_s: float, *, secrets: Credentials, db: int = 0
) -> Connection:
    return Connection(place, address, secrets=secrets, db=db, timeout_s=timeout_s)
