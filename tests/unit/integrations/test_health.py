"""The three values of health, and what stands in its body."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from degrade.core.enums import Mode, Phase, RungKind
from degrade.integrations.health import MAX_LISTED, health
from tests.unit.integrations.figures import Figures, flag

DEGRADED = {
    "mode": Mode.DEGRADED, "phase": Phase.DEGRADED, "dial": 1.0, "since": 1_700_000_000.25,
    "oldest_age_s": 31.0, "reason": "breach: p99 on db-7.internal",
}  # fmt: skip
OFF = {"mode": Mode.OFF, "dial": 1.0}


def ask(source):
    code, body = health(source)
    return code, json.loads(body)


def test_normal_flags_pass():
    code, body = ask(Figures(flag(), flag(name="feed.analytics")))

    assert (code, body["status"]) == (200, "pass")
    assert "output" not in body
    assert body["checks"]["feed.ranking:mode"] == [
        {
            "componentId": "feed.ranking", "componentType": "component", "status": "pass",
            "observedValue": "normal", "degrade:phase": "steady", "degrade:dial": 0.0,
            "degrade:level": 2,
        }
    ]  # fmt: skip


def test_a_process_without_flags_passes():
    assert ask(Figures()) == (200, {"status": "pass", "checks": {}})


def test_a_degraded_flag_warns_and_keeps_the_node_in_service():
    code, body = ask(Figures(flag(**DEGRADED), flag(name="feed.analytics")))

    assert (code, body["status"]) == (200, "warn")
    assert body["output"] == "feed.ranking is degraded"
    (check,) = body["checks"]["feed.ranking:mode"]
    assert check["status"] == "warn"
    assert check["observedValue"] == "degraded"
    assert check["degrade:since"] == "2023-11-14T22:13:20.250Z"
    assert check["degrade:oldest-age-s"] == 31.0
    assert check["output"] == "Newest stories first"


@pytest.mark.parametrize(
    ("changes", "ladder", "code", "status"),
    [
        (DEGRADED, (), 503, "fail"),
        (DEGRADED, (RungKind.SIMPLIFIED,), 200, "warn"),
        (DEGRADED, None, 200, "warn"),
        ({**DEGRADED, "dial": 0.95}, (), 200, "warn"),  # one call in twenty runs
        (OFF, (RungKind.SNAPSHOT,), 503, "fail"),  # off serves no snapshot
        (OFF, (RungKind.SNAPSHOT, RungKind.OMIT), 200, "warn"),
        (OFF, (), 503, "fail"),
        ({}, (), 200, "pass"),
        ({"phase": Phase.DEGRADED}, (), 200, "pass"),  # muted by `observe`, or exempt by `normal`
    ],
)
def test_only_a_required_flag_that_nobody_can_answer_fails(changes, ladder, code, status):
    required = flag(**changes, ladder=ladder, required=True)
    found, body = ask(Figures(flag(name="other", **DEGRADED), required))
    alone, body_alone = ask(Figures(required))

    assert (alone, body_alone["status"]) == (code, status)
    assert found == code
    assert body["status"] == ("fail" if status == "fail" else "warn")


@pytest.mark.parametrize("changes", [DEGRADED, OFF])
def test_a_flag_that_is_not_required_never_takes_a_node_out_of_service(changes):
    code, body = ask(Figures(flag(**changes, ladder=())))
    assert (code, body["status"]) == (200, "warn")


def test_a_large_application_lists_a_hundred_flags_those_in_trouble_first():
    flags = [flag(name=f"f{n}") for n in range(300)]
    flags[200:] = [each._replace(mode=Mode.DEGRADED, dial=1.0) for each in flags[200:]]
    flags[299] = flags[299]._replace(required=True, ladder=())
    code, body = ask(Figures(*flags))
    assert (code, body["status"]) == (503, "fail")
    listed = [check["componentId"] for (check,) in body["checks"].values()]
    assert listed == ["f299", *(f"f{n}" for n in range(200, 299))]
    assert body["degrade:flags-not-listed"] == 200
    assert body["output"].endswith("f298 is degraded")


def test_of_hundreds_in_trouble_the_rest_is_counted():
    flags = [flag(name=f"f{n}", **DEGRADED) for n in range(250)]
    _, body = ask(Figures(*flags))
    assert len(body["checks"]) == MAX_LISTED
    assert body["output"].endswith("f99 is degraded, and 150 more")
    _, body = ask(Figures(*flags[:MAX_LISTED]))
    assert "degrade:flags-not-listed" not in body
    assert body["output"].endswith("f99 is degraded")


def test_the_age_of_the_state_is_shown_once_it_was_read():
    _, body = ask(Figures(flag(), age_s=0.1234))
    assert body["checks"]["store:age"] == [
        {"componentType": "datastore", "observedValue": 0.123, "observedUnit": "s"}
    ]


def test_reasons_and_owners_are_not_shown_to_the_network():
    _, body = health(Figures(flag(**DEGRADED)))
    assert b"internal" not in body
    assert b"team-feed" not in body


def test_names_that_differ_have_checks_that_differ():
    _, body = ask(Figures(flag(name="a:b"), flag(name="a%3Ab"), flag(name="a%253Ab")))
    assert len(body["checks"]) == 3


@given(st.lists(st.text(st.characters(codec=None)), unique=True, max_size=5), st.text())
def test_any_name_and_message_stay_data(names, message):
    flags = [flag(**DEGRADED, name=name, message=message) for name in names]
    code, raw = health(Figures(*flags))
    checks = json.loads(raw)["checks"]

    assert code == 200
    assert raw.isascii()
    assert [check["componentId"] for (check,) in checks.values()] == names
    assert all(key.split(":", 1)[1] == "mode" for key in checks)
