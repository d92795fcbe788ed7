"""One run of the command line: its settings, its store, and the options to repeat in advice."""

from __future__ import annotations

from dataclasses import dataclass

from degrade.control import Control
from degrade.errors import StoreError
from degrade.ports import Store
from degrade.settings import Settings, open_store
from degrade.stores.local_holds import LocalHolds

__all__ = ("Session",)


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """What the global options led to.

    Attributes:
        settings: Options, environment and TOML together.
        given: The global options that were on the command line, to repeat in advice.
        create: Make the SQLite file of the store if it is not there.
    """

    settings: Settings
    given: tuple[str, ...]
    create: bool = False

    def control(self, *, local: bool = False) -> Control:
        """Return the verbs over the store.

        Args:
            local: The command can do without a store.

        Raises:
            StoreError: No other process can see the store (code `store-not-shared`).
        """
        store = open_store(
            self.settings.store, namespace=self.settings.namespace, create=self.create
        )
        if not store.shared and not local:
            raise _not_shared(store)
        return Control(
            store,
            actor=self.settings.actor,
            namespace=self.settings.namespace,
            local=LocalHolds(self.settings.namespace, directory=self.settings.local),
        )


def _not_shared(store: Store) -> StoreError:
    return StoreError(
        f"the store is {store.url}, which lives inside one process: this command cannot see "
        "another process in it. Give the service and this command a shared store, for example "
        "DEGRADE_STORE=sqlite:////var/lib/myservice/degrade.db (or --store); "
        "`hold --local` works without one",
        code="store-not-shared",
    )
