"""Addresses of Redis: one server, the primary that Sentinel names, or a Cluster.

    redis://[[user]:password@]host[:port][/db]
    unix://[[user]:password@]/path/of/socket?db=0
    redis+sentinel://[[user]:password@]host[:port][,host[:port]...]/service[/db]
    redis+cluster://[[user]:password@]host[:port][,host[:port]...]

`rediss` instead of `redis` speaks TLS, with the sentinels, too. Percent signs escape. Values
behind a question mark:

    timeout                  the most that one call may take, such as 300ms
    db, username, password   instead of their places above
    sentinel_username, sentinel_password   what the sentinels ask for
    ssl_ca_certs             file of the authorities to trust, instead of the system's
    ssl_certfile, ssl_keyfile   certificate and key to show the server
    ssl_cert_reqs            `required` (default), or `none`: no check at all
    ssl_check_hostname       `true` (default) or `false`
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import unquote

from degrade.errors import ConfigError
from degrade.stores.urls import redact
from degrade.units import seconds

__all__ = ("DEFAULT_PORT", "Address", "Credentials", "Endpoint", "Tls", "parse")

DEFAULT_PORT = 6_379
_SENTINEL_PORT = 26_379

_FORMS = (
    "redis://host:6379/0, rediss://..., unix:///path/of/socket, "
    "redis+sentinel://host1,host2/service/0 or redis+cluster://host1,host2"
)
_TLS_VALUES = frozenset(
    {"ssl_ca_certs", "ssl_certfile", "ssl_keyfile", "ssl_cert_reqs", "ssl_check_hostname"}
)
_SENTINEL_VALUES = frozenset({"sentinel_username", "sentinel_password"})
_VALUES = frozenset({"timeout", "db", "username", "password"}) | _TLS_VALUES | _SENTINEL_VALUES


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where one server listens: a host and a port, or a unix socket with the port 0."""

    host: str
    port: int

    def __str__(self) -> str:
        if not self.port:
            return self.host
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Credentials:
    """Who we are to a server; its repr shows nothing."""

    username: str | None = None
    password: str | None = None

    def __repr__(self) -> str:
        return "Secrets(***)" if self.username or self.password else "Secrets()"


@dataclass(frozen=True, slots=True, kw_only=True)
class Tls:
    """How a server proves who it is, and we to it; None means the system's choice, or nothing."""

    ca_certs: str | None = None
    certfile: str | None = None
    keyfile: str | None = None
    verify: bool = True
    check_hostname: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """What a URL says, checked.

    Attributes:
        kind: What listens there.
        places: The server, the sentinels, or some nodes of the cluster.
        service: The name under which the sentinels know the primary, else empty.
        timeout_s: The most that one call may take; None when the URL does not say.
        url: The URL with the secrets left out.
    """

    kind: Literal["single", "sentinel", "cluster"]
    places: tuple[Endpoint, ...]
    service: str = ""
    db: int = 0
    secrets: Credentials = field(default_factory=Credentials)
    sentinel_secrets: Credentials = field(default_factory=Credentials)
    tls: Tls | None = None
    timeout_s: float | None = None
    url: str

    def hide(self, text: str) -> str:
        """Return a text without the secrets of this address."""
        for secret in (self.secrets.password, self.sentinel_secrets.password):
            if secret:
                text = text.replace(secret, "***")
        return text


def parse(url: str) -> Address:
    """Return what a URL says.

    Raises:
        ConfigError: It says nothing that can be used; secrets in it are not shown
            (code `bad-setting`).
    """
    try:
        return _parsed(url)
    except _Wrong as wrong:
        complaint = f"store={redact(url)!r}: {wrong}"
    raise ConfigError(complaint)  # outside of the block, so that no context shows the secrets


class _Wrong(Exception):  # noqa: N818 - never leaves this file
    """What is wrong, in words that contain no secret."""


def _parsed(url: str) -> Address:
    scheme, separator, rest = url.partition("://")
    scheme = scheme.lower()
    base, _, kind = scheme.partition("+")
    if not separator or base not in ("redis", "rediss", "unix"):
        raise _Wrong(f"this is no address of Redis; write {_FORMS}")
    if kind not in ("", "sentinel", "cluster") or (base == "unix" and kind):
        raise _Wrong(f"the scheme {scheme!r} is unknown; write {_FORMS}")
    if "#" in rest:
        raise _Wrong("write # as %23")
    location, _, query = rest.partition("?")
    if "@" in query.partition("=")[0]:
        raise _Wrong("write ? in a password as %3F, and @ in a value as %40")
    values = _values(query, sentinel=kind == "sentinel", tls=base == "rediss")
    user, _, location = location.rpartition("@")
    secrets = _secrets(user, values)
    tls = _tls(values) if base == "rediss" else None
    timeout_s = _timeout(values)
    shown = redact(url)
    if base == "unix":
        path = unquote(location)
        if not path.startswith("/"):
            raise _Wrong("write the absolute path of the socket, as in unix:///run/redis.sock")
        return Address(
            kind="single",
            places=(Endpoint(path, 0),),
            db=_db("", values),
            secrets=secrets,
            timeout_s=timeout_s,
            url=shown,
        )
    hosts, _, path = location.partition("/")
    service, db_text = "", path.strip("/")
    if kind == "sentinel":
        service, _, db_text = path.strip("/").partition("/")
        service = unquote(service)
        if not service:
            raise _Wrong("name the service that the sentinels watch, as in .../mymaster/0")
    port = _SENTINEL_PORT if kind == "sentinel" else DEFAULT_PORT
    places = tuple(_place(text, port) for text in hosts.split(","))
    if not kind and len(places) > 1:
        raise _Wrong("several hosts are for redis+sentinel:// and redis+cluster://")
    db = _db(db_text, values)
    if kind == "cluster" and db:
        raise _Wrong("a cluster has only the database 0")
    return Address(
        kind="single" if not kind else "sentinel" if kind == "sentinel" else "cluster",
        places=places,
        service=service,
        db=db,
        secrets=secrets,
        sentinel_secrets=Credentials(
            username=values.get("sentinel_username"), password=values.get("sentinel_password")
        ),
        tls=tls,
        timeout_s=timeout_s,
        url=shown,
    )


def _values(query: str, *, sentinel: bool, tls: bool) -> dict[str, str]:
    values: dict[str, str] = {}
    for piece in filter(None, query.split("&")):
        name, _, value = piece.partition("=")
        if name not in _VALUES:
            raise _Wrong(f"one of the values behind ? is unknown; known: {_listed(_VALUES)}")
        if name in values:
            raise _Wrong(f"{name} is given twice")
        if name in _TLS_VALUES and not tls:
            raise _Wrong(f"{name} needs TLS: write rediss instead of redis")
        if name in _SENTINEL_VALUES and not sentinel:
            raise _Wrong(f"{name} is for redis+sentinel://")
        if not value:
            raise _Wrong(f"{name} is empty; leave it out")
        values[name] = unquote(value)
    return values


def _listed(names: frozenset[str]) -> str:
    return ", ".join(sorted(names))


def _secrets(user: str, values: Mapping[str, str]) -> Credentials:
    name, colon, password = user.partition(":")
    if user and ("username" in values or "password" in values):
        raise _Wrong("user and password are given twice, before @ and behind ?")
    if name and not colon:
        raise _Wrong("write user:password@, or :password@ without a user")
    secrets = Credentials(
        username=unquote(name) or values.get("username"),
        password=unquote(password) or values.get("password"),
    )
    if secrets.username and not secrets.password:
        raise _Wrong("there is a user without a password")
    return secrets


def _place(text: str, default_port: int) -> Endpoint:
    if text.startswith("["):  # IPv6
        host, bracket, after = text[1:].partition("]")
        colon, port = after[:1], after[1:]
        if not bracket or (colon and colon != ":"):
            raise _Wrong("an IPv6 address is written as [::1]:6379")
    else:
        host, colon, port = text.partition(":")
    host = unquote(host)
    if not _is_host(host):
        raise _Wrong("a host is missing, or has letters that no host has")
    if not colon:
        return Endpoint(host, default_port)
    if not (port.isascii() and port.isdigit() and 0 < int(port) < 65_536):
        raise _Wrong("a port is no number from 1 to 65535; write / in a password as %2F")
    return Endpoint(host, int(port))


def _is_host(host: str) -> bool:
    try:
        host.encode("idna")  # as the resolver does
    except UnicodeError:
        return False
    return bool(host) and not any(letter.isspace() or letter in "/@[]" for letter in host)


def _db(text: str, values: Mapping[str, str]) -> int:
    if text and "db" in values:
        raise _Wrong("the database is given twice, in the path and behind ?")
    text = text or values.get("db", "0")
    if not (text.isascii() and text.isdigit() and len(text) <= 5):
        raise _Wrong("the database is no number such as 0")
    return int(text)


def _tls(values: Mapping[str, str]) -> Tls:
    verify = values.get("ssl_cert_reqs", "required")
    if verify not in ("required", "none"):
        raise _Wrong("ssl_cert_reqs is neither required nor none")
    named = values.get("ssl_check_hostname", "true").lower()
    if named not in ("true", "false"):
        raise _Wrong("ssl_check_hostname is neither true nor false")
    if "ssl_keyfile" in values and "ssl_certfile" not in values:
        raise _Wrong("ssl_keyfile needs ssl_certfile, too")
    return Tls(
        ca_certs=values.get("ssl_ca_certs"),
        certfile=values.get("ssl_certfile"),
        keyfile=values.get("ssl_keyfile"),
        verify=verify == "required",
        check_hostname=verify == "required" and named == "true",
    )


def _timeout(values: Mapping[str, str]) -> float | None:
    if "timeout" not in values:
        return None
    try:
        timeout_s = seconds(values["timeout"], what="timeout")
    except ConfigError:
        timeout_s = 0.0
    if timeout_s <= 0:
        raise _Wrong("timeout is no positive duration such as 300ms") from None
    return timeout_s
