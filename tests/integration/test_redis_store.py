"""The store of a fleet over a real server: what happens when the server loses what it was told."""

from __future__ import annotations

import threading

import pytest

from degrade.core.records import ControlState, InstanceReport, Vote
from degrade.errors import StoreError
from degrade.settings import open_store
from degrade.stores.redis.store import RedisStore
from degrade.stores.state_changes import broken_links
from degrade.testing.store_records import change, hold, report, standing
from tests.servers.waiting import until

pytestmark = pytest.mark.real

HOLDS, CONTROL = "degrade:{shop}:holds", "degrade:{shop}:control"
EVENTS = "degrade:{shop}:events"


@pytest.fixture
def open_another(redis_server):
    """Open the store as another process would."""
    opened: list[RedisStore] = []

    def another() -> RedisStore:
        store = open_store(redis_server.url, namespace="shop")
        assert isinstance(store, RedisStore)
        opened.append(store)
        return store

    yield another
    for store in opened:
        store.close()


def everything(server, *keys: str) -> dict[str, dict[bytes, bytes]]:
    with server.client() as client:
        return {key: client.hgetall(key) for key in keys}


def put_back(server, saved) -> None:
    with server.client() as client:
        for key, fields in saved.items():
            client.delete(key)
            client.hset(key, mapping=fields)


def test_a_word_by_redis_cli_is_adopted_once_and_hdel_releases_it(redis_server, open_another):
    one, other = open_another(), open_another()
    one.read()
    other.read()
    redis_server.cli("HSET", HOLDS, "feed.ranking", "degraded")
    assert one.changed()
    assert other.changed()
    assert standing(one.read()) == standing(other.read()) == {"feed.ranking": "degraded"}
    assert one.read().holds["feed.ranking"].actor == "redis-cli"
    assert (one.read().epoch, other.read().epoch) == (1, 1)
    redis_server.cli("HDEL", HOLDS, "feed.ranking")
    assert standing(other.read()) == standing(one.read()) == {}
    assert [event.type for event in one.events()] == ["hold", "released"]
    assert {event.cause for event in one.events()} == {"none given"}


def test_a_namespace_that_begins_with_a_word_by_redis_cli_was_not_lost(redis_server, open_another):
    redis_server.cli("HSET", HOLDS, "feed.ranking", "degraded", "feed.ads", "what?")
    one, other = open_another(), open_another()
    assert standing(one.read()) == standing(other.read()) == {"feed.ranking": "degraded"}
    assert [event.type for event in one.events()] == ["hold"]
    redis_server.cli("FLUSHALL")
    redis_server.cli("HSET", HOLDS, "feed.ads", "off")
    assert standing(other.read()) == {"feed.ranking": "degraded", "feed.ads": "off"}
    (restored, _) = other.events()
    assert (restored.type, restored.cause) == ("restored", "the store was emptied")


def test_nonsense_by_redis_cli_changes_nothing_and_is_told_once(redis_server, open_another, caplog):
    store = open_another()
    store.change(change(feed=hold("off")))
    redis_server.cli("HSET", HOLDS, "feed", "on fire")
    for _ in range(3):
        state = store.read()
    assert (standing(state), state.nonsense, state.epoch) == (
        {"feed": "off"},
        {"feed": "on fire"},
        1,
    )
    assert len([line for line in caplog.messages if "on fire" in line]) == 1
    assert not store.changed()


def test_an_emptied_server_gets_back_what_is_known_whoever_comes_first(redis_server, open_another):
    old, older = open_another(), open_another()
    old.change(change(feed=hold("off"), search=hold()))
    old.change(change("released", search=None))
    older.read()
    redis_server.cli("FLUSHALL")
    new = open_another()
    assert standing(new.read()) == {}  # it cannot know better, and writes no default
    new.change(change(comments=hold()))
    found = old.read()
    assert standing(found) == {"feed": "off", "comments": "degraded"}
    assert set(found.released) == {"search"}
    for store in (new, older, open_another()):
        state = store.read()
        assert (state.incarnation, state.epoch) == (found.incarnation, found.epoch)
        assert standing(state) == standing(found)
    restored = [event for event in old.events() if event.type == "restored"]
    assert len(restored) == 1
    assert found.not_before > found.now + 10


@pytest.mark.parametrize("key", [HOLDS, CONTROL])
def test_one_key_that_was_evicted_is_no_release(redis_server, open_another, key):
    store = open_another()
    store.change(change(feed=hold("off"), search=hold()))
    redis_server.cli("DEL", key)
    fresh = open_another()  # nobody who knew it is needed
    assert standing(fresh.read()) == {"feed": "off", "search": "degraded"}
    assert standing(store.read()) == {"feed": "off", "search": "degraded"}


def test_a_server_that_went_back_is_believed_only_where_it_is_newer(redis_server, open_another):
    one, other = open_another(), open_another()
    one.change(change(feed=hold("off")))
    other.read()
    saved = everything(redis_server, HOLDS, CONTROL)
    one.change(change("released", feed=None))
    one.change(change(search=hold()))
    put_back(redis_server, saved)
    known = one.read()
    assert standing(known) == {"search": "degraded"}  # seen once: what is known stays
    until(lambda: one.read().incarnation != known.incarnation)
    found = one.read()
    assert standing(found) == {"search": "degraded"}
    assert set(found.released) == {"feed"}
    assert standing(other.read()) == standing(open_another().read()) == {"search": "degraded"}
    assert other.read().incarnation == found.incarnation


def test_what_cannot_be_written_is_in_force_all_the_same(redis_server, open_another):
    store = open_another()
    store.change(change(feed=hold("off")))
    redis_server.cli("HSET", HOLDS, "search", "degraded")
    redis_server.cli("CONFIG", "SET", "maxmemory", "1mb")
    redis_server.cli("CONFIG", "SET", "maxmemory-policy", "noeviction")
    assert standing(store.read()) == {"feed": "off", "search": "degraded"}
    with pytest.raises(StoreError, match="memory"):
        store.change(change(c=hold()))
    redis_server.cli("DEL", HOLDS, CONTROL)
    known = {"feed": "off", "search": "degraded"}  # also what nobody could adopt
    assert standing(store.read()) == known
    redis_server.cli("CONFIG", "SET", "maxmemory", "0")
    assert standing(store.read()) == known
    store.change(change(c=hold()))
    assert standing(open_another().read()) == known | {"c": "degraded"}


def test_a_change_that_cannot_be_logged_is_not_made_in_part(redis_server, open_another):
    store = open_another()
    store.change(change(ranking=hold()))
    redis_server.cli("DEL", "degrade:{shop}:events")
    redis_server.cli("SET", "degrade:{shop}:events", "somebody else's")
    before = everything(redis_server, HOLDS, CONTROL)
    with pytest.raises(StoreError, match="another program"):
        store.change(change(ads=hold()))
    assert everything(redis_server, HOLDS, CONTROL) == before


def test_a_log_that_outlived_its_state_is_continued(redis_server, open_another):
    old = open_another()
    for _ in range(3):
        old.change(change(feed=hold("off")))
    last = old.events()[-1]
    redis_server.cli("DEL", HOLDS, CONTROL)
    one, other = open_another(), open_another()
    one.read()
    other.read()
    assert [event.id for event in one.change(change(a=hold()))] == ["000000000004"]
    assert [event.id for event in other.change(change(b=hold()))] == ["000000000005"]
    events = other.events(since=last.id)
    assert [event.flag for event in events] == ["a", "b"]
    assert broken_links([last, *events]) == []
    redis_server.cli("HSET", HOLDS, "c", "off")
    assert standing(one.read()) == {"a": "degraded", "b": "degraded", "c": "off"}


def test_a_word_is_adopted_although_the_log_outlived_its_state(redis_server, open_another):
    open_another().change(change(feed=hold("off")))
    redis_server.cli("DEL", HOLDS, CONTROL)
    redis_server.cli("HSET", HOLDS, "c", "off")
    store = open_another()
    assert standing(store.read()) == {"c": "off"}
    assert [event.actor for event in store.events()] == ["ana", "redis-cli"]


def test_what_a_hand_adds_to_the_log_stops_no_change(redis_server, open_another):
    one, other = open_another(), open_another()
    one.change(change(a=hold()))
    other.read()
    redis_server.cli("XADD", EVENTS, "*", "note", "hello")
    for number, store in enumerate((one, other, open_another(), one)):
        store.change(change("hold", {f"f{number}": hold()}))
    assert len(one.events()) == 5
    assert len(broken_links(one.events())) == 1, "that somebody else wrote there shows"


def test_changes_of_many_come_through_although_a_hand_adds_to_the_log(redis_server, open_another):
    stores = [open_another() for _ in range(4)]
    failures: list[Exception] = []

    def work(number: int) -> None:
        try:
            for index in range(8):
                if number == 0:
                    redis_server.cli("XADD", EVENTS, "*", "note", "hello")
                stores[number].change(change("hold", {f"f{number}.{index}": hold()}))
        except Exception as error:  # noqa: BLE001 - shown by the test's own thread
            failures.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert len(open_another().read().holds) == 32


@pytest.mark.parametrize("newest", ["18446744073709551615-18446744073709551615", "9" * 18 + "-0"])
def test_a_log_that_no_event_can_follow_is_told_and_can_be_renamed(
    redis_server, open_another, newest
):
    store = open_another()
    store.change(change(a=hold()))
    redis_server.cli("XADD", EVENTS, newest, "note", "hello")
    before = everything(redis_server, HOLDS, CONTROL)
    with pytest.raises(StoreError, match=r"rename the key degrade:\{NAMESPACE\}:events"):
        store.change(change(b=hold()))
    assert everything(redis_server, HOLDS, CONTROL) == before
    assert standing(store.read()) == {"a": "degraded"}
    redis_server.cli("RENAME", EVENTS, f"{EVENTS}:old")
    assert [event.id for event in store.change(change(b=hold()))] == ["000000000002"]


def test_a_larger_id_that_was_deleted_again_is_told(redis_server, open_another):
    store = open_another()
    store.change(change(a=hold()))
    redis_server.cli("XDEL", EVENTS, redis_server.cli("XADD", EVENTS, "*", "note", "hello").strip())
    with pytest.raises(StoreError, match="rename the key"):
        store.change(change(b=hold()))


@pytest.mark.parametrize("right", ["hset", "hdel", "xadd"])
def test_a_right_that_is_missing_leaves_no_half_change(redis_server, open_another, right):
    store = open_another()
    store.change(change(a=hold()))
    redis_server.cli("ACL", "SETUSER", "me", "on", ">s3cret", "~*", "&*", "+@all", f"-{right}")
    url = redis_server.url.replace("redis://", "redis://me:s3cret@")
    restricted = open_store(url, namespace="shop")
    with pytest.raises(StoreError, match="its ACL forbids"):
        restricted.change(change("released", a=None))
    restricted.close()
    assert [event.type for event in store.events()] == ["hold"]
    store.change(change(b=hold()))
    assert standing(open_another().read()) == {"a": "degraded", "b": "degraded"}


def test_changes_of_many_processes_at_once_all_come_through(open_another):
    stores = [open_another() for _ in range(4)]
    failures: list[Exception] = []

    def work(number: int) -> None:
        try:
            for index in range(10):
                stores[number].change(change("hold", {f"f{number}.{index}": hold()}))
        except Exception as error:  # noqa: BLE001 - shown by the test's own thread
            failures.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    state = open_another().read()
    assert (state.epoch, len(state.holds)) == (40, 40)
    events = stores[0].events()
    assert (len(events), broken_links(events)) == (40, [])


def test_a_hint_reaches_who_listens_and_is_enough(open_another):
    writer, reader = open_another(), open_another()
    writer.read()
    reader.read()
    heard: list[ControlState | None] = []
    stop = threading.Event()
    listening = threading.Thread(target=reader.fleet.listen, args=(heard.append, stop.is_set))
    listening.start()
    try:
        until(lambda: heard)
        assert heard.pop() is None  # messages may have been missed before
        writer.change(change(feed=hold("degraded", dial=0.25)))
        until(lambda: heard)
        state = heard.pop()
        assert state is not None
        assert state.holds["feed"].dial == 0.25
        assert reader.changed()  # who ordered it, and why, comes with the next read
        assert reader.read().holds["feed"].actor == "ana"
        writer.change(change("level", level=None, a=hold(), b=hold()))
        until(lambda: heard)
        assert heard.pop() is None
    finally:
        stop.set()
        listening.join(5)


def test_a_hint_that_overtakes_a_read_is_corrected_by_another_read(redis_server, open_another):
    writer, reader = open_another(), open_another()
    reader.read()
    heard: list[str] = []
    with redis_server.client() as client:
        channel = client.pubsub()
        channel.subscribe("degrade:{shop}:hint")
        until(lambda: channel.get_message(timeout=0.1))
        writer.change(change(feed=hold("off")))
        message = until(lambda: channel.get_message(timeout=0.1))

    def hear(state: ControlState | None) -> None:
        """Be slow: the poll reads the change, and is done, before the hint is obeyed."""
        assert reader.read().holds["feed"].actor == "ana"
        assert state is not None
        heard.append(state.holds["feed"].actor)

    reader._ledger.heard(hear, message["data"].encode())
    assert heard == ["the fleet"]
    assert reader.changed(), "who obeys the hint last reads who ordered it once more"
    reader.read()
    assert not reader.changed()


# ------------------------------------------------------------------ votes, verdicts, leases


def beat(
    store: RedisStore, name: str, cause: str | None = None, *, recovering: bool = False
) -> int:
    base = report(name)
    said: InstanceReport = base.model_copy(update={"epoch": store.read().epoch})
    votes = {} if cause is None else {"feed": Vote(cause=cause, recovering=recovering)}
    return store.fleet.beat(said, votes)


@pytest.fixture
def fleet(open_another, redis_server):
    """Three instances of a namespace old enough for verdicts."""
    stores = [open_another() for _ in range(3)]
    stores[0].read()
    redis_server.cli("HSET", CONTROL, "not_before", "0")
    for number, store in enumerate(stores):
        beat(store, f"i{number}")
    return stores


def decide(store: RedisStore, server) -> list[str]:
    server.cli("DEL", "degrade:{shop}:lease:count")
    return [event.type for event in store.fleet.decide("i0")]


def test_two_of_three_make_a_verdict_and_one_does_not(fleet, redis_server):
    beat(fleet[0], "i0", "p99")
    assert decide(fleet[0], redis_server) == []
    beat(fleet[1], "i1", "p99")
    assert decide(fleet[2], redis_server) == ["fleet_degraded"]
    verdict = fleet[2].read().verdicts["feed"]
    assert (verdict.voters, verdict.live, verdict.cause) == (2, 3, "p99")
    assert decide(fleet[1], redis_server) == []  # it comes once
    beat(fleet[1], "i1")  # STEADY again
    assert decide(fleet[0], redis_server) == ["fleet_over"]
    assert fleet[1].read().verdicts == {}


def test_voters_that_recover_keep_a_verdict_and_begin_none(fleet, redis_server):
    beat(fleet[0], "i0", "p99", recovering=True)
    beat(fleet[1], "i1", "p99")
    assert decide(fleet[2], redis_server) == []
    beat(fleet[0], "i0", "p99")  # its step failed
    assert decide(fleet[2], redis_server) == ["fleet_degraded"]
    beat(fleet[0], "i0", "p99", recovering=True)
    assert decide(fleet[2], redis_server) == []


def test_a_vote_that_is_repeated_or_comes_twice_counts_once(fleet, redis_server):
    for _ in range(3):
        beat(fleet[0], "i0", "p99")
    assert decide(fleet[0], redis_server) == []
    assert redis_server.cli("HLEN", "degrade:{shop}:votes").strip() == "1"


def test_votes_are_counted_by_one_at_a_time(fleet):
    beat(fleet[0], "i0", "p99")
    beat(fleet[1], "i1", "p99")
    found = [event.type for store in fleet for event in store.fleet.decide("i0")]
    assert found == ["fleet_degraded"]


def test_a_goodbye_takes_the_vote_along(fleet, redis_server):
    beat(fleet[0], "i0", "p99")
    beat(fleet[1], "i1", "p99")
    fleet[1].goodbye("i1")
    assert decide(fleet[0], redis_server) == []
    assert {found.id for found in fleet[0].instances()} == {"i0", "i2"}
    assert beat(fleet[0], "i0") == 2


def test_a_vote_that_was_given_up_and_written_late_is_withdrawn(fleet, redis_server):
    said = report("i0")
    redis_server.freeze()
    with pytest.raises(StoreError):
        fleet[0].fleet.beat(said, {"feed": Vote(cause="p99")})
    redis_server.thaw()
    until(
        lambda: fleet[1].fleet.votes() == {"feed": {"i0": Vote(cause="p99")}}, what="the late vote"
    )
    fleet[0].fleet.beat(said, {})
    assert fleet[1].fleet.votes() == {}


def test_thousands_of_votes_come_and_go_with_one_heartbeat(fleet, redis_server):
    said = report("i0")
    many = {f"f{number}": Vote(cause="p99") for number in range(4_500)}
    assert fleet[0].fleet.beat(said, many) == 3
    assert len(fleet[1].fleet.votes()) == 4_500
    assert fleet[0].fleet.beat(said, {"f1": many["f1"]}) == 3
    assert list(fleet[1].fleet.votes()) == ["f1"]
    fleet[0].fleet.beat(said, many)
    fleet[0].goodbye("i0")
    assert redis_server.cli("HLEN", "degrade:{shop}:votes").strip() == "0"
    assert redis_server.cli("ZCARD", "degrade:{shop}:deadlines").strip() == "2"


def test_what_ended_is_swept_by_whoever_comes(fleet, redis_server):
    beat(fleet[1], "i1", "p99")
    redis_server.cli("ZADD", "degrade:{shop}:deadlines", "1", "i1", "1", "feed i1")
    beat(fleet[0], "i0")
    assert {found.id for found in fleet[0].instances()} == {"i0", "i2"}
    assert redis_server.cli("HKEYS", "degrade:{shop}:votes").split() == []
    assert "i1" not in redis_server.cli("HKEYS", "degrade:{shop}:instances").split()


def test_the_probe_lease_has_one_holder_and_a_token_that_only_grows(fleet, redis_server):
    assert fleet[0].fleet.take_probe("feed", "i0") is None  # no verdict stands
    beat(fleet[0], "i0", "p99")
    beat(fleet[1], "i1", "p99")
    decide(fleet[0], redis_server)
    token = fleet[0].fleet.take_probe("feed", "i0")
    assert token is not None
    assert fleet[1].fleet.take_probe("feed", "i1") is None
    assert fleet[0].fleet.take_probe("feed", "i0") == token  # renewed
    redis_server.cli("DEL", "degrade:{shop}:lease:probe:feed")  # it ran out
    later = fleet[1].fleet.take_probe("feed", "i1")
    assert later is not None
    assert later > token
    assert fleet[0].fleet.recovering("feed", "i0", token) == ()  # fenced off
    assert not fleet[2].read().verdicts["feed"].recovering
    assert [event.type for event in fleet[1].fleet.recovering("feed", "i1", later)] == [
        "fleet_recovering"
    ]
    assert fleet[2].read().verdicts["feed"].recovering
    assert fleet[2].fleet.take_probe("feed", "i2") is None  # everybody recovers by itself


@pytest.mark.parametrize("garbage", ["", "mine", "i0", "i0 soon", "i1 \xff"])
def test_a_lease_or_fence_that_somebody_wrote_by_hand_is_as_none(fleet, redis_server, garbage):
    lease = "degrade:{shop}:lease:probe:feed"
    beat(fleet[0], "i0", "p99")
    beat(fleet[1], "i1", "p99")
    decide(fleet[0], redis_server)
    redis_server.cli("SET", lease, garbage)
    redis_server.cli("HSET", CONTROL, "fence", garbage)
    token = fleet[0].fleet.take_probe("feed", "i0")
    assert token is not None
    assert fleet[1].fleet.take_probe("feed", "i1") is None
    assert redis_server.cli("GET", lease) == f"i0 {token}"
    assert int(redis_server.cli("PTTL", lease)) > 0
    assert [event.type for event in fleet[0].fleet.recovering("feed", "i0", token)] == [
        "fleet_recovering"
    ]


def test_after_a_failed_step_nobody_probes_for_a_while(fleet, redis_server):
    beat(fleet[0], "i0", "p99")
    beat(fleet[1], "i1", "p99")
    decide(fleet[0], redis_server)
    token = fleet[0].fleet.take_probe("feed", "i0")
    assert token is not None
    fleet[0].fleet.give_probe("feed", "i0", token, retry_in_s=60.0)
    assert [store.fleet.take_probe("feed", f"i{n}") for n, store in enumerate(fleet)] == [None] * 3
    verdict = fleet[1].read().verdicts["feed"]
    assert 50 < verdict.retry_at - fleet[1].now() <= 60


def test_no_reply_is_large_however_many_flags_and_instances_there_are(fleet, redis_server):
    small = report("i0")
    (flag,) = small.flags.values()
    flags = {f"flag{number}": flag for number in range(1_000)} | {"feed": flag}
    for number in range(3, 103):
        vote = {"feed": Vote(cause="p99")} if number % 2 else {}
        said = small.model_copy(update={"id": f"i{number}", "flags": flags})
        fleet[0].fleet.beat(said, vote)
    redis_server.cli("CONFIG", "SET", "client-output-buffer-limit", "normal 8mb 0 0")
    used = int(redis_server.cli("MEMORY", "USAGE", "degrade:{shop}:instances", "SAMPLES", "0"))
    assert used > 20e6, "at once they would be more than the server lets a client ask"
    assert len(fleet[1].instances()) == 103
    beat(fleet[0], "i0", "p99")
    beat(fleet[1], "i1", "p99")
    assert decide(fleet[2], redis_server) == ["fleet_degraded"]
    verdict = fleet[2].read().verdicts["feed"]
    assert (verdict.voters, verdict.live) == (52, 103)


def test_who_had_no_calls_of_a_flag_does_not_count(fleet, redis_server):
    base = report("i0")
    (flag,) = base.flags.values()
    idle = {"feed": flag.model_copy(update={"active": False})}
    for number in range(3, 9):
        said = base.model_copy(update={"id": f"i{number}", "flags": idle})
        fleet[0].fleet.beat(said, {})
    beat(fleet[0], "i0", "p99")
    beat(fleet[1], "i1", "p99")
    assert decide(fleet[0], redis_server) == ["fleet_degraded"]
    assert fleet[0].read().verdicts["feed"].live == 3
