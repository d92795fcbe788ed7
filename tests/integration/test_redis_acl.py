"""The rights that the page of the protocol names suffice, and none of them is too much."""

from __future__ import annotations

import shlex
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from degrade.control import Control
from degrade.core.records import FlagInfo, Vote
from degrade.errors import StoreError
from degrade.ports import Blob
from degrade.settings import open_store
from degrade.stores.local_holds import LocalHolds
from degrade.stores.redis.store import RedisStore
from degrade.testing.store_records import change, draft, hold, report, standing
from tests.servers.redis_server import RedisServer
from tests.servers.waiting import until

pytestmark = pytest.mark.real

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "redis.md"
USERS = {
    words[3]: words
    for line in PAGE.read_text("utf-8").splitlines()
    if line.startswith("$ redis-cli ACL SETUSER ")
    and (words := shlex.split(line.removeprefix("$ redis-cli ACL SETUSER "), comments=False))
    and (words := ["", "", "", *words])
}
ONLY_NOW_AND_THEN = {"ping", "eval"}
"""While the channel is silent; and where the server does not have the script yet."""

As = Callable[[str], RedisStore]


def rights(user: str) -> set[str]:
    return {word[1:] for word in USERS[user] if word.startswith("+")}


def url(server: RedisServer, user: str) -> str:
    secret = next(word[1:] for word in USERS[user] if word.startswith(">"))
    return f"redis://{user}:{secret}@127.0.0.1:{server.port}/0?timeout=10s"


@pytest.fixture
def opened(redis_server: RedisServer) -> Iterator[As]:
    """Open the store as a user of the page."""
    for words in USERS.values():
        redis_server.cli("ACL", "SETUSER", *words[3:])
    stores: list[RedisStore] = []

    def as_user(user: str) -> RedisStore:
        store = open_store(url(redis_server, user), namespace="shop")
        assert isinstance(store, RedisStore)
        stores.append(store)
        return store

    yield as_user
    for store in stores:
        store.close()


def used(server: RedisServer, act: Callable[[], object]) -> set[str]:
    """Return the commands that are run on the server during an act."""
    server.cli("SCRIPT", "FLUSH")
    server.cli("CONFIG", "RESETSTAT")
    act()
    ran = {
        name.removeprefix("cmdstat_")
        for name, stats in server.info("commandstats").items()
        if not stats.startswith("calls=0,")
    }
    return ran - {"info", "config|resetstat", "auth"}


def live(store: RedisStore, other: RedisStore, *, server: RedisServer) -> None:
    """Do everything that two processes of a service do."""
    heard: list[object] = []
    stop = threading.Event()
    listener = threading.Thread(target=other.fleet.listen, args=(heard.append, stop.is_set))
    listener.start()
    try:
        until(lambda: heard)
        store.read()
        store.declare([FlagInfo(name="feed")])
        for name in ("i0", "i1"):
            store.fleet.beat(report(name), {"feed": Vote(cause="p99")})
        assert store.fleet.votes() == {"feed": dict.fromkeys(("i0", "i1"), Vote(cause="p99"))}
        store.change(change(feed=hold("off")))
        until(lambda: len(heard) > 1, what="a hint")
        store.change(change("released", feed=None))
        store.append([draft()])
        assert [event.type for event in store.events(since="0")] == [
            "hold",
            "released",
            "transition",
        ]
        assert len(store.events()) == 3
        until(lambda: store.fleet.decide("i0"), within_s=40, every_s=0.2, what="a verdict")
        assert not store.changed() or store.read()
        assert not store.changed()
        for ends in (True, False):
            token = store.fleet.take_probe("feed", "i0")
            assert token is not None
            assert store.fleet.take_probe("feed", "i0") == token
            if ends:
                store.fleet.give_probe("feed", "i0", token, retry_in_s=0.0)
        assert store.fleet.recovering("feed", "i0", token)
        assert store.blobs is not None
        store.blobs.put([Blob(flag="feed", key="k", body=b"x", keep_s=60)])
        assert store.blobs.get("feed", "k", within_s=5) == b"x"
        assert store.flags()
        assert len(store.instances()) == 2
        store.goodbye("i1")
        server.cli("ZADD", "degrade:{shop}:deadlines", "1", "i1")
        store.fleet.beat(report("i0"), {})
    finally:
        stop.set()
        listener.join(5)


@pytest.mark.slow
def test_a_service_needs_the_rights_of_the_page_and_uses_all_of_them(
    opened: As, redis_server: RedisServer
) -> None:
    one, other = opened("shop-service"), opened("shop-service")
    found = used(redis_server, lambda: live(one, other, server=redis_server))
    assert found - ONLY_NOW_AND_THEN == rights("shop-service") - ONLY_NOW_AND_THEN


def operator(store: RedisStore, folder: Path) -> Control:
    return Control(store, actor="ana", local=LocalHolds("shop", directory=folder))


def look(control: Control) -> None:
    assert control.status().flags
    assert control.why("feed")
    assert control.events("0")
    assert control.events()


def test_an_operator_needs_the_rights_of_the_page_and_uses_all_of_them(
    opened: As, redis_server: RedisServer, tmp_path: Path
) -> None:
    service = opened("shop-service")
    service.declare([FlagInfo(name="feed", level=2)])
    service.report(report("i0").model_copy(update={"epoch": 99}))
    control = operator(opened("shop-operator"), tmp_path)

    def act() -> None:
        assert control.hold("feed", "off", for_="30m", reason="x", wait="99%").arrived is not None
        control.extend("feed", for_="1h")
        control.release("feed", reason="x")
        control.order_level(2, for_="1h", reason="x")
        control.release_level(reason="x")
        redis_server.cli("HSET", "degrade:{shop}:holds", "feed", "off")
        look(control)

    found = used(redis_server, act)
    assert found - ONLY_NOW_AND_THEN == rights("shop-operator") - ONLY_NOW_AND_THEN


def test_a_reader_sees_everything_also_what_was_just_written_by_hand_and_changes_nothing(
    opened: As, redis_server: RedisServer, tmp_path: Path
) -> None:
    service = opened("shop-service")
    service.declare([FlagInfo(name="feed", level=2)])
    service.report(report("i0"))
    service.change(change(feed=hold("off")))
    control = operator(opened("shop-reader"), tmp_path)
    assert used(redis_server, lambda: look(control)) == rights("shop-reader")
    with pytest.raises(StoreError, match=r"give it the right \+evalsha"):
        control.hold("feed", "off", for_="30m", reason="x")
    redis_server.cli("HSET", "degrade:{shop}:holds", "feed", "degraded")
    hold_shown = control.status().flags[0].hold
    assert hold_shown is not None
    assert (hold_shown.mode, hold_shown.actor) == ("degraded", "redis-cli")
    assert redis_server.cli("HGET", "degrade:{shop}:holds", "feed") == "degraded"


def test_a_hand_may_write_holds_and_nothing_else(opened: As, redis_server: RedisServer) -> None:
    service = opened("shop-service")
    service.read()
    words = ["--no-auth-warning", "-u", url(redis_server, "shop-hand").partition("?")[0]]
    key = "degrade:{shop}:holds"

    def by_hand(*command: str) -> str:
        return redis_server.cli(*words, *command)

    def act() -> None:
        assert by_hand("HSET", key, "feed", "off") == "1"
        assert by_hand("HGET", key, "feed") == "off"
        assert "off" in by_hand("HGETALL", key)
        assert by_hand("HDEL", key, "feed") == "1"

    assert used(redis_server, act) == rights("shop-hand")
    by_hand("HSET", key, "feed", "off")
    assert standing(service.read()) == {"feed": "off"}
    for command in (["DEL", key], ["HSET", "degrade:{shop}:control", "epoch", "1"], ["FLUSHALL"]):
        with pytest.raises(Exception, match="NOPERM"):
            by_hand(*command)


@pytest.mark.parametrize(
    ("taken", "says"),
    [
        ("-hgetall", "give it the right +hgetall"),
        ("-time", "give it the right +time"),
        ("resetkeys", "give it the right ~degrade:{NAMESPACE}:*"),
        ("-evalsha", "give it the right +evalsha"),
        ("-hset", "ACL LOG on the server names the right"),
    ],
)
def test_a_missing_right_is_named(
    opened: As, redis_server: RedisServer, tmp_path: Path, taken: str, says: str
) -> None:
    opened("shop-service").declare([FlagInfo(name="feed")])
    redis_server.cli("ACL", "SETUSER", "shop-operator", taken)
    control = operator(opened("shop-operator"), tmp_path)
    with pytest.raises(StoreError) as caught:
        control.hold("feed", "off", for_="30m", reason="x")
    assert says in str(caught.value)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("taken", ["resetchannels", "-publish"])
def test_without_the_channel_a_change_is_written_and_takes_a_poll(
    opened: As, redis_server: RedisServer, tmp_path: Path, taken: str
) -> None:
    service = opened("shop-service")
    service.declare([FlagInfo(name="feed")])
    service.read()
    redis_server.cli("ACL", "SETUSER", "shop-operator", taken)
    control = operator(opened("shop-operator"), tmp_path)
    held = control.hold("feed", "off", for_="30m", reason="x")
    assert service.changed()
    assert standing(service.read()) == {"feed": "off"}
    assert [event.id for event in service.events()] == [held.event]
