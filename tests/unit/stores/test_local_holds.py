"""The file of local holds: cheap to watch, never torn, and obeyed only when nobody else wrote it."""

from __future__ import annotations

import json
import os
import stat
import threading

import pytest

from degrade.errors import ConfigError, StoreError
from degrade.stores.local_holds import LocalHolds
from degrade.stores.private_file import local_directory
from degrade.testing.store_records import hold


@pytest.fixture
def local(tmp_path, clock):
    return LocalHolds(directory=tmp_path / "state", clock=clock)


def test_no_file_is_no_hold(local):
    assert local.read() == {}
    assert local.changed() is False
    assert not local.path.parent.exists()


def test_a_hold_is_seen_by_another_reader_and_noticed_once(local, tmp_path, clock):
    other = LocalHolds(directory=tmp_path / "state", clock=clock)
    other.read()
    assert local.hold("feed", hold("off")) is None
    assert other.changed() is True
    assert other.read() == {"feed": hold("off")}
    assert other.changed() is False


def test_a_hold_returns_the_one_that_it_replaces(local):
    local.hold("feed", hold("off"))
    assert local.hold("feed", hold("normal")) == hold("off")


def test_a_release_returns_what_it_removed(local):
    local.hold("feed", hold("off"))
    local.hold("search", hold())
    assert local.release("other") == {}
    assert local.release("feed") == {"feed": hold("off")}
    assert local.read() == {"search": hold()}


def test_a_release_of_every_flag_removes_all(local):
    local.hold("feed", hold("off"))
    local.hold("*", hold())
    assert set(local.release("*")) == {"feed", "*"}
    assert local.read() == {}


def test_a_removed_file_is_a_release(local):
    local.hold("feed", hold("off"))
    local.read()
    local.path.unlink()
    assert local.changed() is True
    assert local.read() == {}


def test_ended_holds_go_with_the_next_writing(local, clock):
    local.hold("feed", hold("off", until=clock.wall() + 10))
    clock.advance(10)
    assert set(local.read()) == {"feed"}, "readers judge the end themselves"
    local.hold("search", hold())
    assert set(local.read()) == {"search"}


def test_only_the_owner_can_read_the_file(local):
    local.hold("feed", hold())
    assert stat.S_IMODE(local.path.stat().st_mode) == 0o600
    assert stat.S_IMODE(local.path.parent.stat().st_mode) == 0o700


def refusal(local: LocalHolds) -> str:
    with pytest.raises(StoreError) as caught:
        local.read()
    return str(caught.value)


@pytest.mark.parametrize("mode", [0o620, 0o602])
def test_a_file_that_others_can_write_is_not_obeyed(local, mode):
    local.hold("feed", hold("off"))
    local.path.chmod(mode)
    assert "others can write it" in refusal(LocalHolds(directory=local.path.parent))


def test_a_file_of_another_user_is_not_obeyed(local, monkeypatch):
    local.hold("feed", hold("off"))
    owner = local.path.stat().st_uid
    real = os.fstat

    def foreign(handle: int) -> os.stat_result:
        found = list(real(handle))
        found[stat.ST_UID] = owner + 4321
        return os.stat_result(found)

    monkeypatch.setattr(os, "fstat", foreign)
    assert "another user" in refusal(LocalHolds(directory=local.path.parent))


def test_a_link_is_not_followed(local, tmp_path):
    local.hold("feed", hold("off"))
    target = tmp_path / "elsewhere.json"
    local.path.rename(target)
    local.path.symlink_to(target)
    assert str(local.path) in refusal(local)


def test_something_that_is_no_file_is_refused(local):
    local.path.mkdir(parents=True)
    assert str(local.path) in refusal(local)


@pytest.mark.parametrize("body", ["", "{", "[]", '{"holds": {"feed": "off"}}', '{"v": 2}'])
def test_a_damaged_file_is_an_error_and_what_was_known_stays_with_the_reader(local, body):
    local.hold("feed", hold("off"))
    known = local.read()
    local.path.write_text(body)
    assert "damaged" in refusal(local)
    assert local.changed() is True, "so that it is tried again"
    assert known == {"feed": hold("off")}


def test_a_file_too_large_to_be_ours_is_refused(local):
    local.hold("feed", hold())
    local.path.write_bytes(b" " * (1 << 20) + b"{}")
    assert "too large" in refusal(local)


def test_a_directory_that_cannot_be_made_names_the_way_out(tmp_path):
    (tmp_path / "file").write_text("")
    local = LocalHolds(directory=tmp_path / "file" / "below")
    with pytest.raises(StoreError, match="DEGRADE_LOCAL"):
        local.hold("feed", hold())


def test_a_writing_that_fails_leaves_the_old_file_and_no_rubbish(local, monkeypatch):
    local.hold("feed", hold("off"))

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(StoreError, match="No space left"):
            local.hold("feed", hold("normal"))
    assert local.read() == {"feed": hold("off")}
    assert {path.suffix for path in local.path.parent.iterdir()} == {".json", ".lock"}


def test_writers_at_the_same_time_lose_nothing(local):
    def work(name: str) -> None:
        for number in range(10):
            LocalHolds(directory=local.path.parent).hold(f"{name}{number}", hold())

    threads = [threading.Thread(target=work, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(local.read()) == 40


def test_unknown_fields_of_newer_releases_are_kept(local):
    local.hold("feed", hold())
    body = json.loads(local.path.read_text())
    body["holds"]["feed"]["ticket"] = "OPS-1"
    local.path.write_text(json.dumps(body))
    local.hold("search", hold())
    assert json.loads(local.path.read_text())["holds"]["feed"]["ticket"] == "OPS-1"


def test_namespaces_have_files_of_their_own_and_cannot_leave_the_directory(tmp_path):
    LocalHolds("a", directory=tmp_path).hold("feed", hold())
    assert LocalHolds("b", directory=tmp_path).read() == {}
    with pytest.raises(ConfigError):
        LocalHolds("../a", directory=tmp_path)


def test_the_directory_is_named_by_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("DEGRADE_LOCAL", str(tmp_path))
    assert local_directory() == tmp_path
    assert LocalHolds("x").path == tmp_path / "x.json"


def test_without_the_environment_it_does_not_depend_on_home(tmp_path, monkeypatch):
    monkeypatch.delenv("DEGRADE_LOCAL", raising=False)
    before = local_directory()
    monkeypatch.setenv("HOME", str(tmp_path))
    assert local_directory() == before
    assert before.parts[-3:] == (".local", "state", "degrade")
