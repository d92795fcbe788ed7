"""Resolution of any layers together: what no layer can do to another."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hypothesis import assume, given
from hypothesis import strategies as st

from degrade.core.enums import HoldMode, Mode
from degrade.core.policy import Recovery
from degrade.core.records import Hold
from degrade.core.resolve import Resolved, resolve
from degrade.core.state_machine import HoldEnded, initial, step
from tests.properties.strategies import NOW_WALL, holds, leases, levels, machine_states

ABSOLUTE = {HoldMode.OFF: (Mode.OFF, 1.0), HoldMode.NORMAL: (Mode.NORMAL, 0.0)}
STEADY = initial(Recovery(), 0.0)

layers = st.fixed_dictionaries(
    {
        "hold": st.none() | holds(),
        "everyone": st.none() | holds(),
        "level": st.none() | levels(),
        "flag_level": st.none() | st.integers(1, 3),
        "leases": st.lists(leases(), max_size=3),
        "machine": machine_states(),
        "now_wall": st.just(NOW_WALL),
    }
)
Layers = dict[str, Any]


def in_force(order: Any) -> bool:
    return order is not None and (order.until is None or order.until > NOW_WALL)


def standing(mode: HoldMode) -> Hold:
    return Hold(mode=mode, actor="cyd", reason="drill", at=NOW_WALL - 60)


def modes(given_layers: Layers) -> list[HoldMode]:
    """The modes of the holds in force, the flag's own one first."""
    orders: list[Hold] = [given_layers["hold"], given_layers["everyone"]]
    return [order.mode for order in orders if in_force(order)]


def absolute(given_layers: Layers) -> list[HoldMode]:
    return [mode for mode in modes(given_layers) if mode in ABSOLUTE]


@given(layers, st.sampled_from(["hold", "everyone"]), st.sampled_from(sorted(ABSOLUTE)))
def test_an_absolute_hold_decides_alone_and_the_flags_own_one_first(
    given_layers: Layers, name: str, mode: HoldMode
):
    given_layers = given_layers | {name: standing(mode)}
    orders = absolute(given_layers)
    answer = resolve(**given_layers)
    assert (answer.mode, answer.dial) == answer.would == ABSOLUTE[orders[0]]


@given(layers)
def test_the_mode_follows_from_the_dial_unless_it_is_off(given_layers: Layers):
    answer = resolve(**given_layers)
    assert 0 <= answer.dial <= 1
    if answer.mode is not Mode.OFF:
        assert (answer.mode is Mode.DEGRADED) is (answer.dial > 0)
    assert (answer.would[0] is Mode.NORMAL) is (answer.would[1] == 0)
    assert answer.running_share + answer.dial == 1


@given(layers, st.sampled_from(["hold", "everyone", "level", "leases", "machine"]))
def test_without_absolute_holds_and_observers_no_layer_lowers_the_dial(
    given_layers: Layers, name: str
):
    assume(not absolute(given_layers) and HoldMode.OBSERVE not in modes(given_layers))
    nothing = {"leases": [], "machine": STEADY}.get(name)
    without = resolve(**(given_layers | {name: nothing}))
    assert resolve(**given_layers).dial >= without.dial


@given(layers)
def test_the_dial_is_one_that_some_layer_asks_for(given_layers: Layers):
    asked = {0.0, 1.0, 1.0 - given_layers["machine"].share}
    asked |= {lease.dial for lease in given_layers["leases"]}
    asked |= {order.dial for name in ("hold", "everyone") if (order := given_layers[name])}
    answer = resolve(**given_layers)
    assert answer.dial in asked
    assert answer.would[1] in asked


@given(layers)
def test_what_is_past_its_end_is_as_if_it_were_not_there(given_layers: Layers):
    kept = dict(given_layers)
    for name in ("hold", "everyone", "level"):
        kept[name] = kept[name] if in_force(kept[name]) else None
    kept["leases"] = [lease for lease in kept["leases"] if in_force(lease)]
    assert resolve(**given_layers) == resolve(**kept)


@given(layers, st.sampled_from(["hold", "everyone"]))
def test_observing_is_as_if_the_automation_were_steady_and_tells_what_it_is(
    given_layers: Layers, observer: str
):
    given_layers = given_layers | {observer: standing(HoldMode.OBSERVE)}
    seen = {name: order for name in ("hold", "everyone") if (order := given_layers[name])}
    unseen = {
        name: None for name, order in seen.items()
        if in_force(order) and order.mode is HoldMode.OBSERVE
    }  # fmt: skip
    answer = resolve(**given_layers)
    human = resolve(**(given_layers | unseen | {"leases": [], "machine": STEADY}))
    assert (answer.mode, answer.dial) == (human.mode, human.dial)
    assert answer.would == resolve(**(given_layers | unseen)).would
    assert not answer.automatic


@given(layers)
def test_the_layer_that_is_named_is_in_force(given_layers: Layers):
    answer = resolve(**given_layers)
    if answer.layer in ("hold", "everyone", "level"):
        order = given_layers[answer.layer]
        assert in_force(order)
        assert order.actor in answer.reason
        assert order.reason in answer.reason
    if answer.layer == "lease":
        assert any(lease.reason in answer.reason for lease in given_layers["leases"])
    assert answer.automatic is (answer.layer in ("lease", "machine"))


@given(
    layers,
    st.sampled_from(["hold", "everyone", "level", "leases"]),
    st.sampled_from([0.0, 30.0]),
)
def test_the_end_of_an_order_runs_no_less_than_before_and_not_everything_at_once(
    given_layers: Layers, name: str, delay_s: float
):
    """Whatever else is in force; a `normal` or `observe` hold that stays is an order of its own."""
    ending = given_layers[name]
    if isinstance(ending, Hold):
        assume(ending.mode in (HoldMode.OFF, HoldMode.DEGRADED))
    before = resolve(**given_layers)
    policy = Recovery()
    event = HoldEnded(now=9.0, running_share=before.running_share, delay_s=delay_s)
    machine, _ = step(given_layers["machine"], event, policy)
    left = given_layers | {name: [] if name == "leases" else None, "machine": machine}
    assume(not {HoldMode.NORMAL, HoldMode.OBSERVE} & set(modes(left)))

    after = resolve(**left)

    assert after.running_share >= before.running_share - 1e-9
    assert after.running_share < 1 or before.running_share == 1
    assert machine == replace(machine, epoch=given_layers["machine"].epoch + 1)


def test_after_observing_the_machine_is_obeyed_again():
    broken, _ = step(STEADY, HoldEnded(now=1.0, running_share=0.0), Recovery())
    observe = standing(HoldMode.OBSERVE)
    base: Layers = {"everyone": None, "level": None, "flag_level": 1, "now_wall": NOW_WALL}
    watched: Resolved = resolve(hold=observe, machine=broken, **base)
    obeyed: Resolved = resolve(hold=None, machine=broken, **base)
    assert watched.running_share == 1.0
    assert (obeyed.mode, obeyed.dial) == watched.would
