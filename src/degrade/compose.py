"""Make the runtime of a process from its settings."""

from __future__ import annotations

import logging
import os
import weakref
from typing import TYPE_CHECKING, Any

from degrade.errors import DegradeError
from degrade.runtime.current_runtime import compose_with, swap
from degrade.runtime.runtime import Runtime, Threads
from degrade.stores.local_holds import LocalHolds

if TYPE_CHECKING:
    from degrade.settings import Settings

__all__ = ("configure",)

log = logging.getLogger("degrade.compose")

_ours: weakref.WeakSet[Runtime] = weakref.WeakSet()
"""The runtimes whose stores were opened here, and so are for us to close."""


def configure(
    *,
    store: str | None = None,
    namespace: str | None = None,
    threads: Threads | None = None,
    local: str | os.PathLike[str] | None = None,
    state_file: bool | None = None,
    snapshots_key: str | None = None,
) -> Runtime:
    """Set up the runtime of this process; flags declared before and after follow it.

    What is not given comes from `DEGRADE_*` variables, `degrade.toml` or `[tool.degrade]` of
    `pyproject.toml`; without any of them a memory runtime serves, and this call is not needed.
    A runtime that served before is closed, and its store, too, unless you opened that yourself.

    Args:
        store: `"memory://"`, `"sqlite:///path"` for several processes of one host, or
            `"redis://host:6379/0"` for a fleet.
        namespace: Which fleet.
        threads: `"background"`, `"inline"` or `"manual"`.
        local: Directory of the files that `hold --local` writes, and of the state file.
        state_file: Whether to keep the last known state of a fleet's store in a file, for the
            next process of this host.
        snapshots_key: `"env:NAME"` or `"file:PATH"` of the key that signs snapshots in Redis; of
            several, with commas between, the first one signs and each of them verifies.

    Raises:
        ConfigError: A setting cannot be used.

    Cost:
        Reads up to two small files, and those of keys; connects to no store.
    """
    from degrade.settings import load_settings  # noqa: PLC0415 - slow to import, rarely wanted

    given: dict[str, Any] = {
        "store": store, "namespace": namespace, "threads": threads, "local": local,
        "state_file": state_file, "snapshots_key": snapshots_key,
    }  # fmt: skip
    return _installed(load_settings(**given))


def _installed(settings: Settings) -> Runtime:
    runtime = _composed(settings)
    before = swap(runtime)
    if before is not None:
        before.close()
        if before in _ours:
            before.store.close()
    return runtime


def _composed(settings: Settings) -> Runtime:
    from degrade.settings import open_store  # noqa: PLC0415 - slow to import, rarely wanted

    store = open_store(
        settings.store, namespace=settings.namespace, snapshots_key=settings.snapshots_key
    )
    saved = None
    if settings.state_file and store.fleet is not None:
        from degrade.stores.state_file import SavedState  # noqa: PLC0415 - only for a fleet

        saved = SavedState(settings.namespace, store.url, directory=settings.local)
    runtime = Runtime(
        store,
        threads=settings.threads,
        local=LocalHolds(settings.namespace, directory=settings.local),
        saved=saved,
    )
    _ours.add(runtime)
    return runtime


def _default() -> Runtime:
    """Make the runtime of a process that configures nothing in code; wrong settings are told."""
    try:
        from degrade.settings import load_settings  # noqa: PLC0415 - slow to import, rarely wanted

        return _composed(load_settings())
    except Exception as error:  # a guarded call is on its way, and must not pay for it
        log.error(  # noqa: TRY400 - a message of ours says it all
            "%s; until degrade.configure() is called, a memory runtime serves",
            error,
            exc_info=None if isinstance(error, DegradeError) else error,
        )
        return Runtime()


compose_with(_default)
