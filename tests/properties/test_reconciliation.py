"""Whoever restores, in whatever order, with whatever each of them knows: all end with one state."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from degrade.core.reconciliation import StoreAssessment, StoreIdentity, judged, lineage_of, merged
from degrade.core.records import ControlState, Release
from degrade.testing.store_records import hold

FLAGS = ("a", "b")
KINDS = ("hold", "extend", "release", "expire")


@dataclass
class Shown:
    """What a store shows: a state and its lineage."""

    state: ControlState
    lineage: dict[str, int]

    @property
    def life(self) -> StoreIdentity:
        name = self.state.incarnation
        return StoreIdentity(markers=(name, name), epoch=self.state.epoch, lineage=self.lineage)


@st.composite
def histories(draw: st.DrawFn) -> list[Shown]:
    """The states of one life, one a change, oldest first."""
    state = ControlState(incarnation="I", epoch=0, now=0.0)
    found = [Shown(state, {})]
    for epoch in range(1, draw(st.integers(1, 6)) + 1):
        flag, kind = draw(st.sampled_from(FLAGS)), draw(st.sampled_from(KINDS))
        holds, released = dict(state.holds), dict(state.released)
        before = holds.pop(flag, None)
        released.pop(flag, None)
        end = Release(actor="ana", reason="x", at=float(epoch), epoch=epoch)
        if kind == "extend" and before is not None:
            holds[flag] = before.model_copy(update={"epoch": epoch})
        elif kind in ("hold", "extend"):
            holds[flag] = hold().model_copy(update={"at": float(epoch), "epoch": epoch})
        elif kind == "expire" and before is not None:
            released[flag] = end.model_copy(update={"of": (before.at, before.epoch)})
        else:
            released[flag] = end
        state = state.model_copy(update={"epoch": epoch, "holds": holds, "released": released})
        found.append(Shown(state, {}))
    return found


def records(state: ControlState) -> dict[str, tuple[str, int]]:
    found = {flag: ("hold", one.epoch) for flag, one in state.holds.items()}
    return found | {flag: ("release", one.epoch) for flag, one in state.released.items()}


def restored(known: Shown, shown: Shown | None, name: str) -> Shown:
    """Return what whoever knows `known` writes over what the store shows."""
    base = shown or Shown(ControlState(incarnation="", epoch=0, now=9.0), {})
    lineage = lineage_of(
        (base.state.incarnation or None, base.state.epoch, base.lineage),
        (known.state.incarnation, known.state.epoch, known.lineage),
    )
    state = merged(known.state, base.state).model_copy(update={"incarnation": name})
    return Shown(state, lineage)


@given(histories(), st.data())
def test_all_agree_on_the_newest_that_anybody_knew(
    history: list[Shown], data: st.DataObject
) -> None:
    """The store shows some state of the past, or nothing; everybody knows one of their own."""
    known = data.draw(st.lists(st.sampled_from(history), min_size=1, max_size=5))
    shown: Shown | None = data.draw(st.none() | st.sampled_from(history))
    there = [*known, *([] if shown is None else [shown])]
    lives, quiet = 0, 0
    while quiet < 2 * len(known):
        for who in data.draw(st.permutations(range(len(known)))):
            mine = known[who].state
            life = (
                shown.life if shown else StoreIdentity(markers=(None, None), epoch=None, empty=True)
            )
            standing = judged((mine.incarnation, mine.epoch), life)
            quiet += 1
            if standing is not StoreAssessment.TAKE:  # BACK is seen again at the next poll
                lives, quiet = lives + 1, 0
                shown = restored(known[who], shown, f"J{lives}")
            assert shown is not None
            known[who] = shown
        assert lives <= 2 * len(known), "they restore each other for ever"
    assert shown is not None
    assert all(one is shown for one in known)
    wanted: dict[str, tuple[str, int]] = {}
    for one in there:
        for flag, record in records(one.state).items():
            wanted[flag] = max(wanted.get(flag, record), record, key=lambda found: found[1])
    assert records(shown.state) == wanted
    assert shown.state.epoch >= max(one.state.epoch for one in there)
