"""How long an order may last, and one that a hand made to last longer."""

from __future__ import annotations

import math

import pytest

from degrade.control import Control
from degrade.core.enums import HoldMode
from degrade.core.records import FlagInfo, Hold
from degrade.errors import ConfigError
from degrade.ports import Change
from degrade.stores.local_holds import LocalHolds
from degrade.stores.memory import MemoryStore

ORDERS = {
    "hold": lambda control, for_: control.hold("feed", "degraded", for_=for_, reason="x"),
    "extend": lambda control, for_: control.extend("feed", for_=for_),
    "level": lambda control, for_: control.order_level(3, for_=for_, reason="x"),
}


@pytest.fixture
def store(clock):
    store = MemoryStore(clock=clock)
    store.declare([FlagInfo(name="feed", level=3)])
    return store


@pytest.fixture
def control(store, clock, tmp_path):
    control = Control(store, actor="ana", clock=clock, local=LocalHolds(directory=tmp_path))
    control.hold("feed", "degraded", for_="1m", reason="before")
    return control


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("for_", ["3653d", "9999999999999999d", 1e300])
def test_no_order_lasts_longer_than_ten_years(control, store, order, for_):
    before = store.read()
    with pytest.raises(ConfigError, match="longer than ten years; use until released") as caught:
        ORDERS[order](control, for_)
    assert caught.value.code == "bad-hold"
    assert store.read() == before


@pytest.mark.parametrize("order", ORDERS)
def test_ten_years_are_fine(control, order):
    assert ORDERS[order](control, "3652d").epoch == 2


@pytest.mark.parametrize("until", [1e300, math.inf])
def test_what_was_written_to_last_longer_is_told_in_words(control, store, until):
    hold = Hold(mode=HoldMode.OFF, actor="hand", reason="x", at=0, until=until)
    store.change(Change(type="hold", actor="hand", reason="x", instance="i", holds={"feed": hold}))
    assert control.status().advice[0].until == until
    with pytest.raises(ConfigError, match=r"longer already \(more than a thousand years\)"):
        control.extend("feed", for_="1h")
