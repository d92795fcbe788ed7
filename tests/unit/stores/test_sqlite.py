"""What SQLite adds to the contract: every failure is explained, and nothing is lost by it."""

from __future__ import annotations

import sqlite3
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from degrade.clock import ManualClock
from degrade.errors import StoreError
from degrade.stores.sqlite import SQLiteStore
from degrade.testing.store_records import change, draft, hold, report, standing


@pytest.fixture
def path(tmp_path):
    return tmp_path / "store.db"


@pytest.fixture
def store(path, clock):
    store = SQLiteStore(path, clock=clock, busy="20ms")
    yield store
    store.close()


def raw(path, *statements: str) -> None:
    connection = sqlite3.connect(path, isolation_level=None)
    for statement in statements:
        connection.execute(statement)
    connection.close()


def refusal(act) -> str:
    with pytest.raises(StoreError) as caught:
        act()
    assert caught.value.code == "store"
    return str(caught.value)


def test_nothing_is_opened_before_the_first_use(store, path):
    assert not path.exists()
    store.read()
    assert path.exists()


def test_state_and_log_outlive_the_process(store, path, clock):
    store.change(change(feed=hold("off")))
    before, events = store.read(), store.events()
    store.close()
    again = SQLiteStore(path, clock=clock)
    assert again.read() == before
    assert again.events() == events
    again.close()


def test_a_relative_path_stays_where_it_was_when_the_working_directory_changes(
    tmp_path, monkeypatch, clock
):
    monkeypatch.chdir(tmp_path)
    store = SQLiteStore("here.db", clock=clock)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    store.read()
    store.close()
    assert (tmp_path / "here.db").exists()
    assert store.url == f"sqlite:///{tmp_path}/here.db"


def test_a_missing_directory_is_named(tmp_path):
    store = SQLiteStore(tmp_path / "missing" / "x.db")
    message = refusal(store.read)
    assert str(tmp_path / "missing") in message
    assert "does not exist" in message


def test_a_directory_in_place_of_the_file_is_refused(tmp_path):
    assert "it is a directory" in refusal(SQLiteStore(tmp_path).read)


def test_a_file_that_is_no_database_is_refused_and_left_as_it_is(path, store):
    path.write_text("dear diary, " * 100)
    assert "not a SQLite database" in refusal(store.read)
    assert path.read_text().startswith("dear diary")


def test_the_database_of_another_program_is_refused_and_left_as_it_is(path, store):
    raw(path, "CREATE TABLE theirs (x)")
    before = path.read_bytes()
    assert "another program" in refusal(lambda: store.change(change(feed=hold())))
    assert path.read_bytes() == before


def test_a_file_of_a_newer_release_is_refused(path, store):
    store.read()
    raw(path, "PRAGMA user_version = 99")
    again = SQLiteStore(path)
    assert "newer release" in refusal(again.read)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        ("UPDATE control SET state = '{\"v\": 1}'", "a ControlState in it cannot be read"),
        ("UPDATE control SET epoch = 77", "contradicts itself"),
        ("DELETE FROM control", "control row is missing"),
        ("DROP TABLE control", "no such table"),
    ],
)
def test_a_damaged_state_is_explained(path, store, damage, words):
    store.change(change(feed=hold()))
    raw(path, damage)
    assert words in refusal(lambda: store.change(change(feed=hold("off"))))


DAMAGED_ROWS = {
    "events": "UPDATE events SET body = 'x'",
    "flags": "INSERT INTO flags VALUES ('default', 'a', '{}')",
    "instances": "UPDATE instances SET body = 'x'",
}


@pytest.mark.parametrize("table", DAMAGED_ROWS)
def test_a_damaged_row_is_explained(path, store, table):
    store.append([draft()])
    store.report(report("i"))
    raw(path, DAMAGED_ROWS[table])
    assert "cannot be read" in refusal(getattr(store, table))


def test_a_page_overwritten_with_noise_is_explained(path, store):
    store.append([draft() for _ in range(200)])
    store.close()
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * (path.stat().st_size - 4096))
    assert "damaged" in refusal(SQLiteStore(path).read)


def test_a_stuck_writer_is_reported_after_the_time_allowed_and_readers_go_on(path, store):
    store.change(change(feed=hold()))
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    assert "locked" in refusal(lambda: store.change(change(feed=hold("off"))))
    assert standing(store.read()) == {"feed": "degraded"}
    other.execute("ROLLBACK")
    other.close()
    assert store.change(change(feed=hold("off")))


def test_a_read_only_file_can_be_read_and_refuses_changes(path, store):
    store.change(change(feed=hold()))
    store.close()
    raw(path, "PRAGMA journal_mode = DELETE")
    with path.open("r+b") as file:
        file.seek(18)
        file.write(b"\x03")  # a write version of the future: SQLite opens such a file read-only
    again = SQLiteStore(path)
    assert standing(again.read()) == {"feed": "degraded"}
    assert "read-only" in refusal(lambda: again.change(change(feed=hold("off"))))
    again.close()


def test_a_deleted_file_is_an_error_and_not_an_empty_store(path, store, clock):
    store.change(change(feed=hold("off")))
    store.read()
    path.unlink()
    for act in (store.changed, store.read, lambda: store.change(change(feed=hold("normal")))):
        assert "deleted" in refusal(act)
    assert not path.exists()


def test_a_file_made_again_by_another_process_is_opened_with_its_new_life(path, store, clock):
    store.change(change(feed=hold("off")))
    old = store.read().incarnation
    for leftover in path.parent.iterdir():
        leftover.unlink()
    refusal(store.read)
    other = SQLiteStore(path, clock=clock)
    other.change(change(search=hold()))
    state = store.read()
    assert standing(state) == {"search": "degraded"}
    assert state.incarnation != old
    other.close()


def test_a_replaced_file_is_noticed_while_the_old_one_is_still_open(path, store, clock):
    store.read()
    other = SQLiteStore(path.with_name("other.db"), clock=clock)
    other.change(change(search=hold()))
    other.close()
    for ending in ("-wal", "-shm"):
        path.with_name(f"store.db{ending}").unlink()
    other.path.replace(path)
    assert "another file" in refusal(store.changed)
    assert standing(store.read()) == {"search": "degraded"}


def test_text_that_is_no_unicode_is_a_store_error(store):
    assert "surrogates" in refusal(lambda: store.change(change("hold", {"a\udcff": hold()})))
    assert store.read().holds == {}
    assert store.change(change(feed=hold()))


def test_heartbeats_and_the_log_do_not_make_others_read_again(path, store, clock):
    other = SQLiteStore(path, clock=clock)
    store.read()
    other.report(report("i-2"))
    other.append([draft()])
    assert store.changed() is False
    other.change(change(feed=hold()))
    assert store.changed() is True
    other.close()


def test_the_log_keeps_its_newest_events(path, clock):
    store = SQLiteStore(path, clock=clock, event_cap=5)
    store.append([draft(str(number)) for number in range(8)])
    store.append([draft("8")])
    assert [event.cause for event in store.events()] == ["4", "5", "6", "7", "8"]
    store.close()


def test_heartbeats_of_the_dead_are_deleted_after_a_day(path, store, clock):
    store.report(report("dead"))
    clock.advance(86_401)
    store.report(report("alive"))
    found = store.instances(within_s=1e9)
    assert [item.id for item in found] == ["alive"]


def test_a_change_is_written_as_a_whole_or_not_at_all(path, store):
    store.change(change(feed=hold()))
    # the log refuses its event after the state was written
    raw(path, "CREATE TRIGGER no BEFORE INSERT ON events BEGIN SELECT RAISE(ABORT, 'no'); END")
    assert "no" in refusal(lambda: store.change(change(feed=hold("off"))))
    assert standing(store.read()) == {"feed": "degraded"}


@pytest.mark.parametrize("wall_jump", [-3600.0, 3600.0])
def test_a_jump_of_the_clock_loses_no_order(path, wall_jump):
    clock = ManualClock()
    store = SQLiteStore(path, clock=clock)
    store.change(change(feed=hold()))
    clock.jump_wall(wall_jump)
    store.change(change(search=hold()))
    assert store.sweep("i") == ()
    assert set(store.read().holds) == {"feed", "search"}
    store.close()


def test_those_who_make_the_file_at_once_wait_for_each_other(tmp_path):
    def read(path: Path, together: threading.Barrier) -> None:
        store = SQLiteStore(path)
        together.wait()
        try:
            store.read()
        finally:
            store.close()

    with ThreadPoolExecutor(4) as pool:
        for number in range(40):
            together = threading.Barrier(4)
            made = [
                pool.submit(read, tmp_path / f"{number}.db", together)
                for _ in range(together.parties)
            ]
            for one in made:
                one.result()
