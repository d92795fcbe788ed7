from __future__ import annotations

from pathlib import Path

import pytest

from examples.news_feed.script import ScriptError
from examples.news_feed.through_redis.server import find_redis


def programs(folder: Path, *names: str) -> Path:
    folder.mkdir(parents=True)
    for name in names:
        (folder / name).touch(mode=0o755)
    return folder


def test_the_programs_on_the_path_come_first(tmp_path):
    on_path = programs(tmp_path / "bin", "redis-server", "redis-cli")
    programs(tmp_path / "usr" / "bin", "redis-server", "redis-cli")
    assert find_redis(str(on_path), tmp_path / "usr") == (on_path, {})


def test_a_server_without_its_client_is_not_enough(tmp_path):
    on_path = programs(tmp_path / "bin", "redis-server")
    unpacked = programs(tmp_path / "usr" / "bin", "redis-server", "redis-cli")
    assert find_redis(str(on_path), tmp_path / "usr")[0] == unpacked


def test_unpacked_programs_find_their_libraries(tmp_path, monkeypatch):
    monkeypatch.setenv("LD_LIBRARY_PATH", "/elsewhere")
    programs(tmp_path / "bin", "redis-server", "redis-cli")
    libraries = programs(tmp_path / "lib" / "x86_64-linux-gnu")
    found = find_redis(str(tmp_path / "nowhere"), tmp_path)
    assert found == (tmp_path / "bin", {"LD_LIBRARY_PATH": f"{libraries}:/elsewhere"})


def test_without_them_the_command_to_run_is_named(tmp_path):
    with pytest.raises(ScriptError, match=r"\.ci/bootstrap demo-fleet"):
        find_redis(str(tmp_path), tmp_path)
