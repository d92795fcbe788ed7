"""Who may import whom, and which third-party library lives where."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.meta.sources import PACKAGE, files, imports, module_name

# The rank table, lowest first. Within the ranks 0, 1 and 4 the order is total, so that there is
# no cycle: units and clock use errors, ports uses core, compose uses settings.
ROWS: tuple[frozenset[str], ...] = (
    frozenset({"errors"}),
    frozenset({"units", "clock", "forks", "interrupts"}),
    frozenset({"core"}),
    frozenset({"ports"}),
    frozenset({"context"}),
    frozenset({"fallback", "stores", "signals", "incidents", "notify", "telemetry"}),
    frozenset({"runtime"}),
    frozenset({"settings"}),
    frozenset({"compose"}),
    frozenset({"control"}),
    frozenset({"rehearse", "web", "integrations", "testing"}),
    frozenset({"cli"}),
)
RANK = {room: rank for rank, row in enumerate(ROWS) for room in row}

# Library to the only places that may import it: a room, or one file of it.
PYDANTIC_ROOMS = frozenset({"core", "ports", "fallback", "stores", "settings"})
HOMES: dict[str, frozenset[str]] = {
    "cachetools": frozenset({"fallback/snapshots/memory_tier.py"}),
    "prometheus_client": frozenset({"telemetry/prometheus.py"}),
    "pydantic": PYDANTIC_ROOMS,
    "pydantic_core": PYDANTIC_ROOMS,
    "pydantic_settings": frozenset({"settings.py"}),
    "pytest": frozenset({"testing"}),
    "redis": frozenset({"stores/redis"}),
    "rich": frozenset({"cli"}),
    "typer": frozenset({"cli"}),
    "typing_extensions": frozenset({"fallback/snapshots/return_types.py"}),
}


def room_of(module: str) -> str:
    return module.split(".")[1]


def internal_imports(path: Path) -> list[tuple[int, str]]:
    return [(line, name) for line, name in imports(path) if name.split(".")[0] == "degrade"]


@pytest.mark.parametrize("path", files(), ids=module_name)
def test_a_room_imports_only_rooms_below_it(path: Path) -> None:
    if path == PACKAGE / "__init__.py":
        return  # re-exports, and nothing imports it: see below
    room = room_of(module_name(path))
    assert room in RANK, f"{path} is in a room that the rank table does not know"
    wrong = [
        f"{path}:{line}: {room} (row {RANK[room]}) imports {name}"
        for line, name in internal_imports(path)
        if (target := room_of(name)) != room and RANK.get(target, len(ROWS)) >= RANK[room]
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("path", files(), ids=module_name)
def test_a_third_party_library_is_imported_only_where_it_lives(path: Path) -> None:
    here = path.relative_to(PACKAGE)
    wrong = [
        f"{path}:{line}: {name}"
        for line, name in imports(path)
        if (library := name.split(".")[0]) not in sys.stdlib_module_names
        and library not in ("degrade", "__future__")
        and not any(here.is_relative_to(home) for home in spelled(library))
    ]
    assert not wrong, "\n".join(wrong)


def spelled(library: str) -> list[str]:
    """Rooms of one file are spelled without their suffix in the table."""
    return [form for home in HOMES.get(library, ()) for form in (home, f"{home}.py")]


def test_the_package_itself_only_re_exports_what_exists() -> None:
    names = [name for _, name in internal_imports(PACKAGE / "__init__.py")]
    assert names, "the package exports nothing"
    assert all(name.count(".") >= 2 for name in names), names


def test_every_room_on_disk_is_in_the_table() -> None:
    found = {
        entry.stem
        for entry in PACKAGE.iterdir()
        if entry.suffix == ".py" or any(entry.rglob("*.py"))
    }
    assert found - set(RANK) == {"__init__"}
