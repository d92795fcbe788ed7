from __future__ import annotations

import pytest
from pydantic import TypeAdapter, ValidationError, create_model

from degrade.fallback.snapshots.fail_fast import hasty


@pytest.mark.parametrize("name", ["items", "members", "expected", "default", "metadata", "type"])
def test_a_field_of_any_name_is_given_up_at_its_first_error(name: str):
    model = create_model("Model", **{name: (list[int], ...)})  # type: ignore[call-overload] # any name
    validator = hasty(TypeAdapter(model).core_schema)
    with pytest.raises(ValidationError) as caught:
        validator.validate_json(b'{"%s": ["a", "b", "c"]}' % name.encode(), by_name=True)
    assert caught.value.error_count() == 1
    assert getattr(validator.validate_json(b'{"%s": [1, 2]}' % name.encode()), name) == [1, 2]
