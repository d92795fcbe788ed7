"""The way to the server: requests and messages are lost, slow, doubled, or cut off for a while.

request ──lost──> nothing happens,           the caller waits for its timeout
        ──late──> happens seconds afterwards, the caller has given up: a zombie
        ──done──> reply lost: it happened,    the caller does not know
                  done twice: it happened twice
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeVar

from degrade.errors import StoreError
from degrade.stores.redis.transport.base import Check, Command, Transacted
from tests.simulation.server import SimServer
from tests.simulation.world import World

__all__ = ("Network", "Path", "SimLink", "Weather")

TIMEOUT_S = 0.3
"""What a caller waits for a reply that does not come."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Weather:
    """How likely what goes wrong is, for each request or message; 0 to 1.

    Attributes:
        lost: The request never arrives.
        mute: It is done, and its reply is lost.
        late: It is done up to `late_s` seconds afterwards.
        twice: It is done again, at once or up to `late_s` seconds afterwards.
        hint_lost, hint_twice: A message of the channel does not come, or twice.
        hint_s: How long messages may be under way, so that they overtake each other.
    """

    lost: float = 0.0
    mute: float = 0.0
    late: float = 0.0
    twice: float = 0.0
    late_s: float = 8.0
    hint_lost: float = 0.0
    hint_twice: float = 0.0
    hint_s: float = 0.02

    @property
    def fair(self) -> bool:
        """Whether every request is done and answered."""
        return not (self.lost or self.mute or self.late or self.twice)


FAIR = Weather()


@dataclass(slots=True)
class Path:
    """One client's way: to which server, and how it is.

    Attributes:
        server: Where it leads.
        cut: Nothing gets through.
        weather: How it is otherwise.
        troubled: When it was last anything but fair, true seconds.
        spent_s: What callers waited since somebody asked last.
    """

    server: SimServer
    weather: Weather = FAIR
    cut: bool = False
    troubled: float = float("-inf")
    spent_s: float = 0.0


class Network:
    """All paths, and the primary to which new ones lead.

    Attributes:
        down: The server takes no request: killed, or not yet promoted.
        frozen: It takes requests, and does them when it thaws.
        touched: Called after everything that a server did, with how late that came.
    """

    def __init__(self, world: World, primary: SimServer) -> None:
        self.world = world
        self.primary = primary
        self.paths: dict[str, Path] = {}
        self.down = False
        self.frozen = False
        self.weather = FAIR
        self.touched: Callable[[SimServer, float], None] = _nothing
        self._waiting: list[Callable[[], object]] = []
        self._subscribers: dict[str, Callable[[], None]] = {}

    def link(self, client: str) -> SimLink:
        """Return a new way for a client."""
        self.paths[client] = Path(self.primary, self.weather)
        return SimLink(self, client)

    def reachable_since(self, client: str) -> float | None:
        """Return since when a client reaches the primary whenever it asks; None if it does not."""
        path = self.paths[client]
        if self.unreachable(path) or not path.weather.fair or path.server is not self.primary:
            return None
        return path.troubled

    def unreachable(self, path: Path) -> bool:
        return self.down or self.frozen or path.cut

    # ------------------------------------------------------------------ what can happen

    def set_weather(self, weather: Weather) -> None:
        """Change how all ways are."""
        self.weather = weather
        for path in self.paths.values():
            self._trouble(path)
            path.weather = replace(weather)

    def cut(self, client: str, *, cut: bool) -> None:
        """Cut a client off, or reconnect it."""
        path = self.paths[client]
        self._trouble(path)
        path.cut = cut
        self._reconnect(client)

    def set_down(self, *, down: bool) -> None:
        """Kill the server, or start it again with what it holds."""
        self.down = down
        self._all_reconnect()

    def set_frozen(self, *, frozen: bool) -> None:
        """Stop the server, or let it go on with what has arrived meanwhile."""
        self.frozen = frozen
        waiting, self._waiting = self._waiting, []
        for do in waiting:
            do()
        self._all_reconnect()

    def lead(self, client: str, server: SimServer) -> None:
        """Let a client's way lead to another server."""
        path = self.paths[client]
        self._trouble(path)
        path.server = server
        self._reconnect(client)

    def lead_all(self, server: SimServer) -> None:
        """Make a server the primary of everybody."""
        self.primary = server
        for client in self.paths:
            self.lead(client, server)

    def lose(self, client: str) -> None:
        """Forget a client that is gone."""
        self._unsubscribe(client)
        self.paths.pop(client, None)

    # ------------------------------------------------------------------ requests

    def ask(self, client: str, do: Callable[[SimServer], T]) -> T:
        """Carry one request and its reply.

        Raises:
            StoreError: No reply came.
        """
        path = self.paths.get(client)
        if path is None:
            raise StoreError(f"{client} is gone")
        self.world.overtake()
        if self.frozen and not path.cut:
            if self.world.rng.random() < 0.5:
                self._waiting.append(self._later(path.server, do))
            raise self._given_up(client, path, "frozen")
        if self.unreachable(path):
            raise self._given_up(client, path, "unreachable")
        weather = path.weather
        if weather is not FAIR:
            self._misfortune(client, path, weather, do)
        reply = self._done(path.server, do)
        if weather.mute and self.world.rng.random() < weather.mute:
            raise self._given_up(client, path, "its reply was lost")
        return reply

    def _misfortune(
        self, client: str, path: Path, weather: Weather, do: Callable[[SimServer], T]
    ) -> None:
        rng = self.world.rng
        if rng.random() < weather.lost:
            raise self._given_up(client, path, "lost")
        if rng.random() < weather.late:
            self.world.after(rng.uniform(0.0, weather.late_s), self._later(path.server, do))
            raise self._given_up(client, path, "late")
        if rng.random() < weather.twice:
            again_s = rng.choice((0.0, rng.uniform(0.0, weather.late_s)))
            self.world.after(again_s, self._later(path.server, do))

    def _later(self, server: SimServer, do: Callable[[SimServer], object]) -> Callable[[], None]:
        asked_at = self.world.now

        def late() -> None:
            with suppress(StoreError):  # nobody waits for the reply
                self._done(server, do, late_s=self.world.now - asked_at)

        return late

    def _done(self, server: SimServer, do: Callable[[SimServer], T], *, late_s: float = 0.0) -> T:
        try:
            return do(server)
        finally:
            self.touched(server, late_s)

    def _given_up(self, client: str, path: Path, why: str) -> StoreError:
        self.world.note(client, "no reply: {}", why)
        path.spent_s += TIMEOUT_S
        path.troubled = self.world.now
        return StoreError(f"no reply: {why}")

    # ------------------------------------------------------------------ messages

    def subscribe(self, client: str, channel: str, hear: Callable[[bytes | None], None]) -> None:
        """Let a client hear a channel of the server that its way leads to."""
        path = self.paths[client]
        unsubscribe = path.server.subscribe(channel, partial(self._under_way, client, hear))

        def anew() -> None:
            unsubscribe()
            if client in self.paths:
                self.subscribe(client, channel, hear)

        self._subscribers[client] = anew
        self.world.after(
            self.world.rng.uniform(0.2, 1.0), partial(self._deliver, client, hear, None)
        )

    def _under_way(self, client: str, hear: Callable[[bytes | None], None], message: bytes) -> None:
        path = self.paths.get(client)
        if path is None or self.unreachable(path):
            return
        rng, weather = self.world.rng, path.weather
        if weather.hint_lost and rng.random() < weather.hint_lost:
            return
        times = 2 if weather.hint_twice and rng.random() < weather.hint_twice else 1
        for _ in range(times):
            self.world.after(
                rng.uniform(0.0, weather.hint_s), partial(self._deliver, client, hear, message)
            )

    def _deliver(
        self, client: str, hear: Callable[[bytes | None], None], message: bytes | None
    ) -> None:
        path = self.paths.get(client)
        if path is not None and not self.unreachable(path):
            hear(message)

    # ------------------------------------------------------------------ helpers

    def _trouble(self, path: Path) -> None:
        path.troubled = self.world.now

    def _unsubscribe(self, client: str) -> None:
        self._subscribers.pop(client, None)

    def _reconnect(self, client: str) -> None:
        anew = self._subscribers.get(client)
        if anew is not None:
            anew()

    def _all_reconnect(self) -> None:
        for client, path in self.paths.items():
            self._trouble(path)
            self._reconnect(client)


class SimLink:
    """A `Link` of one client through the network."""

    def __init__(self, network: Network, client: str) -> None:
        self._network = network
        self.client = client

    @property
    def url(self) -> str:
        return f"redis://{self.client}.simulated"

    @property
    def path(self) -> Path:
        """The way as it is now."""
        return self._network.paths[self.client]

    def read(
        self, key: str, commands: Sequence[Command], *, within_s: float | None = None
    ) -> list[Any]:
        return self._network.ask(self.client, lambda server: server.read(commands))

    def transact(
        self,
        keys: Sequence[str],
        checks: Sequence[Check],
        commands: Sequence[Command],
        *,
        deadline: float | None,
    ) -> Transacted:
        return self._network.ask(
            self.client, lambda server: server.transact(checks, commands, deadline=deadline)
        )

    def write(self, key: str, commands: Sequence[Command]) -> list[Any]:
        return self._network.ask(self.client, lambda server: server.write(commands))

    def listen(
        self, channel: str, hear: Callable[[bytes | None], None], stopping: Callable[[], bool]
    ) -> None:
        """Subscribe and return at once: messages come by the scheduler."""

        def heard(message: bytes | None) -> None:
            if not stopping():
                hear(message)

        self._network.subscribe(self.client, channel, heard)

    def close(self) -> None:
        """Do nothing: a way has no sockets."""


def _nothing(server: SimServer, late_s: float) -> None:
    """Watch nobody."""
