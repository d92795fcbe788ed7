"""What a URL of Redis says, and what is shown of it."""

from __future__ import annotations

import pytest

from degrade.errors import ConfigError
from degrade.stores.redis.transport.address import Credentials, Endpoint, Tls, parse

SECRET = "s3cret"  # noqa: S105 - a word to look for


def secrets(password, username=None):
    return Credentials(username=username, password=password)


def test_a_plain_url_names_a_server_and_a_database():
    address = parse("redis://cache.local:7000/3")
    assert (address.kind, address.places, address.db) == (
        "single",
        (Endpoint("cache.local", 7000),),
        3,
    )
    assert (address.tls, address.timeout_s, address.secrets) == (None, None, Credentials())


def test_port_and_database_have_defaults():
    assert parse("redis://cache").places == (Endpoint("cache", 6379),)
    assert parse("redis://cache/").db == 0


def test_an_ipv6_address_stands_in_brackets():
    assert parse("redis://[::1]:7000/0").places == (Endpoint("::1", 7000),)
    assert str(parse("redis://[::1]").places[0]) == "[::1]:6379"


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("redis://:s3cret@h", secrets("s3cret")),
        ("redis://me:s3cret@h", secrets("s3cret", "me")),
        ("redis://me:a%40%3a%2Fb@h", secrets("a@:/b", "me")),
        ("redis://me:a@b/c@h", secrets("a@b/c", "me")),
        ("redis://h?username=me&password=a%26b", secrets("a&b", "me")),
    ],
)
def test_user_and_password_are_read(url, expected):
    address = parse(url)
    assert address.secrets == expected
    assert address.places == (Endpoint("h", 6379),)


def test_a_unix_socket_has_its_database_behind_the_question_mark():
    address = parse("unix://:s3cret@/run/redis%20x.sock?db=2")
    assert address.places == (Endpoint("/run/redis x.sock", 0),)
    assert (address.db, address.secrets.password) == (2, SECRET)
    assert str(address.places[0]) == "/run/redis x.sock"


def test_sentinels_know_a_service_and_have_a_password_of_their_own():
    address = parse(
        "redis+sentinel://me:s3cret@s1,s2:7001,[::1]/feed/4?sentinel_password=0ther&timeout=1s"
    )
    assert address.kind == "sentinel"
    assert address.places == (Endpoint("s1", 26379), Endpoint("s2", 7001), Endpoint("::1", 26379))
    assert (address.service, address.db, address.timeout_s) == ("feed", 4, 1.0)
    assert address.secrets == secrets(SECRET, "me")
    assert address.sentinel_secrets == secrets("0ther")


def test_a_cluster_is_named_by_some_of_its_nodes():
    address = parse("redis+cluster://n1:7000,n2")
    assert address.kind == "cluster"
    assert address.places == (Endpoint("n1", 7000), Endpoint("n2", 6379))


def test_tls_is_checked_unless_it_is_turned_off():
    assert parse("rediss://h").tls == Tls()
    assert parse("rediss+cluster://h").tls == Tls()
    assert parse(
        "rediss+sentinel://h/feed?ssl_ca_certs=/ca%20s.pem&ssl_certfile=/c.pem&ssl_keyfile=/k.pem"
    ).tls == Tls(ca_certs="/ca s.pem", certfile="/c.pem", keyfile="/k.pem")
    assert parse("rediss://h?ssl_check_hostname=false").tls == Tls(check_hostname=False)
    assert parse("rediss://h?ssl_cert_reqs=none").tls == Tls(verify=False, check_hostname=False)


@pytest.mark.parametrize(
    ("url", "complaint"),
    [
        ("redis:h", "no address of Redis"),
        ("http://me:s3cret@h", "no address of Redis"),
        ("redis+proxy://:s3cret@h", "unknown"),
        ("unix+cluster://:s3cret@/x", "unknown"),
        ("unix://:s3cret@run/x.sock", "absolute path"),
        ("redis://", "a host is missing"),
        ("redis://:s3cret@h h", "letters that no host has"),
        ("redis://:s3cret@h..x", "letters that no host has"),
        (f"redis://:s3cret@{'h' * 64}/0", "letters that no host has"),
        ("redis://:s3cret@h:x", "a port is no number"),
        ("redis://:s3cret@h:70000", "a port is no number"),
        ("redis://u:s3cret?1@h", "as %3F"),
        ("redis://u:s3cret#1@h", "# as %23"),
        ("redis://s3cret@h", "without a user"),
        ("redis://:s3cret@h?password=s3cret", "given twice"),
        ("redis://h?username=s3cret", "without a password"),
        ("redis://:s3cret@[::1", "IPv6"),
        ("redis://:s3cret@h/x", "the database is no number"),
        ("redis://:s3cret@h/1?db=1", "given twice"),
        ("redis://:s3cret@h?db=1&db=1", "given twice"),
        ("redis://h1,h2", "several hosts"),
        ("redis://h?pass=s3cret", "known: db, password"),
        ("redis://h?s3cret", "known: db, password"),
        ("redis://h?password=", "leave it out"),
        ("redis://h?ssl_ca_certs=s3cret", "rediss"),
        ("redis://h?sentinel_password=s3cret", "redis\\+sentinel"),
        ("redis+sentinel://:s3cret@h", "name the service"),
        ("redis+cluster://:s3cret@h/1", "only the database 0"),
        ("rediss://h?ssl_cert_reqs=s3cret", "required nor none"),
        ("rediss://h?ssl_check_hostname=s3cret", "true nor false"),
        ("rediss://h?ssl_keyfile=s3cret", "needs ssl_certfile"),
        ("redis://:s3cret@h?timeout=0", "no positive duration"),
    ],
)
def test_what_cannot_be_used_is_refused_in_words_without_secrets(url, complaint):
    with pytest.raises(ConfigError, match=complaint) as caught:
        parse(url)
    assert caught.value.code == "bad-setting"
    assert SECRET not in str(caught.value)
    assert caught.value.__context__ is None


def test_nothing_shows_the_secrets_of_an_address():
    address = parse("redis+sentinel://me:s3cret@h/feed?sentinel_password=s3cret")
    assert SECRET not in repr(address)
    assert SECRET not in address.url
    assert address.hide("AUTH me s3cret") == "AUTH me ***"
