"""Addresses of stores, and what is shown of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from degrade.errors import ConfigError
from degrade.stores.urls import checked_namespace, redact, sqlite_path


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://user:s3cret@host:6379/0", "redis://user:***@host:6379/0"),
        ("redis://:s3cret@host/0", "redis://:***@host/0"),
        ("redis://s3cret@host/0", "redis://***@host/0"),
        ("redis://host/0?password=s3cret&db=1", "redis://host/0?password=***&db=***"),
        ("rediss://u:s3%40cret@host", "rediss://u:***@host"),
        ("rediss://u:a@s3cret@host", "rediss://u:***@host"),
        ("redis://u:a/s3cret@host/0", "redis://u:***@host/0"),
        ("redis://[::1", "redis://[::1"),
        ("redis://u:s3cret?x@host/0", "redis://u:***?***"),
        ("redis://u:12?s3cret@host/0", "redis://u:***?***"),
        ("redis://:s3cret?", "redis://:***?"),
        ("redis://u:s3cret#x@host/0", "redis://u:***@host/0"),
        ("redis://u:s3cret", "redis://u:***"),
        ("redis+cluster://:s3cret@h1:7000,h2:7001", "redis+cluster://:***@h1:7000,h2:7001"),
        ("redis+cluster://h1:7000,h2:7001/", "redis+cluster://h1:7000,h2:7001/"),
        (
            "rediss+sentinel://u:s3cret@h1,h2:26379/feed/0?sentinel_password=s3c@ret",
            "rediss+sentinel://u:***@h1,h2:26379/feed/0?sentinel_password=***",
        ),
        ("unix://:s3cret@/run/redis.sock?db=0", "unix://:***@/run/redis.sock?db=***"),
        (":s3cret@redis.internal:6379", "***@redis.internal:6379"),
        ("user:s3cret@host:6379", "***@host:6379"),
        ("user:s3cret@host?password=s3cret", "***@host?password=***"),
        ("redis:/:s3cret@host", "***@host"),
        ("redis:user:s3cret@host", "***@host"),
        ("redis//:s3cret@host", "***@host"),
        ("redis:u:s3cret://@host", "***@host"),
        ("redis:/u:s3crethost:6379", "redis:/u:***"),
        ("localhost:6379", "localhost:6379"),
        ("redis:/localhost:6379/0", "redis:/localhost:6379/0"),
        ("redis", "redis"),
        ("unix:///run/redis.sock", "unix:///run/redis.sock"),
        ("redis://[::1]:6379/0", "redis://[::1]:6379/0"),
        ("memory://", "memory://"),
        ("sqlite:////var/x.db", "sqlite:////var/x.db"),
        ("sqlite:///x.db", "sqlite:///x.db"),
        ("sqlite:/x@y.db", "sqlite:/x@y.db"),
        ("memory:", "memory:"),
    ],
)
def test_no_secret_of_a_url_is_shown(url, shown):
    assert redact(url) == shown
    assert "s3cret" not in redact(url)


def test_three_slashes_are_relative_and_four_absolute(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert sqlite_path("sqlite:///a/b.db") == tmp_path / "a" / "b.db"
    assert sqlite_path("sqlite:////var/b.db") == Path("/var/b.db")
    assert sqlite_path("SQLITE:////var/a%20b.db") == Path("/var/a b.db")
    assert sqlite_path("sqlite:///~/b.db") == Path("~/b.db").expanduser()


@pytest.mark.parametrize(
    "url", ["sqlite://", "sqlite:///", "sqlite:///:memory:", "sqlite:x.db", "sqlite:///x?mode=ro"]
)
def test_a_url_without_a_usable_path_is_refused(url):
    with pytest.raises(ConfigError, match="sqlite:///relative"):
        sqlite_path(url)


@pytest.mark.parametrize("name", ["default", "a", "Shop.eu-1_x", "a" * 64])
def test_namespaces_fit_for_keys_and_files_are_taken(name):
    assert checked_namespace(name) == name


@pytest.mark.parametrize("name", ["", "../x", ".hidden", "a/b", "a b", "a" * 65, "ä", "a\n"])
def test_other_namespaces_are_refused(name):
    with pytest.raises(ConfigError) as caught:
        checked_namespace(name)
    assert caught.value.code == "bad-name"
