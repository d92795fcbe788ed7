"""The tables of defaults and fixed numbers say what the code says."""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from degrade.runtime.calls.outcomes import TABLE, Meaning
from tests.docs.pages import ROOT

POLICIES = ROOT / "docs" / "reference" / "policies.md"
OF_THE_RUNTIME = {"_place"}


def _rows(lines: list[str]) -> Iterator[list[str]]:
    for line in lines[2:]:
        if not line.startswith("|"):
            return
        yield [cell.strip() for cell in line.strip("|\n ").split("|")]


def _tables(page: Path) -> dict[str, list[list[str]]]:
    lines = page.read_text(encoding="utf-8").splitlines()
    found = {}
    for number, line in enumerate(lines, 1):
        if marked := re.fullmatch(r"<!-- defaults: ([\w.]+) -->", line):
            found[marked[1]] = list(_rows(lines[number:]))
    return found


def _named(path: str) -> Any:
    module, _, name = path.rpartition(".")
    return getattr(importlib.import_module(module), name)


def _defaults(path: str) -> dict[str, str]:
    what = _named(path)
    if isinstance(what, type) and issubclass(what, BaseModel):
        return {name: repr(field.default) for name, field in what.model_fields.items()}
    return {
        name: "required" if given.default is given.empty else repr(given.default)
        for name, given in inspect.signature(what).parameters.items()
    }


@pytest.mark.parametrize("path", sorted(_tables(POLICIES)))
def test_a_table_of_defaults_is_the_signature(path: str):
    shown = {
        name: default.strip("`")
        for names, default, *_ in _tables(POLICIES)[path]
        for name in re.findall(r"`(\w+)`", names)
    }
    assert shown == _defaults(path)


def test_every_policy_and_the_settings_have_a_table():
    documented = {path.rpartition(".")[2] for path in _tables(POLICIES)}
    assert documented == {"SLA", "Recovery", "degradable", "snapshot", "simplified", "Settings"}


def test_the_table_of_exceptions_is_that_of_the_code():
    lines = POLICIES.read_text(encoding="utf-8").splitlines()
    shown = {
        (package.strip("`"), name): meaning
        for package, names, meaning in _rows(lines[lines.index("<!-- exceptions -->") + 1 :])
        for name in re.findall(r"`(\w+)`", re.sub(r"\(.*?\)", "", names))
    }
    assert shown == {
        (package, name): rule.value if isinstance(rule, Meaning) else rule.text
        for package, rules in TABLE.items()
        for name, rule in rules.items()
    }


def test_every_meaning_is_explained():
    section = POLICIES.read_text(encoding="utf-8").partition("## What an exception means")[2]
    assert set(Meaning) == set(re.findall(r"^\| \*([\w ]+)\* \|", section, re.MULTILINE))


def _fixed() -> list[tuple[str, float, str]]:
    section = POLICIES.read_text(encoding="utf-8").partition("## Fixed numbers")[2]
    table = [line for line in section.splitlines() if line.startswith("|")]
    found = []
    for what, value, path in _rows(table):
        number = float(value.rstrip("% ").replace(",", ""))
        found.append((what, number / 100 if value.endswith("%") else number, path.strip("`")))
    return found


@pytest.mark.parametrize(
    ("number", "path"), [(number, path) for _, number, path in _fixed()], ids=str
)
def test_a_fixed_number_is_that_of_the_code(number: float, path: str):
    assert _named(path) == pytest.approx(number)


def test_the_variables_of_settings_are_named_after_them():
    for name, _, variable, *_ in _tables(POLICIES)["degrade.settings.Settings"]:
        assert variable.strip("`") == f"DEGRADE_{name.strip('`').upper()}"
