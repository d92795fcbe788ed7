"""What SQLite adds to the contract: every failure is explained, and nothing is lost by it."""

from __future__ import annotations

import json
import sqlite3
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from degrade.clock import ManualClock
from degrade.core.records import ControlState, FlagInfo
from degrade.errors import StoreError
from degrade.stores import sqlite_rows, sqlite_schema
from degrade.stores.sqlite import SQLiteStore
from degrade.testing.store_records import change, draft, hold, order, report, standing


@pytest.fixture
def path(tmp_path):
    return tmp_path / "store.db"


@pytest.fixture
def store(path, clock):
    store = SQLiteStore(path, clock=clock, busy="20ms")
    yield store
    store.close()


def raw(path, statement: str, *values: str) -> None:
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute(statement, values)
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
        ("UPDATE control SET state = '{\"v\": 1}'", "upgrade degrade here"),
        ("UPDATE control SET state = '[]'", "upgrade degrade here"),
        ("UPDATE control SET state = '{\"v\":'", "upgrade degrade here"),
        ("UPDATE control SET epoch = 77", "contradicts itself"),
        ("DROP TABLE control", "no such table"),
    ],
)
def test_a_damaged_state_is_explained(path, store, damage, words):
    store.change(change(feed=hold()))
    raw(path, damage)
    assert words in refusal(lambda: store.change(change(feed=hold("off"))))


NOT_READABLE = ['{"v": 2}', '{"v": 1}', "no json", "[]", "{"]


@pytest.mark.parametrize("body", NOT_READABLE)
def test_a_row_that_cannot_be_read_counts_as_not_written(path, store, body):
    store.declare([FlagInfo(name="feed")])
    store.report(report("i"))
    store.append([draft("before")])
    raw(path, "INSERT INTO flags VALUES ('default', 'newer', ?)", body)
    raw(path, "INSERT INTO instances VALUES ('default', 'newer', 1e12, ?)", body)
    raw(path, "INSERT INTO events VALUES ('default', 2, NULL, ?)", body)
    assert list(store.flags()) == ["feed"]
    assert [found.id for found in store.instances()] == ["i"]
    assert [event.cause for event in store.events(limit=1)] == ["before"]
    store.append([draft("after")])
    assert [(event.id[-1], event.cause) for event in store.events()] == [
        ("1", "before"),
        ("3", "after"),
    ]
    assert [event.cause for event in store.events(since="1", limit=1)] == ["after"]


@pytest.mark.parametrize("body", ['{"v": 2}', '{"v": 1, "mode": "sideways"}', '"off"', "7", "null"])
def test_a_hold_that_cannot_be_read_is_shown_kept_and_can_be_written_over(path, store, body):
    store.change(change(feed=hold("off"), search=hold()))
    raw(path, "UPDATE control SET state = json_set(state, '$.holds.feed', json(?))", body)
    command = SQLiteStore(path, create=False)
    state = command.read()
    assert standing(state) == {"search": "degraded"}
    assert json.loads(state.nonsense["feed"]) == json.loads(body)
    command.change(change("released", search=None))
    (kept,) = (
        sqlite3.connect(path).execute("SELECT state -> '$.holds.feed' FROM control").fetchone()
    )
    assert json.loads(kept) == json.loads(body), "a change of something else leaves it alone"
    command.change(change(feed=hold("normal")))
    state = command.read()
    assert (standing(state), state.nonsense) == ({"feed": "normal"}, {})
    command.change(change("released", feed=None))
    assert standing(command.read()) == {}
    command.close()


def test_a_level_that_cannot_be_read_is_none_and_can_be_written_over(path, store):
    store.change(change("level", level=order(2)))
    raw(path, "UPDATE control SET state = json_set(state, '$.level.v', 2)")
    command = SQLiteStore(path, create=False)
    assert command.read().level is None
    command.change(change(feed=hold()))
    assert command.read().level is None
    command.change(change("level", level=order(3)))
    level = command.read().level
    assert level is not None
    assert level.level == 3
    command.change(change("level_released", level=None))
    assert command.read().level is None
    command.close()


def test_a_process_keeps_in_force_what_it_knew_of_a_record_that_it_cannot_read(path, store):
    store.change(change("level", level=order(2), feed=hold("off")))
    store.read()
    raw(
        path,
        "UPDATE control SET state = json_set(state, '$.holds.feed.v', 2, '$.level.v', 2)",
    )
    for _ in range(2):
        state = store.read()
        assert standing(state)["feed"] == "off"
        assert state.level is not None
        store.change(change(search=hold()))


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


def unlinked(path):
    for file in path.parent.iterdir():
        file.unlink()


def only_the_file_unlinked(path):
    path.unlink()


def renamed(path):
    path.rename(path.with_name("moved.db"))


def emptied(path):
    path.write_bytes(b"")


def rows_deleted(path):
    raw(path, "DELETE FROM control")


def replaced_by_an_empty_one(path):
    other = path.with_name("empty")
    other.touch()
    other.replace(path)


def made_again_by_a_new_process(path):
    unlinked(path)
    other = SQLiteStore(path)
    other.read()
    other.close()


LOSSES = [
    unlinked, only_the_file_unlinked, renamed, emptied, rows_deleted, replaced_by_an_empty_one,
    made_again_by_a_new_process,
]  # fmt: skip


@pytest.mark.parametrize("lose", LOSSES)
@pytest.mark.parametrize("act", ["changed", "read", "append", "change", "instances"])
def test_what_was_known_of_a_lost_file_is_restored_by_whatever_is_done_next(path, store, lose, act):
    store.change(change("level", level=order(2), feed=hold("off"), search=hold()))
    store.change(change("released", search=None))
    before = store.read()
    lose(path)
    acts = {
        "append": lambda: store.append([draft()]),
        "change": lambda: store.change(change("hold", ads=hold("normal"))),
    }
    acts.get(act, getattr(store, act))()
    state = store.read()
    assert standing(state) == {"feed": "off"} | ({"ads": "normal"} if act == "change" else {})
    assert state.holds["feed"] == before.holds["feed"]
    assert state.level == before.level
    assert set(state.released) == {"search"}
    assert state.epoch > before.epoch
    assert state.incarnation != before.incarnation
    (restored,) = [event for event in store.events() if event.type == "restored"]
    assert int(restored.id) > 4, "no id of the lost log is used again"
    assert store.changed() is False
    fresh = SQLiteStore(path, create=False)
    assert standing(fresh.read()) == standing(state)
    fresh.close()


@pytest.mark.parametrize("lose", LOSSES[:3])
def test_an_order_that_nobody_had_read_before_the_file_was_lost_is_restored_too(path, store, lose):
    store.change(change(feed=hold("off")))
    store.read()
    command = SQLiteStore(path, create=False)
    command.change(change("released", feed=None))
    command.change(change(search=hold()))
    command.close()
    lose(path)
    assert standing(store.read()) == {"search": "degraded"}


@pytest.mark.parametrize("lose", LOSSES)
def test_two_that_restore_the_same_store_agree_at_once(path, store, clock, lose):
    other = SQLiteStore(path, clock=clock)
    store.change(change(feed=hold("off")))
    other.read()
    store.read()
    lose(path)
    first = store.read()
    assert other.read() == first
    assert store.read() == first
    other.change(change("released", feed=None))
    assert standing(store.read()) == {}
    other.close()


@pytest.mark.parametrize("lose", LOSSES)
def test_one_that_was_overtaken_by_another_leaves_its_file_alone(
    path, store, clock, monkeypatch, lose
):
    other = SQLiteStore(path, clock=clock)
    store.change(change(feed=hold("off")))
    other.read()
    store.read()
    lose(path)
    first: list[ControlState] = []

    @contextmanager
    def late(path, *, within_s):
        monkeypatch.undo()
        first.append(other.read())
        with sqlite_schema.alone(path, within_s=within_s) as locked:
            yield locked

    monkeypatch.setattr("degrade.stores.sqlite.alone", late)
    state = store.read()
    if first:  # it had nothing to open where only rows were deleted
        assert state == first[0]
    assert [event.type for event in store.events()].count("restored") == 1
    assert other.read() == state
    other.close()


def test_a_file_that_is_gone_is_opened_by_no_command(path, store):
    command = SQLiteStore(path, create=False)
    acts = [
        command.read, command.changed, command.flags, command.events, command.instances,
        lambda: command.change(change(feed=hold())), lambda: command.append([draft()]),
        lambda: command.report(report("i")), lambda: command.declare([FlagInfo(name="a")]),
    ]  # fmt: skip
    for act in acts:
        assert "no such file" in refusal(act)
        assert list(path.parent.iterdir()) == []
    path.touch()
    for act in acts:
        assert "is empty" in refusal(act)
        assert path.stat().st_size == 0
    path.unlink()
    store.change(change(feed=hold()))
    assert standing(command.read()) == {"feed": "degraded"}
    path.unlink()
    for act in acts:
        refusal(act)
        assert not path.exists()
    other = SQLiteStore(path, namespace="elsewhere", create=False)
    store.read()
    assert "no namespace 'elsewhere', only 'default'" in refusal(other.read)
    assert standing(command.read()) == {"feed": "degraded"}
    command.close()


def test_an_order_written_into_a_file_that_is_gone_by_then_is_an_error(path, store, monkeypatch):
    store.read()
    command = SQLiteStore(path, create=False)
    command.read()
    written = sqlite_rows.put_events

    def put_and_lose(*args, **keywords):
        written(*args, **keywords)
        path.unlink()

    monkeypatch.setattr("degrade.stores.sqlite.put_events", put_and_lose)
    assert "while it was written" in refusal(lambda: command.change(change(feed=hold())))
    monkeypatch.undo()
    assert not path.exists()
    command.close()
    assert standing(store.read()) == {"feed": "degraded"}, "the process still read it"


def test_a_file_that_is_put_back_is_merged_with_what_is_known(path, store, clock):
    store.change(change(feed=hold("off"), search=hold()))
    copy = path.with_name("copy.db")
    sqlite3.connect(path).execute(f"VACUUM INTO '{copy}'")
    clock.advance(1)
    store.change(change("released", feed=None))
    store.change(change(search=hold("off"), ads=hold()))
    store.read()
    unlinked_logs(path)
    copy.replace(path)
    late = SQLiteStore(path, clock=clock, create=False)
    late.change(change(late=hold()))
    late.change(change(later=hold()))
    late.change(change(latest=hold()))
    late.close()
    state = store.read()
    wanted = dict.fromkeys(("ads", "late", "later", "latest"), "degraded") | {"search": "off"}
    assert standing(state) == wanted
    assert store.events()[-1].cause == "the store was changed in two places apart"


def unlinked_logs(path):
    for ending in ("-wal", "-shm"):
        path.with_name(f"store.db{ending}").unlink()


def test_what_a_moved_file_had_is_in_it_as_a_whole(path, store):
    store.change(change(feed=hold("off")))
    renamed(path)
    store.read()
    moved = SQLiteStore(path.with_name("moved.db"), create=False)
    assert standing(moved.read()) == {"feed": "off"}
    moved.close()


def test_a_file_that_is_made_again_has_the_permissions_of_the_old_one(path, store):
    store.read()
    path.chmod(0o660)
    store.close()
    again = SQLiteStore(path)
    again.read()
    unlinked(path)
    again.read()
    assert path.stat().st_mode & 0o777 == 0o660
    assert path.with_name("store.db-wal").stat().st_mode & 0o777 == 0o660
    again.close()


def test_a_directory_that_is_gone_is_an_error_until_it_is_back(tmp_path, clock):
    folder = tmp_path / "folder"
    folder.mkdir()
    store = SQLiteStore(folder / "x.db", clock=clock)
    store.change(change(feed=hold("off")))
    store.read()
    unlinked(folder / "x.db")
    folder.rmdir()
    for act in (store.read, store.changed, lambda: store.append([draft()])):
        assert "does not exist" in refusal(act)
    folder.mkdir()
    assert standing(store.read()) == {"feed": "off"}
    store.close()


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
