"""The file of the last known state: whole or not used, and never older than it was."""

from __future__ import annotations

import hashlib
import json
import os
import resource
import stat
import time

import pytest

from degrade.core.enums import Phase
from degrade.core.records import ControlState
from degrade.errors import StoreError
from degrade.stores import private_file
from degrade.stores.private_file import MAX_BYTES
from degrade.stores.state_file import Saved, SavedMachine, SavedState
from degrade.testing.store_records import hold


@pytest.fixture
def file(tmp_path):
    return SavedState("default", "redis://server", directory=tmp_path / "state")


def control(epoch=1, *, incarnation="life", now=1_000.0, **holds):
    return ControlState(incarnation=incarnation, epoch=epoch, now=now, holds=holds)


def machine(at=1_000.0, cause="breach: errors 50%"):
    return SavedMachine(
        at=at, phase=Phase.DEGRADED, share=0.0, left_s=4.0, cooldown_s=7.5, cause=cause
    )


def saved(state=None, *, at=1_000.0, **machines):
    return Saved(at=at, state=state or control(), machines=machines)


def refusal(file):
    with pytest.raises(StoreError) as caught:
        file.read()
    return str(caught.value)


def sealed(file, body):
    """Put content of somebody else into the file, with the checksum that fits."""
    rest = json.dumps(body).encode()
    file.path.parent.mkdir(parents=True, exist_ok=True)
    head = f"degrade-state 1 {hashlib.sha256(rest).hexdigest()}\n".encode()
    file.path.write_bytes(head + rest)


def test_no_file_is_no_state(file):
    assert file.read() is None
    assert not file.path.parent.exists()


def test_what_is_written_is_read(file):
    what = saved(control(feed=hold("off")), search=machine())
    file.write(what, watched={"search"})
    assert file.read() == what


def test_only_the_owner_can_read_the_file(file):
    file.write(saved(), watched=())
    assert stat.S_IMODE(file.path.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.path.parent.stat().st_mode) == 0o700


def test_each_namespace_and_each_store_has_a_file_of_its_own(tmp_path):
    paths = {
        SavedState(namespace, store, directory=tmp_path).path
        for namespace in ("default", "feed.v2")
        for store in ("redis://one", "redis://two")
    }
    assert len(paths) == 4
    assert all("redis" not in path.name for path in paths)


# ------------------------------------------------------------------ what is not used


def test_a_file_cut_anywhere_is_not_used(file):
    file.write(saved(control(feed=hold("off"))), watched=())
    whole = file.path.read_bytes()
    for length in range(len(whole)):
        file.path.write_bytes(whole[:length])
        assert "damaged" in refusal(file)


def test_a_file_with_one_wrong_byte_is_not_used(file):
    file.write(saved(control(feed=hold("off"))), watched=())
    whole = file.path.read_bytes()
    for index in range(len(whole)):
        wrong = bytearray(whole)
        wrong[index] ^= 1
        file.path.write_bytes(wrong)
        assert str(file.path) in refusal(file)


def test_a_file_of_a_newer_format_is_not_used_and_said_to_be_so(file):
    file.path.parent.mkdir()
    file.path.write_bytes(b"degrade-state 2 whatever follows\n{}")
    assert "format 2 is newer" in refusal(file)


@pytest.mark.parametrize(
    "state",
    [{"v": 2, "incarnation": "life", "epoch": 1, "now": 1.0}, {"holds": {}}, None,
     {"incarnation": "life", "epoch": 1, "now": 1.0, "holds": {"feed": {"mode": "on fire"}}}],
)  # fmt: skip
def test_content_of_another_format_is_not_used(file, state):
    sealed(file, {"at": 1.0, "state": state})
    assert "another format" in refusal(file)


def test_unknown_fields_are_kept(file):
    state = {"incarnation": "life", "epoch": 3, "now": 1.0, "region": "eu",
             "holds": {"feed": {**hold("off").model_dump(mode="json"), "ticket": "OPS-1"}}}  # fmt: skip
    sealed(file, {"at": 1.0, "state": state, "color": "green"})
    file.write(saved(control(2)), watched=())
    kept = json.loads(file.path.read_bytes().partition(b"\n")[2])
    assert kept["state"]["region"] == "eu"
    assert kept["state"]["holds"]["feed"]["ticket"] == "OPS-1"


def test_a_file_that_others_can_write_is_not_used(file):
    file.write(saved(), watched=())
    file.path.chmod(0o602)
    assert "others can write it" in refusal(file)


def test_a_pipe_in_its_place_is_refused_without_waiting_for_a_writer(file):
    file.path.parent.mkdir()
    os.mkfifo(file.path)
    assert "no regular file" in refusal(file)


# ------------------------------------------------------------------ many writers


def test_an_older_state_does_not_replace_a_newer_one(file):
    file.write(saved(control(7, feed=hold("off"))), watched=())
    file.write(saved(control(6, now=1_200.0), at=1_200.0), watched=())
    found = file.read()
    assert (found.state.epoch, found.state.now, found.at) == (7, 1_200.0, 1_200.0)
    assert set(found.state.holds) == {"feed"}


def test_a_state_of_another_life_of_the_store_replaces_any(file):
    file.write(saved(control(7)), watched=())
    file.write(saved(control(1, incarnation="other")), watched=())
    assert file.read().state.incarnation == "other"


def test_flags_of_other_processes_are_kept_for_an_hour(file):
    file.write(saved(theirs=machine(), mine=machine()), watched={"theirs", "mine"})
    file.write(saved(at=4_500.0, new=machine(at=4_500.0)), watched={"mine", "new"})
    assert set(file.read().machines) == {"theirs", "new"}
    file.write(saved(at=4_600.0), watched={"mine", "new"})
    assert set(file.read().machines) == set()


def test_what_another_process_wrote_already_is_not_written_again_within_a_minute(file):
    file.write(saved(), watched=())
    before = file.path.stat().st_ino, file.path.stat().st_mtime_ns
    file.write(saved(control(now=1_059.0), at=1_059.0), watched=())
    assert (file.path.stat().st_ino, file.path.stat().st_mtime_ns) == before
    file.write(saved(control(now=1_060.0), at=1_060.0), watched=())
    assert file.read().at == 1_060.0


def test_a_damaged_file_is_replaced(file):
    file.path.parent.mkdir()
    file.path.write_bytes(b"\0" * 4_096)
    file.write(saved(), watched=())
    assert file.read() == saved()


# ------------------------------------------------------------------ disks


def test_a_disk_that_takes_no_more_leaves_the_old_file_and_no_rubbish(file):
    file.write(saved(), watched=())
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (64, hard))
    try:
        with pytest.raises(StoreError, match=r"saved state .* cannot be used"):
            file.write(saved(control(2)), watched=())
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert file.read() == saved()
    assert list(file.path.parent.iterdir()) == [file.path]


def test_a_directory_that_cannot_be_made_is_an_error(tmp_path):
    (tmp_path / "file").write_text("")
    file = SavedState("default", "redis://server", directory=tmp_path / "file" / "below")
    with pytest.raises(StoreError):
        file.write(saved(), watched=())


def test_a_state_too_large_to_be_read_again_is_not_written(file):
    file.write(saved(), watched=())
    large = saved(control(2), feed=machine(cause="x" * MAX_BYTES))
    with pytest.raises(StoreError, match="too large"):
        file.write(large, watched={"feed"})
    assert file.read() == saved()


def test_what_killed_writers_left_behind_is_removed_after_a_minute(file):
    file.write(saved(), watched=())
    folder = file.path.parent
    (folder / f".{file.path.stem}-old").write_text("")
    (folder / f".{file.path.stem}-new").write_text("")
    (folder / ".default-theirs").write_text("")
    long_ago = time.time() - private_file._LEFT_BEHIND_S - 1
    for name in (f".{file.path.stem}-old", ".default-theirs"):
        os.utime(folder / name, (long_ago, long_ago))
    file.tidy()
    left = {path.name for path in folder.iterdir()}
    assert left == {file.path.name, f".{file.path.stem}-new", ".default-theirs"}
