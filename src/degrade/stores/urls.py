"""Store addresses: secrets left out, paths found; the names of fleets and of actors checked."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import unquote

from degrade.errors import ConfigError
from degrade.stores.state_changes import valid_text

__all__ = ("MAX_ACTOR", "checked_actor", "checked_namespace", "redact", "sqlite_path")

_SCHEME = re.compile(r"[A-Za-z+]*")
_BEGIN = re.compile(r"([A-Za-z+]*:?/+)?")
_NAMESPACE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
MAX_ACTOR = 200
"""The longest name of an actor, characters."""


def redact(url: str) -> str:
    """Return a URL without the passwords, lone user parts and query values it may contain.

    What is no proper URL is shown rather too little of than too much: a password may contain
    anything, and `redis://u:a?b@host` looks like the port `a`.
    """
    scheme, separator, rest = url.partition("://")
    if scheme.partition(":")[0].lower() in ("sqlite", "memory"):
        return url
    if not (separator and _SCHEME.fullmatch(scheme)):
        before, at, rest = url.rpartition("@")
        named = rest if before else _BEGIN.sub("", rest, count=1)
        begin = "***" if before else rest.removesuffix(named)
        return f"{begin}{at}{redact(f'x://{named}').removeprefix('x://')}"
    address, mark, query = rest.partition("?")
    user, at, host = address.rpartition("@")  # the last one: a password may contain others
    if at:
        name, colon, _ = user.partition(":")
        user = f"{name}:***" if colon else "***"
    elif "@" in query:
        host = re.sub(r":.*", ":***", host)
    else:
        host = ",".join(
            re.sub(r"^([^:\[]*):(?!\d*(/|$)).*", r"\1:***", one) for one in host.split(",")
        )
    query = "&".join(
        re.sub(r"=.*", "=***", piece, flags=re.DOTALL) if "=" in piece else "***" * bool(piece)
        for piece in query.split("&")
    )
    return f"{scheme}{separator}{user}{at}{host}{mark}{query}"


def checked_namespace(namespace: str) -> str:
    """Return a namespace that is fit for keys and file names.

    Raises:
        ConfigError: It is empty, too long, or has other characters (code `bad-name`).
    """
    if not _NAMESPACE.fullmatch(namespace):
        raise ConfigError(
            f"namespace={namespace!r}: use 1 to 64 letters, digits, '.', '_' or '-', "
            "starting with a letter or digit",
            code="bad-name",
        )
    return namespace


def checked_actor(actor: str) -> str:
    """Return the name of an actor, without the space around it.

    Raises:
        ConfigError: It is empty, too long, or has control characters (code `bad-name`).
    """
    who = valid_text(actor).strip()
    if not 1 <= len(who) <= MAX_ACTOR or _CONTROL.search(who):
        shown = f"{who[:30]!r}... ({len(who)} characters)" if len(who) > MAX_ACTOR else repr(who)
        raise ConfigError(
            f"actor={shown}: say who acts, in 1 to {MAX_ACTOR} characters, none of them "
            "a control character",
            code="bad-name",
        )
    return who


def sqlite_path(url: str) -> Path:
    """Return the absolute path that a `sqlite:///` URL names.

    Three slashes come before a path relative to the working directory, four before an absolute
    one, as in SQLAlchemy; `~` is the home directory.

    Raises:
        ConfigError: There is no path in it (code `bad-setting`).
    """
    head, _, path = url.partition(":///")
    if head.lower() != "sqlite" or not path or path == ":memory:" or "?" in path or "#" in path:
        raise ConfigError(
            f"store={redact(url)!r}: write sqlite:///relative/path.db or sqlite:////absolute/path.db"
        )
    return Path(unquote(path)).expanduser().absolute()
