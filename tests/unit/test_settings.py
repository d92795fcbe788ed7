"""Settings come from keywords, environment and TOML, in this order, and show no secret."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from degrade import configure
from degrade.clock import ManualClock
from degrade.errors import ConfigError
from degrade.runtime import current_runtime
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


@pytest.mark.parametrize("name", ["degrade.toml", "pyproject.toml"])
@pytest.mark.parametrize(
    ("kind", "says"),
    [
        ("folder", "is no file"),
        ("pipe", "is no file"),
        ("link", "a link to a file that is not there"),
    ],
)
def test_what_has_the_name_of_a_file_of_settings_but_is_none_is_an_error(
    tmp_path, name, kind, says
):
    path = tmp_path / name
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to("gone.toml")
    message = refusal()
    assert f"{path} {'is ' if kind == 'link' else ''}{says}" in message


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


# ------------------------------------------------------------------ the key of snapshots

KEY = "k3y-" * 8


@pytest.mark.parametrize(
    "how", ["keyword", "variable", "degrade.toml", "dotted", "pyproject.toml", "flat"]
)
def test_where_the_key_of_snapshots_lies_can_be_said_everywhere(tmp_path, monkeypatch, how):
    toml = {
        "degrade.toml": '[snapshots]\nkey = "env:A, file:b"',
        "dotted": 'snapshots.key = "env:A, file:b"',
        "flat": 'snapshots_key = "env:A, file:b"',
        "pyproject.toml": '[tool.degrade.snapshots]\nkey = "env:A, file:b"',
    }
    if how in toml:
        name = how if how == "pyproject.toml" else "degrade.toml"
        (tmp_path / name).write_text(toml[how])
    elif how == "variable":
        monkeypatch.setenv("DEGRADE_SNAPSHOTS_KEY", "env:A, file:b")
    given = {"snapshots_key": "env:A, file:b"} if how == "keyword" else {}
    assert load_settings(**given).snapshots_key == "env:A, file:b"


@pytest.mark.parametrize(
    "text",
    [KEY, f"env:{KEY}", f"file:x, {KEY}", "env:", "file:", "ENV:X", "vault:x", f"env:X,{KEY}"],
)
def test_a_key_in_the_clear_is_refused_and_not_shown(text, tmp_path):
    (tmp_path / "degrade.toml").write_text(f'[snapshots]\nkey = "{text}"')
    message = refusal()
    assert "snapshots_key (DEGRADE_SNAPSHOTS_KEY)" in message
    assert "env:NAME or file:PATH" in message
    with pytest.raises(ConfigError, match="env:NAME or file:PATH") as caught:
        open_store("redis://host/0", snapshots_key=text)
    for shown in (message, str(caught.value), refusal(snapshots_key=text)):
        assert "k3y" not in shown


@pytest.mark.parametrize(
    ("name", "hint"), [("keys", "'snapshots_key'"), ("kee", "'snapshots_key'")]
)
def test_an_unknown_key_of_the_table_is_named_with_the_closest(tmp_path, name, hint):
    (tmp_path / "degrade.toml").write_text(f'[snapshots]\n{name} = "x"')
    assert hint in refusal()


def test_snapshots_that_are_no_table_are_told(tmp_path):
    (tmp_path / "degrade.toml").write_text('snapshots = "env:A"')
    assert "write [snapshots]" in refusal()


def made(text: str) -> Any:
    """Return the keys of the store that is opened with this setting."""
    store = open_store("redis://host/0", snapshots_key=text)
    shown = f"{store!r} {store.blobs!r} {store.url}"
    assert "k3y" not in shown
    store.close()
    return store.blobs._keys  # type: ignore[union-attr]


def test_keys_come_from_variables_and_files_without_the_space_around_them(tmp_path, monkeypatch):
    (tmp_path / "key").write_text(f"  {KEY}\n")
    (tmp_path / "link").symlink_to("key")  # as Kubernetes mounts secrets
    monkeypatch.setenv("NEW", f"new-{KEY}")
    monkeypatch.setenv("HOME", str(tmp_path))
    key, new = KEY.encode(), f"new-{KEY}".encode()
    assert made(f"file:{tmp_path}/key") == (key,)
    assert made(f"env:NEW, file:{tmp_path}/link") == (new, key)
    assert made("file:key,env:NEW") == (key, new)
    assert made("file:~/key") == (key,)


@pytest.mark.parametrize("length", [0, 31, 4097])
@pytest.mark.parametrize("where", ["env", "file"])
def test_a_key_that_is_too_short_or_no_key_at_all_is_refused(tmp_path, monkeypatch, length, where):
    text = ("k3y" * 2000)[:length]
    monkeypatch.setenv("SECRET", text)
    (tmp_path / "secret").write_text(text)
    name = "env:SECRET" if where == "env" else f"file:{tmp_path}/secret"
    with pytest.raises(ConfigError, match=f"32 to 4096 bytes, and this one {length}") as caught:
        made(name)
    assert name in str(caught.value)
    assert "openssl rand" in str(caught.value)
    assert "k3y" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("env:NOT_SET", "the environment has no NOT_SET"),
        ("file:gone", "cannot be read: No such file"),
        ("file:.", "is no file"),
        ("file:pipe", "is no file"),
        ("file:~nosuchuser/x", "cannot be read"),
        ("file:a\0b", "cannot be read"),
    ],
)
def test_a_key_that_is_not_there_is_told_with_its_place(tmp_path, name, says):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ConfigError) as caught:
        made(name)
    assert says in str(caught.value)
    assert repr(name) in str(caught.value)


def test_a_store_without_a_tier_of_snapshots_needs_no_key():
    open_store("memory://", snapshots_key="env:NOT_SET").close()


def test_configure_takes_the_key_to_the_store(monkeypatch):
    monkeypatch.setenv("SECRET", KEY)
    before = current_runtime.existing()
    runtime = configure(store="redis://host/0", snapshots_key="env:SECRET", threads="manual")
    try:
        assert runtime.store.blobs._keys == (KEY.encode(),)  # type: ignore[union-attr]
    finally:
        current_runtime.swap(before)
        runtime.close()
        runtime.store.close()


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
