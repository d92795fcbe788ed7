"""What status says to do now when two make a flag degraded, and under which name an order stands."""

from __future__ import annotations

import shlex

import pytest

from degrade.control import Control
from degrade.core.enums import Mode, Phase
from degrade.core.records import FlagInfo, FlagReport, InstanceReport
from degrade.errors import ConfigError, UnknownFlagError
from degrade.stores.local_holds import LocalHolds
from degrade.stores.memory import MemoryStore


@pytest.fixture
def store(clock):
    store = MemoryStore(clock=clock)
    store.declare([FlagInfo(name="feed.ads", level=3), FlagInfo(name="billing", level=3)])
    return store


@pytest.fixture
def control(store, clock, tmp_path):
    return Control(
        store, actor="ana", clock=clock, local=LocalHolds(directory=tmp_path, clock=clock)
    )


def breached(store, *, dial=1.0, phase=Phase.DEGRADED):
    said = FlagReport(
        phase=phase, mode=Mode.DEGRADED, dial=dial, since=0.0, reason="breach: errors 31 %"
    )
    store.report(
        InstanceReport(
            id="a", host="h", pid=1, version="1", started=0, at=0, epoch=0, flags={"feed.ads": said}
        )
    )


def who(control):
    return [(item.subject, item.state, item.by) for item in control.status().advice]


def ends(control):
    """Return every command of the advice that ends something."""
    return [
        shlex.join(command.words)
        for item in control.status().advice
        for command in item.commands
        if command.purpose == "end it"
    ]


@pytest.mark.parametrize(("name", "subject"), [("feed.ads", "feed.ads"), ("*", "every flag")])
def test_the_automation_shows_behind_a_hold_that_degrades_less(control, store, name, subject):
    control.hold(name, "degraded", for_="30m", reason="half", dial="10%")
    assert who(control) == [(subject, "partly degraded", "ana")]
    breached(store)
    assert who(control) == [
        (subject, "partly degraded", "ana"),
        ("feed.ads", "degraded", "automation"),
    ]
    behind = control.status().advice[1]
    assert behind.reason == "breach: errors 31 %"
    assert behind.ends == "comes back by itself, on evidence of health, to the 10% of the hold"


@pytest.mark.parametrize(
    ("dial", "seen"),
    [("100%", {"dial": 1.0}), ("50%", {"dial": 0.5}), ("10%", {"phase": Phase.STEADY})],
)
def test_a_hold_speaks_alone_while_the_automation_wants_no_more(control, store, dial, seen):
    breached(store, **seen)
    control.hold("feed.ads", "degraded", for_="30m", reason="half", dial=dial)
    assert [by for _, _, by in who(control)] == ["ana"]


def test_an_ordered_level_hides_the_automation_as_both_ask_for_everything(control, store):
    breached(store)
    control.hold("feed.ads", "degraded", for_="30m", reason="half", dial="10%")
    control.order_level(3, for_="30m", reason="load")
    assert "automation" not in {by for _, _, by in who(control)}


def test_a_local_hold_on_every_flag_is_ended_under_its_own_name(control):
    control.hold("*", "off", for_="30m", reason="store dead", local=True)
    assert who(control) == [("every flag", "off", "ana, on this host alone")]
    (advice,) = control.status().advice
    assert advice.flags == ("billing", "feed.ads")
    assert ends(control) == ["release '*' --local --reason REASON"]
    assert control.why("billing").orders == (
        "on this host alone, every flag: off by ana: store dead",
    )
    assert set(control.release("*", reason="over", local=True).holds) == {"*"}
    assert control.status().advice == ()


def test_a_local_hold_of_a_flag_comes_before_one_on_every_flag(control):
    control.hold("*", "off", for_="30m", reason="store dead", local=True)
    control.hold("billing", "degraded", for_="30m", reason="less", local=True)
    assert [item.flags for item in control.status().advice] == [("feed.ads",), ("billing",)]
    assert ends(control) == [
        "release '*' --local --reason REASON",
        "release billing --local --reason REASON",
    ]


def test_a_local_release_tells_of_the_local_hold_on_every_flag(control, clock):
    control.hold("*", "off", for_="30m", reason="store dead", local=True)
    done = control.release("billing", reason="over", local=True)
    assert done.holds == {}
    assert done.still == ("the local hold on every flag, off by ana; end it by release '*' --local")
    clock.advance(1_800)
    assert control.release("billing", reason="over", local=True).still is None


@pytest.mark.parametrize(
    ("own", "everyone", "exempt"),
    [
        (None, None, ()),
        ("normal", None, ("feed.ads",)),
        ("off", None, ("feed.ads",)),
        (None, "normal", ("feed.ads", "billing")),
        ("degraded", "normal", ("feed.ads", "billing")),
        ("normal", "degraded", ("feed.ads",)),
        ("observe", "degraded", ()),
    ],
)
def test_a_level_tells_which_flags_it_does_not_degrade(control, own, everyone, exempt):
    for name, mode in (("feed.ads", own), ("*", everyone)):
        if mode is not None:
            control.hold(name, mode, for_="1h", reason="launch")
    done = control.order_level(3, for_="30m", reason="load")
    assert set(done.exempt) == set(exempt)
    degraded = {flag.name for flag in control.status().flags if flag.level is not None}
    assert degraded == set(done.flags) - set(done.exempt)


class TestOverriddenHere:
    """A local hold over an order of the fleet: what stands here, and how each of them ends."""

    @pytest.mark.parametrize(
        ("name", "local"), [("billing", "billing"), ("*", "*"), ("*", "billing")]
    )
    def test_the_local_hold_that_overrides_a_hold_of_the_fleet_is_told_with_its_end(
        self, control, name, local
    ):
        control.hold(name, "off", for_="30m", reason="bad")
        control.hold(local, "normal", for_="30m", reason="good here", actor="bob", local=True)
        (advice,) = control.status("billing").advice
        which = "every flag" if local == "*" else local
        assert advice.note == (
            f"On this host a local hold on {which} overrides it: normal by bob: good here"
        )
        ended = [command.words for command in advice.commands if "end" in command.purpose]
        assert ended == [
            ("release", name, "--reason", "REASON"),
            ("release", local, "--local", "--reason", "REASON"),
        ]
        assert control.why("billing").orders[0].endswith("it overrides the rest on this host")

    def test_a_local_hold_overrides_a_level_when_it_decides_alone(self, control):
        control.order_level(3, for_="30m", reason="load")
        control.hold("billing", "normal", for_="30m", reason="good here", local=True)
        (advice,) = control.status().advice
        assert advice.note.startswith("On this host a local hold on billing overrides it")
        assert not control.status("feed.ads").flags[0].overrides

    def test_a_local_hold_on_every_flag_overrides_no_absolute_hold_on_a_flag(self, control):
        control.hold("billing", "off", for_="30m", reason="bad")
        control.hold("*", "normal", for_="30m", reason="good here", local=True)
        assert not control.status("billing").flags[0].overrides
        assert "overrides" not in control.why("billing").orders[0]

    def test_the_mode_is_what_the_instances_report_once_all_have_applied_the_order(
        self, control, store
    ):
        control.hold("billing", "off", for_="30m", reason="bad")
        control.hold("billing", "normal", for_="30m", reason="good here", local=True)
        said = FlagReport(
            phase=Phase.STEADY, mode=Mode.NORMAL, dial=0.0, since=0.0, reason="hold by ana: here"
        )
        for epoch, mode in ((0, "off"), (1, "normal")):
            store.report(
                InstanceReport(
                    id="a", host="h", pid=1, version="1", started=0, at=0, epoch=epoch,
                    flags={"billing": said},
                )
            )  # fmt: skip
            (flag,) = control.status("billing").flags
            assert (flag.mode, flag.dial) == (mode, 1.0 if mode == "off" else 0.0)
        assert flag.reason == "hold by ana: here"
        assert control.status("billing").advice != (), "the order of the fleet stands elsewhere"


def test_a_release_and_an_extension_name_the_hold_of_this_host_alone(control):
    control.hold("billing", "off", for_="30m", reason="bad", local=True)
    done = control.release("billing", reason="over")
    assert done.holds == {}
    assert (
        done.still == "the local hold on this host, off by ana; end it by release billing --local"
    )
    with pytest.raises(ConfigError, match="of this host alone; hold it again with --local"):
        control.extend("billing", for_="1h")


def test_a_flag_that_is_held_on_this_host_alone_is_no_unknown_one_to_a_release(control):
    control.hold("coming", "off", for_="30m", reason="bad", local=True, force=True)
    assert "release coming --local" in control.release("coming", reason="over").still


def test_a_local_release_of_what_nobody_declared_is_refused_unless_it_is_held(control):
    with pytest.raises(UnknownFlagError, match="did you mean 'billing'"):
        control.release("biling", reason="over", local=True)
    control.hold("biling", "off", for_="30m", reason="bad", local=True, force=True)
    assert set(control.release("biling", reason="over", local=True).holds) == {"biling"}
