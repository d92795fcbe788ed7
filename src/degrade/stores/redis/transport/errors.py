"""What goes wrong with a Redis server, and what an operator can do about it: one table.

again     nothing to do but to try later
anew      what we know of the way is out of date: find the primary once more
refused   the server takes no writes; the connection is fine
setup     something has to be configured differently; the connection is fine
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from redis import exceptions

from degrade.errors import StoreError
from degrade.stores.redis.transport.address import Address

__all__ = ("LinkError", "Remedy", "code_of", "explained")


@dataclass(frozen=True, slots=True)
class Remedy:
    """What one kind of failure asks for.

    Attributes:
        kind: See the module.
        advice: What it means and what to do, for an operator.
    """

    kind: Literal["again", "anew", "refused", "setup"]
    advice: str

    @property
    def keeps_connection(self) -> bool:
        """Whether the connection is still good for the next call."""
        return self.kind in ("refused", "setup")


_REMEDIES = {
    "TIMEOUT": Remedy("anew", "it did not answer in time; is it frozen, overloaded or cut off?"),
    "CONNECTION": Remedy("anew", "it cannot be reached; check that it runs, and the address"),
    "MAXCLIENTS": Remedy("again", "it has too many clients; raise its maxclients"),
    "LOADING": Remedy("again", "it loads its data after a start; wait"),
    "BUSY": Remedy("again", "a script of somebody runs for long; SCRIPT KILL may end it"),
    "TRYAGAIN": Remedy("again", "keys are moving between nodes of the cluster; wait"),
    "MOVED": Remedy("anew", "the keys moved to another node of the cluster"),
    "ASK": Remedy("anew", "the keys are moving to another node of the cluster; wait"),
    "CLUSTERDOWN": Remedy("anew", "the cluster does not serve these keys; see CLUSTER INFO"),
    "MASTERDOWN": Remedy("anew", "it is a replica that lost its primary; see INFO replication"),
    "READONLY": Remedy("anew", "it is a replica, which takes no writes; name the primary"),
    "NOTPRIMARY": Remedy("anew", "the sentinels name a server that is no primary (yet)"),
    "SENTINELS": Remedy("anew", "no sentinel could name the primary"),
    "OOM": Remedy("refused", "its memory is full; raise maxmemory, or make room"),
    "MISCONF": Remedy("refused", "it cannot save to its disk and takes no writes; see its log"),
    "NOREPLICAS": Remedy("refused", "too few replicas are connected (min-replicas-to-write)"),
    "NOAUTH": Remedy("setup", "it wants a password; put it into the URL"),
    "WRONGPASS": Remedy("setup", "user or password in the URL are wrong or disabled"),
    "NOPERM": Remedy("setup", "its ACL forbids this user something"),
    "WRONGTYPE": Remedy(
        "setup", "a key holds another type: another program uses it; use another namespace"
    ),
    "CROSSSLOT": Remedy("setup", "keys of one command lie in several slots of the cluster"),
    "NOCLUSTER": Remedy("setup", "it is no cluster; write redis:// instead of redis+cluster://"),
    "DENIED": Remedy("setup", "it is in protected mode, without a password; see its redis.conf"),
    "STREAMID": Remedy(
        "setup",
        "ids that are not ours were written to its log, and none of ours can follow them; rename "
        "the key degrade:{NAMESPACE}:events, and a new log goes on",
    ),
    "ERR": Remedy("setup", "it refused a command; Redis 6.2 or newer is needed"),
    "WORDS": Remedy("setup", "a value cannot be written as text"),
    "CERTIFICATE": Remedy(
        "anew", "TLS failed; check the certificates on both sides, and their dates"
    ),
    "PROTOCOL": Remedy("anew", "it does not answer as Redis does; check the address, and TLS"),
}

_CLASSES: tuple[tuple[type[Exception], str], ...] = (
    (exceptions.BusyLoadingError, "LOADING"),
    (exceptions.ReadOnlyError, "READONLY"),
    (exceptions.OutOfMemoryError, "OOM"),
    (exceptions.NoPermissionError, "NOPERM"),
    (exceptions.TryAgainError, "TRYAGAIN"),
    (exceptions.MasterDownError, "MASTERDOWN"),
    (exceptions.ClusterDownError, "CLUSTERDOWN"),
    (exceptions.ClusterCrossSlotError, "CROSSSLOT"),
    (exceptions.MovedError, "MOVED"),
    (exceptions.AskError, "ASK"),
    (exceptions.AuthenticationError, "WRONGPASS"),
    (exceptions.AuthorizationError, "NOAUTH"),
    (exceptions.TimeoutError, "TIMEOUT"),
    (TimeoutError, "TIMEOUT"),
    (UnicodeError, "WORDS"),
    (exceptions.DataError, "WORDS"),
    (exceptions.InvalidResponse, "PROTOCOL"),
    (exceptions.ConnectionError, "CONNECTION"),
    (OSError, "CONNECTION"),
)
"""redis-py leaves the code out of the text of the errors for which it has a class; special first."""

_WORDS = (
    (re.compile(r"max number of clients"), "MAXCLIENTS"),
    (re.compile(r"cluster support disabled"), "NOCLUSTER"),
    (re.compile(r"Authentication required"), "NOAUTH"),
    (re.compile(r"user executing the script can't"), "NOPERM"),
    (
        re.compile(r"ID specified in XADD|exhausted the last possible ID|Invalid stream ID"),
        "STREAMID",
    ),
    (re.compile(r"certificate|SSL|TLS", re.IGNORECASE), "CERTIFICATE"),
    (re.compile(r"Timeout connecting|timed out"), "TIMEOUT"),
    (
        re.compile(
            r"(?<![A-Z])(LOADING|BUSY|TRYAGAIN|MOVED|ASK|CLUSTERDOWN|MASTERDOWN|READONLY|OOM|MISCONF"
            r"|NOREPLICAS|NOAUTH|WRONGPASS|NOPERM|WRONGTYPE|CROSSSLOT|DENIED)(?![A-Z])"
        ),
        "",
    ),
)
"""For what redis-py gives no class, and for what a script of an older server wraps."""

_RIGHTS = (
    (re.compile(r"run the '([^' ]+)' command"), "give it the right +{0}"),
    (re.compile(r"\bkeys?\b"), "give it the right ~degrade:{{NAMESPACE}}:*"),
    (re.compile(r"\bchannels?\b"), "give it the right &degrade:{{NAMESPACE}}:hint"),
)
"""What NOPERM says is missing, and how the rights of a user are written."""

_ECHO = re.compile(r"[,;]? *with args beginning with:.*", re.DOTALL)
"""What a server adds when it does not know a command, AUTH with its password, too."""


class LinkError(StoreError):
    """A `StoreError` that knows what it asks for; only this folder looks at `remedy`."""

    def __init__(self, message: str, *, code: str, remedy: Remedy) -> None:
        super().__init__(message)
        self.reason = code
        self.remedy = remedy


def code_of(error: BaseException) -> str:
    """Return the key of the table that fits an error of redis-py or of the system."""
    code = _code_in(str(error))
    for kind, known in _CLASSES:
        if isinstance(error, kind):
            general = known in ("CONNECTION", "WRONGPASS") and code
            return code if general else known
    return code or ("ERR" if isinstance(error, exceptions.ResponseError) else "PROTOCOL")


def _code_in(text: str) -> str:
    for pattern, code in _WORDS:
        if found := pattern.search(text):
            return code or found.group(1)
    return ""


def explained(error: BaseException | str, address: Address, *, where: str = "") -> LinkError:
    """Return the `StoreError` that tells an operator what is wrong, and what to do.

    Args:
        error: What happened, or a key of the table. Nothing of it is kept but its text.
        address: Whose secrets must not be shown.
        where: The server concerned, when that is not clear from the address.
    """
    if isinstance(error, str):
        code, detail = error, ""
    else:
        code, detail = code_of(error), f" ({_ECHO.sub('', str(error)) or type(error).__name__})"
    remedy = _REMEDIES[code]
    advice = remedy.advice + (f"; {_right(detail)}" if code == "NOPERM" else "")
    at = f" at {where}" if where else ""
    return LinkError(
        f"the store {address.url}{at} cannot be used: {advice}{address.hide(detail)}",
        code=code,
        remedy=remedy,
    )


def _right(detail: str) -> str:
    """Return which right is missing, as ACL SETUSER takes it."""
    for pattern, text in _RIGHTS:
        if found := pattern.search(detail):
            return text.format(*found.groups())
    return "ACL LOG on the server names the right"
