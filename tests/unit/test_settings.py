"""Settings come from keywords, environment and TOML, in this order, and show no secret."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from degrade.clock import ManualClock
from degrade.errors import ConfigError
from degrade.settings import Settings, load_settings, open_store

NOBODY = 65_534


@pytest.fixture(autouse=True)
def nothing_set(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in Settings.model_fields:
        monkeypatch.delenv(f"DEGRADE_{name.upper()}", raising=False)


def test_without_anything_a_memory_store_serves():
    found = load_settings()
    assert (found.store, found.namespace, found.threads) == ("memory://", "default", "background")
    assert (found.actor, found.local) == (None, None)


def test_the_first_source_that_has_a_value_wins(tmp_path, monkeypatch):
    (tmp_path / "pyproject.toml").write_text(
        '[tool.degrade]\nstore = "sqlite:///p.db"\nnamespace = "p"\nactor = "p"\nthreads = "inline"'
    )
    (tmp_path / "degrade.toml").write_text('store = "sqlite:///t.db"\nnamespace = "t"\nactor = "t"')
    monkeypatch.setenv("DEGRADE_STORE", "sqlite:///e.db")
    monkeypatch.setenv("DEGRADE_NAMESPACE", "e")
    found = load_settings(store="sqlite:///k.db", namespace=None)
    assert (found.store, found.namespace) == ("sqlite:///k.db", "e")
    assert (found.actor, found.threads) == ("t", "inline")


def test_an_empty_variable_counts_as_not_set(monkeypatch):
    monkeypatch.setenv("DEGRADE_STORE", "")
    assert load_settings().store == "memory://"


def test_other_tools_tables_and_variables_are_left_alone(tmp_path, monkeypatch):
    (tmp_path / "pyproject.toml").write_text('[tool.other]\nstore = "x"')
    monkeypatch.setenv("DEGRADE_SOMETHING_ELSE", "x")
    assert load_settings().store == "memory://"


def refusal(**keywords: object) -> str:
    with pytest.raises(ConfigError) as caught:
        load_settings(**keywords)
    return str(caught.value)


def test_a_misspelt_setting_in_a_file_is_named_with_the_closest(tmp_path):
    (tmp_path / "degrade.toml").write_text('namespce = "x"')
    assert "did you mean 'namespace'?" in refusal()


def test_a_file_that_is_no_toml_is_named(tmp_path):
    (tmp_path / "degrade.toml").write_text("store = ")
    assert "degrade.toml" in refusal()


def test_a_file_that_is_not_utf_8_is_named(tmp_path):
    (tmp_path / "degrade.toml").write_bytes('actor = "é"'.encode("latin-1"))
    message = refusal()
    assert str(tmp_path / "degrade.toml") in message
    assert "save it as UTF-8" in message


@pytest.fixture
def no_root() -> Iterator[None]:
    """Go on as a user who may not read everything."""
    before = os.geteuid()
    if before == 0:
        os.seteuid(NOBODY)
    yield
    os.seteuid(before)


def test_a_file_that_may_not_be_read_is_named(no_root, monkeypatch):
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "pyproject.toml"
        file.touch(mode=0)
        monkeypatch.chdir(folder)
        message = refusal()
    assert str(file) in message
    assert "let this user read it" in message


@pytest.mark.parametrize("name", ["degrade.toml", "pyproject.toml"])
def test_a_file_that_cannot_be_looked_at_is_named(tmp_path, name):
    (tmp_path / name).symlink_to(name)  # a link to itself: an OSError for everybody
    message = refusal()
    assert str(tmp_path / name) in message
    assert "cannot be read" in message


def test_what_is_no_file_is_no_file_of_settings(tmp_path):
    (tmp_path / "degrade.toml").mkdir()
    assert load_settings().store == "memory://"


@pytest.mark.parametrize("text", ['[tool]\ndegrade = "x"', "tool = 5", "[[tool.degrade]]"])
def test_a_table_that_is_none_is_named(tmp_path, text):
    (tmp_path / "pyproject.toml").write_text(text)
    message = refusal()
    assert str(tmp_path / "pyproject.toml") in message
    assert "write [tool.degrade]" in message


def test_a_working_directory_that_is_gone_is_told(tmp_path, monkeypatch):
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    message = refusal()
    assert "the working directory" in message
    assert "start the process in" in message


def test_a_directory_of_a_user_that_nobody_knows_is_told(monkeypatch):
    monkeypatch.setenv("DEGRADE_LOCAL", "~nosuchuser/x")
    message = refusal()
    assert "local (DEGRADE_LOCAL)" in message
    assert "'~nosuchuser'" in message


def test_a_wrong_value_names_setting_and_variable(monkeypatch):
    monkeypatch.setenv("DEGRADE_THREADS", "many")
    message = refusal()
    assert "threads (DEGRADE_THREADS)" in message
    assert "'inline'" in message


def test_a_namespace_that_is_no_name_is_refused():
    assert "namespace" in refusal(namespace="../etc")


def test_no_secret_is_shown(monkeypatch):
    monkeypatch.setenv("DEGRADE_STORE", "redis://u:s3cret@host/0")
    found = load_settings()
    assert found.store == "redis://u:s3cret@host/0"
    assert "s3cret" not in repr(found)
    assert "s3cret" not in str(found)
    store = open_store(found.store)
    assert "s3cret" not in f"{store!r} {store.url}"
    with pytest.raises(ConfigError) as caught:
        open_store("redis://u:s3cret@host/0?db=s3cret")
    assert "s3cret" not in str(caught.value)
    assert "s3cret" not in refusal(threads="s3cret")


def test_a_url_opens_its_store_with_clock_and_namespace(tmp_path):
    clock = ManualClock(wall_s=42.0)
    for url in ("memory://", f"sqlite:///{tmp_path}/x.db", "sqlite:///y.db"):
        store = open_store(url, clock=clock, namespace="shop")
        assert store.read().now == 42.0
        assert "shop" in repr(store)
        store.close()
    assert (tmp_path / "y.db").exists()


def test_opening_a_store_does_not_touch_the_disk(tmp_path):
    open_store("sqlite:///x.db").close()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("url", ["", "nonsense", "redas://h", "memory://x", "sqlite://", "file:x"])
def test_a_url_of_no_store_is_refused_with_what_there_is(url):
    with pytest.raises(ConfigError, match="sqlite:///"):
        open_store(url)
