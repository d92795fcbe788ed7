"""A background thread of the runtime: started lazily, started again if it died, ended quickly."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod

from degrade.runtime.background.wakeup import Wakeup

__all__ = ("Worker",)

_END_WITHIN_S = 0.5


class Worker(ABC):
    """One daemon thread.

    Attributes:
        bell: What it sleeps by.
        stopping: Whether it shall end.
    """

    def __init__(self, name: str) -> None:
        self.bell = Wakeup()
        self.stopping = False
        self._name = name
        self._thread: threading.Thread | None = None

    @property
    def alive(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    def start(self) -> None:
        """Start the thread, again if it died.

        Raises:
            RuntimeError: The process can start no more threads.
        """
        self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the thread, at the latest after half a second."""
        self.stopping = True
        self.bell.ring()
        thread = self._thread
        if thread is not None and thread.is_alive() and thread is not threading.current_thread():
            thread.join(_END_WITHIN_S)

    @abstractmethod
    def _run(self) -> None:
        """Work until `stopping`."""
