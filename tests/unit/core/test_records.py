from __future__ import annotations

import pytest

from degrade.core.enums import HoldMode
from degrade.core.records import ControlState, FlagInfo, Hold

HOLD = Hold(mode=HoldMode.OFF, actor="ana", reason="bad model", at=1.0)
OF_A_NEWER_RELEASE = '{"mode": "off", "actor": "ana", "reason": "", "at": 1, "ticket": "INC-7"}'


@pytest.mark.parametrize(
    ("record", "changes"),
    [
        (HOLD, {"until": 9.0, "epoch": 4}),
        (HOLD, {}),
        (Hold.model_validate_json(OF_A_NEWER_RELEASE), {"dial": 0.5}),
        (ControlState(incarnation="i", epoch=1, now=0.0), {"holds": {"feed": HOLD}, "epoch": 2}),
    ],
)
def test_a_record_but_for_something_is_its_copy_with_that(record, changes):
    before = record.model_dump()
    made, copied = record.but(**changes), record.model_copy(update=changes)
    assert made == copied
    assert made.model_fields_set == copied.model_fields_set
    assert made.model_dump_json() == copied.model_dump_json()
    assert record.model_dump() == before


def test_a_declaration_of_before_it_could_be_required_is_read_as_not_required():
    stored = '{"v":1,"name":"feed","level":2,"owner":null,"message":null,"sla":null,"where":"m:f"}'
    assert FlagInfo.model_validate_json(stored).required is False
