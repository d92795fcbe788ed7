"""The operator's verbs: what they write, what they refuse, and what they tell to do next."""

from __future__ import annotations

import pytest

from degrade.control import Control
from degrade.core.enums import Mode, Phase
from degrade.core.records import FlagInfo, FlagReport, InstanceReport
from degrade.errors import ConfigError, StoreError, UnknownFlagError
from degrade.stores.local_holds import LocalHolds
from degrade.stores.memory import MemoryStore
from degrade.testing.store_records import change, hold

FLAGS = (
    FlagInfo(name="feed.ranking", level=2, owner="feed team", message="A simpler order."),
    FlagInfo(name="feed.analytics", level=3),
    FlagInfo(name="billing"),
)


@pytest.fixture
def store(clock):
    store = MemoryStore(clock=clock)
    store.declare(FLAGS)
    return store


@pytest.fixture
def local(tmp_path, clock):
    return LocalHolds(directory=tmp_path, clock=clock)


@pytest.fixture
def control(store, clock, local):
    return Control(store, actor="ana", clock=clock, local=local)


def flag_report(mode="normal", *, since=0.0, dial=None, phase="steady", reason="steady", **more):
    return FlagReport(
        phase=Phase(phase),
        mode=Mode(mode),
        dial=(0.0 if mode == "normal" else 1.0) if dial is None else dial,
        since=since,
        reason=reason,
        **more,
    )


def heard(store, name, *, epoch=0, **flags):
    store.report(
        InstanceReport(
            id=name,
            host=f"host-{name}",
            pid=1,
            version="1",
            started=0.0,
            at=0.0,
            epoch=epoch,
            flags={flag.replace("_", "."): report for flag, report in flags.items()},
        )
    )


def only(status, name):
    return next(flag for flag in status.flags if flag.name == name)


def commands(advice):
    return [" ".join(command.words) for command in advice.commands]


class TestHold:
    def test_a_hold_is_written_with_its_event_and_tells_the_epoch(self, control, store, clock):
        done = control.hold("feed.ranking", "off", for_="30m", reason=" bad model ")
        stands = store.read().holds["feed.ranking"]
        assert done.hold == stands
        assert (stands.actor, stands.reason, stands.until) == (
            "ana",
            "bad model",
            clock.wall() + 1800,
        )
        assert (done.epoch, done.replaced, done.local) == (1, None, False)
        assert store.events()[-1].id == done.event

    def test_until_released_is_said_by_none(self, control):
        assert control.hold("billing", "normal", for_=None, reason="x").hold.until is None

    def test_a_hold_returns_the_one_that_it_replaces(self, control):
        control.hold("billing", "off", for_="1m", reason="x")
        done = control.hold("billing", "degraded", for_="1m", reason="y", dial="25%", actor="bob")
        assert (done.replaced.mode, done.hold.dial, done.hold.actor) == ("off", 0.25, "bob")

    def test_every_flag_is_held_under_the_star(self, control, store):
        control.hold("*", "observe", for_="1m", reason="calm down")
        assert list(store.read().holds) == ["*"]

    def test_an_undeclared_flag_is_refused_with_the_closest_names(self, control, store):
        with pytest.raises(UnknownFlagError, match=r"did you mean 'feed.ranking'"):
            control.hold("feed.rankin", "off", for_="1m", reason="x")
        assert store.events() == []

    def test_with_nothing_close_the_declared_names_are_listed(self, control):
        with pytest.raises(UnknownFlagError, match=r"declared are: billing, feed.analytics"):
            control.hold("zzz", "off", for_="1m", reason="x")

    def test_an_undeclared_flag_is_held_by_force_and_known_from_then_on(self, control):
        control.hold("coming.soon", "off", for_="1m", reason="x", force=True)
        assert only(control.status(), "coming.soon").info is None
        assert control.release("coming.soon", reason="y").holds

    @pytest.mark.parametrize("name", ["", "a b", "a\nb", "[red]", "x" * 101, "ä", "-a", "_a"])
    def test_not_even_force_holds_what_cannot_be_a_name(self, control, name):
        with pytest.raises(ConfigError) as caught:
            control.hold(name, "off", for_="1m", reason="x", force=True)
        assert caught.value.code == "bad-name"

    @pytest.mark.parametrize("name", ["_incarnation", "_feed"])
    @pytest.mark.parametrize("here", [False, True])
    def test_a_name_with_an_underscore_first_that_an_older_release_left_is_released_but_not_held(
        self, control, store, name, here
    ):
        store.declare([FlagInfo(name=name)])
        store.change(change("hold", {name: hold("off")}))
        with pytest.raises(ConfigError, match="begins with a letter or a digit") as caught:
            control.hold(name, "off", for_="1m", reason="x", local=here)
        assert caught.value.code == "bad-name"
        assert name in control.release(name, reason="it cannot be held any more").holds
        assert store.read().holds == {}

    @pytest.mark.parametrize(
        ("changes", "code"),
        [
            ({"reason": "  "}, "bad-hold"),
            ({"reason": "x" * 1001}, "bad-hold"),
            ({"mode": "of"}, "bad-hold"),
            ({"for_": 0}, "bad-hold"),
            ({"for_": "soon"}, "bad-duration"),
            ({"dial": 0}, "bad-hold"),
            ({"dial": 25}, "bad-ratio"),
            ({"mode": "off", "dial": 0.5}, "bad-hold"),
            ({"actor": " "}, "bad-name"),
            ({"actor": "x" * 201}, "bad-name"),
            ({"actor": "ana\x1b[2J"}, "bad-name"),
            ({"actor": "ana\nbob"}, "bad-name"),
            ({"actor": "ana\x9b31m"}, "bad-name"),
            ({"actor": "ana\u2028bob"}, "bad-name"),
        ],
    )
    def test_an_order_that_makes_no_sense_is_refused_and_nothing_written(
        self, control, store, changes, code
    ):
        asked = {"mode": "degraded", "for_": "1m", "reason": "x"} | changes
        with pytest.raises(ConfigError) as caught:
            control.hold("billing", asked.pop("mode"), **asked)
        assert caught.value.code == code
        assert store.events() == []

    def test_no_name_of_an_account_keeps_anybody_from_acting(
        self, store, clock, local, monkeypatch
    ):
        monkeypatch.setenv("LOGNAME", "a\nb\x1b" + "x" * 300)
        monkeypatch.delenv("SUDO_USER", raising=False)
        control = Control(store, clock=clock, local=local)
        done = control.hold("billing", "off", for_="1m", reason="x")
        assert done.hold.actor == "a?b?" + "x" * 196

    def test_bytes_that_are_no_text_do_not_stop_an_operator(self, control):
        done = control.hold("billing", "off", for_="1m", reason="b\udcffd", actor="a\udcff")
        assert (done.hold.reason, done.hold.actor) == ("b?d", "a?")


class TestExtend:
    def test_it_lasts_from_now_and_nothing_else_changes(self, control, clock):
        before = control.hold("billing", "off", for_="10m", reason="bad").hold
        clock.advance(300)
        done = control.extend("billing", for_="30m", actor="bob")
        assert done.hold.until == clock.wall() + 1800
        assert (done.hold.mode, done.hold.actor, done.hold.at) == ("off", "ana", before.at)
        assert control.extend("billing", for_=None).hold.until is None

    def test_it_never_shortens(self, control):
        control.hold("billing", "off", for_="1h", reason="x")
        with pytest.raises(ConfigError, match="lasts longer already"):
            control.extend("billing", for_="30m")
        control.extend("billing", for_=None)
        with pytest.raises(ConfigError, match="until released"):
            control.extend("billing", for_="30m")

    def test_there_must_be_a_hold_that_has_not_ended(self, control, clock):
        with pytest.raises(ConfigError, match="no hold"):
            control.extend("billing", for_="30m")
        control.hold("billing", "off", for_="1m", reason="x")
        clock.advance(60)
        with pytest.raises(ConfigError, match="no hold"):
            control.extend("billing", for_="30m")


class TestRelease:
    def test_it_removes_the_hold_and_leaves_who_and_why(self, control, store):
        control.hold("billing", "off", for_=None, reason="x")
        done = control.release("billing", reason="fixed", now=True)
        assert (set(done.holds), done.epoch, done.now) == ({"billing"}, 2, True)
        tomb = store.read().released["billing"]
        assert (tomb.actor, tomb.reason, tomb.now) == ("ana", "fixed", True)

    def test_releasing_what_is_not_held_does_nothing_and_says_so(self, control, store):
        done = control.release("billing", reason="x")
        assert (done.holds, done.epoch) == ({}, None)
        assert store.events() == []

    def test_the_star_releases_every_hold(self, control, store):
        for name in ("billing", "feed.ranking", "*"):
            control.hold(name, "off", for_="1m", reason="x")
        done = control.release("*", reason="over")
        assert set(done.holds) == {"billing", "feed.ranking", "*"}
        assert store.read().holds == {}

    def test_what_goes_on_to_concern_the_flag_is_told(self, control):
        control.hold("*", "off", for_="1m", reason="x")
        control.hold("feed.ranking", "normal", for_="1m", reason="x")
        assert "hold on every flag" in control.release("feed.ranking", reason="y").still
        assert control.release("*", reason="y").still is None
        control.order_level(2, for_="1m", reason="z")
        control.hold("feed.ranking", "normal", for_="1m", reason="x")
        assert "level 2" in control.release("feed.ranking", reason="y").still
        assert control.release("billing", reason="y").still is None

    def test_a_misspelt_name_is_refused(self, control):
        with pytest.raises(UnknownFlagError, match="billing"):
            control.release("biling", reason="x")

    def test_a_reason_is_required(self, control):
        with pytest.raises(ConfigError):
            control.release("billing", reason="")


class TestLevels:
    def test_a_level_names_the_flags_that_it_degrades(self, control, store, clock):
        control.hold("feed.ranking", "normal", for_="1m", reason="exempt")
        done = control.order_level(2, for_="10m", reason="too much load")
        assert set(done.flags) == {"feed.ranking", "feed.analytics"}
        assert done.exempt == ("feed.ranking",)
        assert store.read().level == done.order
        assert done.order.until == clock.wall() + 600
        assert control.order_level(3, for_=None, reason="less").replaced == done.order

    def test_its_release_tells_what_it_was(self, control, store):
        assert control.release_level(reason="x").order is None
        control.order_level(3, for_=None, reason="y")
        done = control.release_level(reason="over", now=True)
        assert (done.order.level, done.epoch) == (3, 2)
        assert store.read().level_released.now is True

    @pytest.mark.parametrize("level", [0, 4, True, "3"])
    def test_other_levels_are_refused(self, control, level):
        with pytest.raises(ConfigError):
            control.order_level(level, for_=None, reason="x")


class TestStatus:
    def test_all_well_needs_no_advice(self, control, store):
        heard(store, "a", feed_ranking=flag_report())
        status = control.status()
        assert [flag.name for flag in status.flags] == ["billing", "feed.analytics", "feed.ranking"]
        assert {flag.mode for flag in status.flags} == {Mode.NORMAL}
        assert status.advice == ()

    def test_instances_are_counted_and_the_worst_leads(self, control, store, clock):
        heard(store, "a", feed_ranking=flag_report(calls={"full": 5}))
        heard(
            store,
            "b",
            feed_ranking=flag_report(
                "degraded",
                since=clock.wall() - 60,
                dial=0.5,
                phase="recovering",
                reason="breach: errors 31 %",
                calls={"full": 1, "degraded": 2},
                oldest_age_s=7.0,
            ),
        )
        status = control.status()
        flag = status.flags[0]
        assert (flag.name, flag.mode, flag.phase) == ("feed.ranking", "degraded", "recovering")
        assert (flag.degraded, flag.instances, flag.silent) == (1, 2, 0)
        assert (flag.dial, flag.since) == (0.5, clock.wall() - 60)
        assert (flag.reason, flag.oldest_age_s) == ("breach: errors 31 %", 7.0)
        assert flag.calls == {"full": 6, "degraded": 2}
        (advice,) = status.advice
        assert (advice.by, advice.reason) == ("automation", "breach: errors 31 %")
        assert (advice.degraded, advice.instances) == (1, 2)
        assert advice.state == "partly degraded"
        assert commands(advice)[0] == "why feed.ranking"

    def test_silent_instances_are_told_apart_and_forgotten_in_the_end(self, control, store, clock):
        heard(store, "a", billing=flag_report("degraded"))
        clock.advance(31)
        heard(store, "b", billing=flag_report())
        flag = only(control.status(), "billing")
        assert (flag.instances, flag.degraded, flag.silent) == (2, 1, 1)
        clock.advance(590)
        assert only(control.status(), "billing").instances == 1

    def test_a_hold_shows_at_once_and_gives_the_commands_to_end_it(self, control, clock):
        control.hold("feed.ranking", "off", for_="30m", reason="bad model")
        status = control.status()
        flag = status.flags[0]
        assert (flag.name, flag.mode, flag.held_as) == ("feed.ranking", "off", "feed.ranking")
        (advice,) = status.advice
        assert (advice.subject, advice.by, advice.reason) == ("feed.ranking", "ana", "bad model")
        assert (advice.since, advice.until) == (clock.wall(), clock.wall() + 1800)
        assert commands(advice) == [
            "extend feed.ranking --for 30m",
            "release feed.ranking --reason REASON",
        ]

    def test_an_ended_hold_is_as_if_it_were_not_there(self, control, clock):
        control.hold("feed.ranking", "off", for_="30m", reason="bad model")
        clock.advance(1800)
        status = control.status()
        assert only(status, "feed.ranking").mode is Mode.NORMAL
        assert status.advice == ()

    def test_a_level_is_one_piece_of_advice_for_all_its_flags(self, control):
        control.order_level(3, for_=None, reason="load")
        status = control.status()
        (advice,) = status.advice
        assert (advice.subject, advice.flags) == ("level 3", ("feed.analytics",))
        assert commands(advice) == ["level release --reason REASON"]
        assert only(status, "feed.ranking").mode is Mode.NORMAL
        assert only(status, "billing").level is None

    def test_a_hold_on_every_flag_is_one_piece_of_advice(self, control):
        control.hold("*", "degraded", for_="5m", reason="storm")
        (advice,) = control.status().advice
        assert (advice.subject, len(advice.flags)) == ("every flag", 3)
        assert commands(advice) == ["extend * --for 30m", "release * --reason REASON"]

    @pytest.mark.parametrize(
        ("own", "everyone", "held_as", "mode"),
        [
            ("normal", "off", "billing", "normal"),
            ("degraded", "off", "*", "off"),
            ("observe", "degraded", "*", "degraded"),
            ("degraded", "normal", "*", "normal"),
            ("degraded", "observe", "billing", "degraded"),
            ("observe", "observe", "billing", "normal"),
        ],
    )
    def test_the_hold_that_decides_is_the_one_shown(self, control, own, everyone, held_as, mode):
        control.hold("billing", own, for_=None, reason="x")
        control.hold("*", everyone, for_=None, reason="y")
        flag = only(control.status(), "billing")
        assert (flag.held_as, flag.mode) == (held_as, mode)

    def test_one_flag_can_be_asked_for(self, control):
        control.order_level(3, for_=None, reason="load")
        status = control.status("billing")
        assert [flag.name for flag in status.flags] == ["billing"]
        assert status.advice == ()
        with pytest.raises(UnknownFlagError, match="billing"):
            control.status("bilings")

    def test_a_damaged_local_file_does_not_hide_the_fleet(self, control, local):
        local.path.write_text("{")
        assert len(control.status().flags) == 3


class TestWhy:
    def test_it_joins_orders_evidence_and_events(self, control, store, clock):
        control.order_level(2, for_=None, reason="load", actor="bob")
        control.hold("feed.ranking", "degraded", for_="1h", reason="bad model", dial=0.5)
        heard(
            store,
            "old",
            epoch=1,
            feed_ranking=flag_report("degraded", verdict=("p99 3 % slow, allowed 1 %",)),
        )
        clock.advance(40)
        heard(store, "new", epoch=2, feed_ranking=flag_report("degraded"))
        why = control.why("feed.ranking")
        assert why.orders == (
            "hold on this flag: degraded by ana: bad model",
            "level 2 by bob: load; it degrades this flag, whose level is 2",
        )
        new, old = why.instances
        assert (new.id, new.silent, new.behind) == ("new", False, False)
        assert (old.id, old.silent, old.behind) == ("old", True, True)
        assert old.report.verdict == ("p99 3 % slow, allowed 1 %",)
        assert [event.type for event in why.events] == ["hold"]
        assert {advice.subject for advice in why.advice} == {"level 2", "feed.ranking"}

    @pytest.mark.parametrize(
        ("flag", "level", "words"),
        [
            ("billing", 3, "which has no level"),
            ("feed.ranking", 3, "leaves this flag alone, whose level is 2"),
            ("feed.analytics", 3, "does not decide, because the hold does"),
        ],
    )
    def test_it_says_why_a_level_does_not_decide(self, control, flag, level, words):
        control.hold("feed.analytics", "normal", for_=None, reason="x")
        control.order_level(level, for_=None, reason="y")
        assert words in control.why(flag).orders[-1]

    def test_an_unknown_flag_is_refused(self, control):
        with pytest.raises(UnknownFlagError):
            control.why("nope")


class TestLocal:
    def test_a_local_hold_is_written_for_this_host_and_not_to_the_store(
        self, control, store, local, clock
    ):
        done = control.hold("billing", "off", for_="10m", reason="x", local=True)
        assert (done.epoch, done.local, done.where) == (None, True, str(local.path))
        assert local.read()["billing"].until == clock.wall() + 600
        assert store.read().epoch == 0
        flag = only(control.status(), "billing")
        assert flag.local == done.hold
        (advice,) = control.status().advice
        assert commands(advice) == ["release billing --local --reason REASON"]

    def test_it_is_released_alone(self, control, store, local):
        control.hold("billing", "off", for_=None, reason="x", local=True)
        control.hold("billing", "degraded", for_=None, reason="x")
        done = control.release("billing", reason="y", local=True)
        assert (set(done.holds), done.local) == ({"billing"}, True)
        assert local.read() == {}
        assert set(store.read().holds) == {"billing"}

    def test_its_release_cannot_skip_recovery(self, control, local):
        control.hold("billing", "off", for_=None, reason="x", local=True)
        with pytest.raises(ConfigError, match="--now"):
            control.release("billing", reason="y", local=True, now=True)
        assert set(local.read()) == {"billing"}

    def test_it_works_with_a_dead_store(self, clock, local):
        store = MemoryStore(clock=clock)
        store.close()
        control = Control(store, actor="ana", clock=clock, local=local)
        with pytest.raises(StoreError):
            control.hold("billing", "off", for_=None, reason="x")
        done = control.hold("billing", "off", for_=None, reason="x", local=True)
        assert done.unchecked is True
        assert set(local.read()) == {"billing"}
        assert control.release("billing", reason="y", local=True).holds

    def test_with_a_readable_store_names_are_checked(self, control):
        with pytest.raises(UnknownFlagError):
            control.hold("biling", "off", for_=None, reason="x", local=True)


def test_events_are_paged_by_id_and_flag(control):
    control.hold("billing", "off", for_=None, reason="x")
    control.hold("feed.ranking", "off", for_=None, reason="x")
    first, second = control.events()
    assert control.events(first.id) == [second]
    assert control.events(flag="billing") == [first]
    assert control.events(limit=1) == [second]


def test_the_actor_is_the_user_also_behind_sudo(store, local, monkeypatch):
    monkeypatch.delenv("SUDO_USER", raising=False)
    monkeypatch.setenv("LOGNAME", "root")
    assert Control(store, local=local).hold("*", "off", for_=None, reason="x").hold.actor == "root"
    monkeypatch.setenv("SUDO_USER", "ana")
    done = Control(store, local=local).hold("*", "off", for_=None, reason="x")
    assert done.hold.actor == "ana (as root)"
