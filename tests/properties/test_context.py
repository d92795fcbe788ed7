"""Requests and scopes inside of each other, compared with a plain tree."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

import degrade.context as contexts
from degrade.context import (
    OUTSIDE,
    UNKNOWN,
    CaptureScope,
    DegradedStatus,
    Request,
    context,
    identify,
    served,
)
from degrade.core.enums import RungKind

SUBJECTS = st.sampled_from([None, "ana", "ben"])
LEAVES = st.one_of(
    st.tuples(st.just("note"), st.booleans()),
    st.just(("branch",)),
    st.tuples(st.just("identify"), SUBJECTS),
)


def steps(depth: int) -> st.SearchStrategy[list[Any]]:
    """Return lists of steps, with requests and scopes inside of each other to a depth."""
    if depth == 0:
        return st.lists(LEAVES, max_size=2)
    inner = steps(depth - 1)
    around = st.one_of(
        st.tuples(st.just("request"), SUBJECTS, inner), st.tuples(st.just("scope"), inner)
    )
    return st.lists(st.one_of(around, LEAVES, around), max_size=3)


class Model:
    """What stands around: the flags noted inside, whether a part was degraded, and whose it is."""

    def __init__(self, real: Any, subject: str | None, around: list[Model]) -> None:
        self.real = real
        self.subject = subject
        self.doubtful = False
        self.names = {subject} - {None}
        self.chain = [*around, self]
        self.notes: list[str] = []
        self.tainted = False


def walk(tree: list[Any], around: list[Model], names: list[str]) -> None:
    for step in tree:
        requests = [each for each in around if isinstance(each.real, Request)]
        match step:
            case ("note", side_effect):
                names.append(f"flag-{len(names)}")
                here = context()
                if here is not None:
                    note = (DegradedStatus(names[-1], "", None), RungKind.OMIT, None)
                    (here.aside if side_effect else here.note)(note)
                for each in around:
                    each.notes.append(names[-1])
                    each.tainted |= not side_effect
            case ("branch",):
                here = context()
                if here is not None:
                    here.branch()
                for each in around:
                    each.tainted = True
            case ("identify", subject) if requests:
                identify(subject)
                requests[-1].subject, requests[-1].doubtful = subject, False
                requests[-1].names |= {subject} - {None}
                name(subject, requests[:-1])
            case ("request", subject, inner):
                with Request(subject) as real:
                    name(subject, requests)
                    walk(inner, Model(real, subject, around).chain, names)
            case ("scope", inner):
                with CaptureScope() as real:
                    before = requests[-1].subject if requests else None
                    model = Model(real, None, around)
                    walk(inner, model.chain, names)
                    after = requests[-1].subject if requests else None
                    assert real.tainted == (model.tainted or before != after)
        agree(around)


def name(subject: str | None, requests: list[Model]) -> None:
    """Note that calls of the anonymous ones of these requests may be made for a subject."""
    for each in requests:
        each.doubtful |= subject is not None and each.subject is None


def agree(around: list[Model]) -> None:
    requests = [each for each in around if isinstance(each.real, Request)]
    subject = requests[-1].subject if requests else None
    assert contexts.subject() == subject
    unnamed = (UNKNOWN if requests[-1].doubtful else None) if requests else OUTSIDE.who
    mixed = requests and len(requests[-1].names) > 1
    assert contexts.who() is (UNKNOWN if mixed else unnamed if subject is None else subject)
    assert [each.flag for each in served()] == (requests[-1].notes if requests else [])
    for each in around:
        assert [stamp.flag for stamp, _, _ in each.real.notes] == each.notes
        if isinstance(each.real, Request):
            assert each.real.tainted == each.tainted


@settings(max_examples=400)
@given(steps(3))
def test_requests_and_scopes_know_what_was_served_inside_and_for_whom(tree: list[Any]) -> None:
    OUTSIDE.who = None
    walk(tree, [], [])
    named = "'ana'" in repr(tree) or "'ben'" in repr(tree)
    assert OUTSIDE.who in ((UNKNOWN, None) if named else (None,))
    assert context() is None
