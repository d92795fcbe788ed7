"""What processes know of a store that loses, forgets or splits: the ledger over the simulated server."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from degrade.clock import ManualClock
from degrade.core.records import ControlState
from degrade.errors import StoreError
from degrade.stores.redis.keys import Keys
from degrade.stores.redis.store import RedisStore
from degrade.testing.store_records import change, hold, standing
from tests.simulation.network import Network, SimLink
from tests.simulation.server import SimServer
from tests.simulation.world import World

KEYS = Keys("default")


class Servers:
    """One primary at first, and everybody's way to it."""

    def __init__(self) -> None:
        self.world = World(0)
        self.network = Network(self.world, SimServer(self.now))
        self.clock = ManualClock()
        self.hints: list[bytes] = []
        self.network.primary.subscribe(KEYS.hint, self.hints.append)
        self._clients = 0

    def now(self) -> float:
        return self.clock.wall() if hasattr(self, "clock") else 0.0

    def store(self) -> RedisStore:
        """Return the store of one more process."""
        self._clients += 1
        link: SimLink = self.network.link(f"client-{self._clients}")
        return RedisStore(link, clock=self.clock, rng=random.Random(self._clients))

    def hear(self, store: RedisStore) -> ControlState | None:
        """Let a process hear the newest hint."""
        heard: list[ControlState | None] = []
        store._ledger.heard(heard.append, self.hints[-1])
        return heard[-1] if heard else None


@pytest.fixture
def servers() -> Servers:
    return Servers()


def polled(servers: Servers, store: RedisStore) -> dict[str, str]:
    """Return what a process obeys after two polls."""
    store.read()
    servers.clock.advance(1)
    return standing(store.read())


Loss = Callable[[SimServer], None]
LOSSES: dict[str, Loss] = {
    "wiped": lambda server: server.wipe(),
    "without its holds": lambda server: server.evict(KEYS.holds) and None,
    "without its control": lambda server: server.evict(KEYS.control) and None,
}


@pytest.mark.parametrize("loss", LOSSES.values(), ids=list(LOSSES))
def test_what_a_hint_told_survives_the_loss_of_the_store(servers: Servers, loss: Loss):
    listening, operator = servers.store(), servers.store()
    listening.read()
    servers.clock.advance(1)
    operator.change(change(feed=hold("off")))
    heard = servers.hear(listening)
    assert heard is not None
    assert standing(heard) == {"feed": "off"}
    servers.clock.advance(1)
    loss(servers.network.primary)
    assert polled(servers, listening) == {"feed": "off"}
    assert standing(servers.store().read()) == {"feed": "off"}


def test_a_write_after_a_hint_does_not_undo_it_on_a_store_that_went_back(servers: Servers):
    listening, operator = servers.store(), servers.store()
    listening.read()
    before = servers.network.primary.copy()
    servers.clock.advance(1)
    operator.change(change(feed=hold("off")))
    servers.hear(listening)
    servers.network.primary.promote(before)
    servers.clock.advance(1)
    listening.change(change(search=hold("degraded")))
    assert standing(listening.read()) == {"feed": "off", "search": "degraded"}
    assert standing(servers.store().read()) == {"feed": "off", "search": "degraded"}


def test_two_servers_that_were_changed_apart_end_with_the_newest_of_both(servers: Servers):
    here, there = servers.store(), servers.store()
    here.change(change(feed=hold("degraded"), search=hold("degraded")))
    there.read()
    replica = SimServer(servers.now)
    replica.promote(servers.network.primary.copy())
    old = servers.network.primary
    servers.network.lead_all(replica)
    servers.network.lead("client-1", old)
    servers.clock.advance(1)
    here.change(change("released", feed=None))
    there.change(change(ads=hold("off")))
    servers.clock.advance(1)
    there.change(change("released", search=None))
    servers.network.lead("client-1", replica)
    assert polled(servers, here) == {"ads": "off"}
    assert polled(servers, there) == {"ads": "off"}
    assert (here.read().incarnation, here.read().epoch) == (
        there.read().incarnation,
        there.read().epoch,
    )


def test_a_store_that_went_back_and_was_changed_by_a_newcomer_is_noticed(servers: Servers):
    known, newcomer = servers.store(), servers.store()
    known.change(change(feed=hold("off")))
    before = servers.network.primary.copy()
    servers.clock.advance(1)
    known.change(change("released", feed=None))
    servers.network.primary.promote(before)
    servers.clock.advance(1)
    newcomer.change(change(search=hold("degraded")))
    assert polled(servers, known) == {"search": "degraded"}
    assert polled(servers, newcomer) == {"search": "degraded"}


def test_processes_that_know_two_ways_restore_once_each_and_agree(servers: Servers):
    stores = [servers.store() for _ in range(6)]
    stores[0].change(change(feed=hold("degraded")))
    for store in stores:
        store.read()
    replica = SimServer(servers.now)
    replica.promote(servers.network.primary.copy())
    servers.clock.advance(1)
    stores[0].change(change(a=hold("off")))
    for store in stores[:3]:
        store.read()
    servers.network.lead_all(replica)
    servers.clock.advance(1)
    servers.store().change(change(b=hold("off")))
    for _ in range(3):
        for store in stores:
            store.read()
        servers.clock.advance(1)
    found = [store.read() for store in stores]
    assert {(state.incarnation, state.epoch) for state in found} == {
        (found[0].incarnation, found[0].epoch)
    }
    assert standing(found[0]) == {"a": "off", "b": "off", "feed": "degraded"}
    assert sum(event.type == "restored" for event in stores[0].events()) == 1


def test_an_off_that_a_failover_lost_ends_when_what_was_ordered_since_wins(servers: Servers):
    store = servers.store()
    store.read()
    before = servers.network.primary.copy()
    servers.clock.advance(1)
    store.change(change(feed=hold("off")))
    servers.network.primary.promote(before)
    servers.clock.advance(1)
    servers.store().change(change(feed=hold("degraded")))
    servers.clock.advance(1)
    assert polled(servers, store) == {"feed": "degraded"}
    found = servers.store().read()
    assert found.off_ended == {"feed": servers.now() - 1}  # when it was restored


def test_an_extension_that_a_failover_lost_survives_the_end_of_what_it_extended(servers: Servers):
    store = servers.store()
    until = store.read().now + 60
    store.change(change(feed=hold("off", until=until)))
    before = servers.network.primary.copy()
    servers.clock.advance(55)
    store.change(change("extended", feed=hold("off", until=until + 600)))
    servers.network.primary.promote(before)
    servers.clock.advance(6)
    (event,) = servers.store().sweep("another")
    assert event.type == "expired"
    assert polled(servers, store) == {"feed": "off"}
    assert servers.store().read().holds["feed"].until == until + 600


def test_two_readings_in_a_row_do_not_make_a_store_go_back(servers: Servers):
    store = servers.store()
    store.read()
    before = servers.network.primary.copy()
    servers.clock.advance(1)
    store.change(change(feed=hold("off")))
    after = servers.network.primary.copy()
    servers.network.primary.promote(before)  # as a replica shows it that lags behind
    life = store.read().incarnation
    servers.clock.advance(0.4)
    assert store.read().incarnation == life
    servers.network.primary.promote(after)
    servers.clock.advance(1)
    assert store.read().incarnation == life
    servers.network.primary.promote(before)
    assert store.read().incarnation == life  # it begins anew
    servers.clock.advance(0.5)
    assert store.read().incarnation != life
    assert standing(servers.store().read()) == {"feed": "off"}


def test_what_a_hand_wrote_does_not_undo_what_a_hint_told_since(servers: Servers):
    listening, operator = servers.store(), servers.store()
    operator.change(change(ads=hold("degraded")))
    server = servers.network.primary
    server.write([("HSET", KEYS.holds, "feed", "degraded")])
    transact = server.transact

    def refused(*args: object, **kwargs: object) -> None:
        raise StoreError("read-only")

    server.transact = refused  # type: ignore[method-assign, assignment]
    assert standing(listening.read()) == {"ads": "degraded", "feed": "degraded"}
    server.transact = transact  # type: ignore[method-assign]
    operator.read()
    servers.hear(listening)  # adopted
    operator.change(change(feed=hold("off")))
    servers.hear(listening)
    server.wipe()
    servers.clock.advance(1)
    assert polled(servers, listening) == {"ads": "degraded", "feed": "off"}


def test_an_own_change_acts_here_though_nothing_can_be_read_after_it(servers: Servers):
    store = servers.store()
    heard: list[ControlState | None] = []
    store.subscribe(heard.append)
    store.read()
    servers.network.touched = lambda server, late_s: servers.network.cut("client-1", cut=True)
    store.change(change(feed=hold("off")))
    assert [standing(state) for state in heard if state is not None] == [{"feed": "off"}]


def test_a_change_that_only_a_hint_told_survives_another_of_the_same_epoch(servers: Servers):
    listening, operator = servers.store(), servers.store()
    operator.change(change(ads=hold("degraded")))
    listening.read()
    before = servers.network.primary.copy()
    servers.clock.advance(1)
    operator.change(change(feed=hold("off")))
    servers.hear(listening)
    servers.network.primary.promote(before)
    servers.clock.advance(1)
    servers.store().change(change(search=hold("off")))
    found = {"ads": "degraded", "feed": "off", "search": "off"}
    assert polled(servers, listening) == found
    assert standing(servers.store().read()) == found


def test_what_a_hand_wrote_raises_no_epoch_before_it_is_adopted(servers: Servers):
    store = servers.store()
    epoch = store.read().epoch
    servers.network.primary.write([("HSET", KEYS.holds, "feed", "off")])
    transact = servers.network.primary.transact

    def refused(*args: object, **kwargs: object) -> None:
        raise StoreError("read-only")

    servers.network.primary.transact = refused  # type: ignore[method-assign, assignment]
    found = store.read()
    assert (standing(found), found.epoch) == ({"feed": "off"}, epoch)
    servers.network.primary.transact = transact  # type: ignore[method-assign]
    found = store.read()
    assert (standing(found), found.epoch) == ({"feed": "off"}, epoch + 1)


@pytest.mark.parametrize(
    "command", [("HSET", KEYS.holds, "a", "off"), ("HDEL", KEYS.holds, "feed")]
)
def test_what_a_hand_did_and_nobody_could_adopt_survives_the_loss_of_the_store(
    servers: Servers, command: tuple[str, ...]
):
    store = servers.store()
    store.change(change(feed=hold("degraded")))
    servers.clock.advance(1)
    server = servers.network.primary
    server.write([command])
    transact = server.transact

    def refused(*args: object, **kwargs: object) -> None:
        raise StoreError("read-only")

    server.transact = refused  # type: ignore[method-assign, assignment]
    expected = standing(store.read())
    server.wipe()
    servers.clock.advance(1)
    assert polled(servers, store) == expected  # also while nothing can be written
    server.transact = transact  # type: ignore[method-assign]
    assert polled(servers, store) == expected
    assert expected == ({"feed": "degraded", "a": "off"} if command[0] == "HSET" else {})
