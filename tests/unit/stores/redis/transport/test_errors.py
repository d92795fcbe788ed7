"""What an error of a server, of redis-py or of the system is taken for."""

from __future__ import annotations

import pytest
from redis import exceptions

from degrade.errors import StoreError
from degrade.stores.redis.transport.address import parse
from degrade.stores.redis.transport.errors import code_of, explained

ADDRESS = parse("redis://me:s3cret@h")


def nested(text: str) -> Exception:
    """What a script of Redis 6 makes of an error inside of it."""
    return exceptions.ResponseError(f"Error running script (call to f_0a): @user_script:12: {text}")


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (nested("OOM command not allowed when used memory > 'maxmemory'."), "OOM"),
        (nested("READONLY You can't write against a read only replica."), "READONLY"),
        (nested("WRONGTYPE Operation against a key"), "WRONGTYPE"),
        (nested("ERR The ID specified in XADD is equal or smaller than the target"), "STREAMID"),
        (exceptions.ResponseError("Invalid stream ID specified as stream command"), "STREAMID"),
        (nested("@user_script: 12: Wrong number of args"), "ERR"),
        (exceptions.ResponseError("MISCONF Redis is configured to save"), "MISCONF"),
        (exceptions.ResponseError("BUSYKEY Target key name already exists."), "ERR"),
        (exceptions.ResponseError("value is not an integer or out of range"), "ERR"),
        (exceptions.MasterDownError("Link with MASTER is down"), "MASTERDOWN"),
        (exceptions.ClusterDownError("Hash slot not served"), "CLUSTERDOWN"),
        (exceptions.MovedError("1 127.0.0.1:1"), "MOVED"),
        (exceptions.AskError("1 127.0.0.1:1"), "ASK"),
        (exceptions.BusyLoadingError("Redis is loading the dataset in memory"), "LOADING"),
        (exceptions.ConnectionError("max number of clients reached"), "MAXCLIENTS"),
        (exceptions.AuthenticationError("Authentication required."), "NOAUTH"),
        (exceptions.AuthenticationError("invalid username-password pair"), "WRONGPASS"),
        (exceptions.ResponseError("DENIED Redis is running in protected mode"), "DENIED"),
        (exceptions.ConnectionError("[SSL: CERTIFICATE_VERIFY_FAILED] expired"), "CERTIFICATE"),
        (exceptions.ConnectionError("Error 111 connecting to h:1. Refused."), "CONNECTION"),
        (exceptions.TimeoutError("Timeout reading from socket"), "TIMEOUT"),
        (exceptions.InvalidResponse("Protocol Error: b'HTTP/1.1'"), "PROTOCOL"),
        (exceptions.DataError("Invalid input of type: 'object'"), "WORDS"),
        (ConnectionResetError(104, "Connection reset by peer"), "CONNECTION"),
        (TimeoutError(), "TIMEOUT"),
        (ValueError("whatever"), "PROTOCOL"),
    ],
    ids=lambda value: value if isinstance(value, str) else str(value)[:30] or "empty",
)
def test_an_error_is_taken_for_what_it_is(error, code):
    assert code_of(error) == code


def test_words_for_an_operator_show_no_secret():
    echo = "unknown command 'AUTH', with args beginning with: 'me' 's3cret'"
    for error in (exceptions.ResponseError(echo), exceptions.ResponseError("so s3cret it is")):
        told = explained(error, ADDRESS, where="h:6379")
        assert isinstance(told, StoreError)
        assert "redis://me:***@h at h:6379 cannot be used" in str(told)
        assert "s3cret" not in str(told)
