"""Settings from keywords, environment and TOML, and the stores that they name.

The first that has a value wins: keywords, `DEGRADE_*` environment variables, `degrade.toml`,
`[tool.degrade]` of `pyproject.toml` (both in the working directory).
"""

from __future__ import annotations

import difflib
import os
import tomllib
from collections.abc import Iterable
from pathlib import Path
from stat import S_ISREG
from typing import Any, Final, Literal

from pydantic import ValidationError, field_validator
from pydantic_settings import (
    BaseSettings,
    InitSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from degrade.clock import Clock
from degrade.errors import ConfigError
from degrade.ports import Store
from degrade.stores.urls import checked_actor, checked_namespace, redact, sqlite_path

__all__ = ("Settings", "load_settings", "open_store")

_MIN_KEY: Final = 32
"""As long as what SHA-256 returns, bytes: RFC 2104 discourages shorter keys."""
_MAX_KEY: Final = 4096
_TABLES: Final = frozenset({"snapshots"})
"""Tables of a TOML file; `key` of `[snapshots]` is the setting `snapshots_key`."""
_REDIS = frozenset(
    {
        "redis", "rediss", "unix",
        "redis+sentinel", "rediss+sentinel", "redis+cluster", "rediss+cluster",
    }
)  # fmt: skip


class Settings(BaseSettings):
    """Everything that can be set without code; `DEGRADE_STORE` sets `store`, and so on.

    Attributes:
        store: Where state is kept: `memory://` (this process alone), `sqlite:///path` (one host)
            or `redis://host:6379/0` (a fleet).
        namespace: Which fleet; stores keep namespaces apart.
        local: Directory of the files that `hold --local` writes, and of the state file; None
            means the user's own.
        snapshots_key: Where the key lies with which snapshots in a fleet's store are signed:
            `env:NAME` or `file:PATH`; in TOML `key` of `[snapshots]`. Of several, with commas
            between, the first one signs and each of them verifies.
        state_file: Whether a process with a fleet's store keeps the last known state in a file,
            for the next one to begin with.
        threads: Who does the work that calls leave behind: background threads, or the calls
            themselves now and then (`inline`), or nobody until told to (`manual`).
        actor: Who an operator is, for the log; None means the user of the operating system.
    """

    model_config = SettingsConfigDict(
        env_prefix="DEGRADE_",
        env_ignore_empty=True,
        extra="forbid",
        frozen=True,
        hide_input_in_errors=True,
    )

    store: str = "memory://"
    namespace: str = "default"
    local: Path | None = None
    snapshots_key: str | None = None
    state_file: bool = True
    threads: Literal["background", "inline", "manual"] = "background"
    actor: str | None = None

    @field_validator("namespace")
    @classmethod
    def _fit_for_keys(cls, namespace: str) -> str:
        return checked_namespace(namespace)

    @field_validator("actor")
    @classmethod
    def _fit_for_the_log(cls, actor: str | None) -> str | None:
        return None if actor is None else checked_actor(actor)

    @field_validator("local")
    @classmethod
    def _of_a_known_user(cls, local: Path | None) -> Path | None:
        if local is None:
            return None
        try:
            return local.expanduser()
        except RuntimeError:
            raise ValueError(
                f"whose home directory {local.parts[0]!r} is, is unknown; give a full path"
            ) from None

    @field_validator("snapshots_key")
    @classmethod
    def _no_secret(cls, sources: str | None) -> str | None:
        if sources is not None:
            _sources_of(sources)
        return sources

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - deliberately not read
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - deliberately not read
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Name the sources, first wins; neither `.env` files nor secret directories are read."""
        return (
            init_settings,
            env_settings,
            InitSettingsSource(settings_cls, _table("degrade.toml")),
            InitSettingsSource(settings_cls, _table("pyproject.toml", "tool", "degrade")),
        )

    def __repr_args__(self) -> Iterable[tuple[str | None, Any]]:
        for name, value in super().__repr_args__():
            yield name, redact(value) if name == "store" else value


def load_settings(**keywords: Any) -> Settings:
    """Return the settings in force; keywords that are None count as not given.

    Raises:
        ConfigError: A value, a name or a TOML file is wrong, or cannot be read; secrets are not
            shown.

    Cost:
        Blocks: reads up to two small files in the working directory.
    """
    try:
        return Settings(**{name: value for name, value in keywords.items() if value is not None})
    except ValidationError as error:
        raise ConfigError("; ".join(_complaints(error))) from None  # it would show the values


def open_store(
    url: str,
    *,
    clock: Clock | None = None,
    namespace: str = "default",
    snapshots_key: str | None = None,
    create: bool = True,
) -> Store:
    """Return the store that a URL names; it connects at its first use, not here.

    Args:
        url: `memory://`, `sqlite:///relative/path.db`, `sqlite:////absolute/path.db`, or an
            address of Redis: see `degrade.stores.redis.transport.address`.
        clock: Its wall time is the store's time; the system's when None.
        namespace: Which fleet.
        snapshots_key: Where the keys lie that sign snapshots in Redis; see `Settings`. The other
            stores keep no snapshots, so it is not read for them.
        create: Make a SQLite file that is not there; commands do not.

    Raises:
        ConfigError: No store has such a URL, or a key cannot be used; secrets are not shown.
    """
    scheme = url.partition(":")[0].lower()
    if scheme == "memory" and url.lower() in ("memory:", "memory://"):
        from degrade.stores.memory import MemoryStore  # noqa: PLC0415 - only the store in use

        return MemoryStore(clock=clock, namespace=namespace)
    if scheme == "sqlite":
        from degrade.stores.sqlite import SQLiteStore  # noqa: PLC0415 - only the store in use

        return SQLiteStore(sqlite_path(url), clock=clock, namespace=namespace, create=create)
    if scheme in _REDIS:
        from degrade.stores.redis.store import RedisStore  # noqa: PLC0415 - only the store in use
        from degrade.stores.redis.transport.address import parse  # noqa: PLC0415 - only the store in use
        from degrade.stores.redis.transport.lazy import LazyTransport  # noqa: PLC0415 - only the store in use

        return RedisStore(
            LazyTransport(parse(url)), clock=clock, server_time=clock is None, namespace=namespace,
            snapshot_keys=() if snapshots_key is None else _keys(snapshots_key),
        )  # fmt: skip
    raise ConfigError(
        f"store={redact(url)!r} is no store; use memory://, sqlite:///relative/path.db, "
        "sqlite:////absolute/path.db or redis://host:6379/0"
    )


def _sources_of(text: str) -> list[tuple[str, str]]:
    """Return the kind (`env` or `file`) and the name of each source of a secret."""
    found = [part.strip().partition(":") for part in text.split(",")]
    if not all(
        (kind == "env" and name.isidentifier()) or (kind == "file" and name)
        for kind, _, name in found
    ):
        raise ValueError(  # which does not show the text: it may be the secret
            "a secret is given as env:NAME or file:PATH, with commas between several, and never "
            "as itself"
        )
    return [(kind, name) for kind, _, name in found]


def _keys(text: str) -> list[bytes]:
    """Return the keys that lie where a setting says; a message shows where, and no key."""
    try:
        sources = _sources_of(text)
    except ValueError as error:
        raise ConfigError(f"snapshots_key: {error}") from None
    return [_key(kind, name) for kind, name in sources]


def _key(kind: str, name: str) -> bytes:
    what = f"snapshots_key={kind + ':' + name!r}"
    if kind == "env":
        found = os.environ.get(name)
        if found is None:
            raise ConfigError(f"{what}: the environment has no {name}; set it, or name another")
        key = os.fsencode(found)
    else:
        try:
            path = Path(name).expanduser()
            is_file = S_ISREG(path.stat().st_mode)  # a pipe would be waited for
            key = path.read_bytes() if is_file else b""
        except (OSError, RuntimeError, ValueError) as error:
            why = getattr(error, "strerror", None) or error
            raise ConfigError(f"{what} cannot be read: {why}; let this user read it") from error
        if not is_file:
            raise ConfigError(f"{what} is no file; name the file that holds the key")
    key = key.strip()
    if not _MIN_KEY <= len(key) <= _MAX_KEY:
        raise ConfigError(
            f"{what}: a key has {_MIN_KEY} to {_MAX_KEY} bytes, and this one {len(key)}; make one "
            "with: openssl rand -hex 32"
        )
    return key


def _table(name: str, *keys: str) -> dict[str, Any]:
    """Return a table of a TOML file in the working directory; without the file it is empty."""
    try:
        path = Path.cwd() / name  # a directory that is gone has a name no more
    except OSError as error:
        raise ConfigError(
            f"the working directory, where {name} would be, cannot be used: "
            f"{error.strerror or error}; start the process in one that is there"
        ) from error
    try:
        if not S_ISREG(path.stat().st_mode):  # a pipe would be waited for
            raise ConfigError(f"{path} is no file; remove it, or put a file of settings there")
        found: Any = tomllib.loads(path.read_bytes().decode("utf-8"))
    except FileNotFoundError:
        if path.is_symlink():
            raise ConfigError(
                f"{path} is a link to a file that is not there; remove it, or mend it"
            ) from None
        return {}
    except OSError as error:
        raise ConfigError(
            f"{path} cannot be read: {error.strerror or error}; let this user read it, or start "
            "the process in another directory"
        ) from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not UTF-8: {error}; save it as UTF-8") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path} is not TOML: {error}") from error
    for key in keys:
        found = found.get(key, {})
        if not isinstance(found, dict):
            raise ConfigError(
                f"{key!r} of {path} is no table; write [{'.'.join(keys)}], and settings below it"
            )
    flat = dict(found)
    for table in _TABLES & flat.keys():
        inner = flat.pop(table)
        if not isinstance(inner, dict):
            raise ConfigError(
                f"{table!r} of {path} is no table; write [{table}], and its keys below"
            )
        flat |= {f"{table}_{key}": value for key, value in inner.items()}
    return flat


def _complaints(error: ValidationError) -> Iterable[str]:
    for item in error.errors(include_url=False, include_input=False):
        name = str(item["loc"][0]) if item["loc"] else "settings"
        if item["type"] == "extra_forbidden":
            close = difflib.get_close_matches(name, Settings.model_fields, n=1)
            hint = (
                f"did you mean {close[0]!r}?"
                if close
                else f"known: {', '.join(Settings.model_fields)}"
            )
            yield f"{name!r} is no setting; {hint}"
        else:
            says = item["msg"].removeprefix("Value error, ")
            yield f"{name} (DEGRADE_{name.upper()}): {says}"
