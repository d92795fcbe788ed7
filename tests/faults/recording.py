"""What one process of the application writes down: per phase, per call, and beside the calls.

Times of events are `time.monotonic()`, which all processes of a Linux machine share.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

__all__ = ("Phase", "Recorder", "inodes_to", "sockets_to", "watch")

MOST_ERRORS = 50
MOST_CHANGES = 20_000


class Phase:
    """Everything of one phase; a phase may come several times.

    Attributes:
        bare: Seconds that the bare function took, a number a call.
        guarded: Seconds that the guarded one took right before or after, where it ran.
        degraded: The same where the ladder answered.
        lag: Seconds by which the event loop was late, sampled every few milliseconds.
        classes: Flag and answer (`full`, `degraded`, `raised`) to calls.
        seconds, cpu_s: How long it lasted, and the processor time that this process used in it.
        most: The highest seen of what is sampled: age of the state, sockets, threads, lateness.
    """

    def __init__(self) -> None:
        self.bare: list[float] = []
        self.guarded: list[float] = []
        self.degraded: list[float] = []
        self.lag: list[float] = []
        self.classes: Counter[str] = Counter()
        self.most: dict[str, float] = {}
        self.seconds = 0.0
        self.cpu_s = 0.0

    def at_most(self, name: str, value: float) -> None:
        self.most[name] = max(value, self.most.get(name, 0.0))

    def told(self) -> dict[str, Any]:
        return {
            "bare": [round(value, 6) for value in self.bare],
            "guarded": [round(value, 6) for value in self.guarded],
            "degraded": [round(value, 6) for value in self.degraded],
            "lag": [round(value, 6) for value in self.lag],
            "classes": dict(self.classes),
            "most": dict(self.most),
            "seconds": self.seconds,
            "cpu_s": self.cpu_s,
        }


class LogLines(logging.Handler):
    """Keeps when each line of an application's log was written, and its first words: warnings."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.lines: list[tuple[float, str]] = []

    def emit(self, record: logging.LogRecord) -> None:
        text = f"{record.levelname} {record.name}: {record.getMessage()}"
        if record.exc_info and record.exc_info[1] is not None:
            text += f" [{type(record.exc_info[1]).__name__}: {record.exc_info[1]}]"
        self.lines.append((time.monotonic(), text[:500]))


class Recorder:
    """Collects from several threads at once; every append is one step of the interpreter."""

    def __init__(self) -> None:
        self.phases: dict[str, Phase] = {"warm": Phase()}
        self.phase = self.phases["warm"]
        self.errors: list[str] = []
        self.thread_errors: list[str] = []
        self.changes: list[tuple[float, str, str]] = []
        self.last: dict[str, tuple[str, float]] = {}
        self.log = LogLines()
        self._since, self._cpu = time.monotonic(), time.process_time()
        self._lock = threading.Lock()
        threading.excepthook = self._thread_died

    def mark(self, name: str) -> None:
        """Begin a phase; calls count for the phase in which they began."""
        now, cpu = time.monotonic(), time.process_time()
        self.phase.seconds += now - self._since
        self.phase.cpu_s += cpu - self._cpu
        self._since, self._cpu = now, cpu
        self.phase = self.phases.setdefault(name, Phase())

    def call(
        self, phase: Phase, flag: str, began: float, answer: str, bare_s: float, guarded_s: float
    ) -> None:
        phase.bare.append(bare_s)
        (phase.degraded if answer == "degraded" else phase.guarded).append(guarded_s)
        self.answered(phase, flag, began, answer)

    def answered(self, phase: Phase, flag: str, began: float, answer: str) -> None:
        """Count an answer, and note when the answers of a flag changed."""
        with self._lock:
            phase.classes[f"{flag}={answer}"] += 1
            seen = self.last.get(flag)
            if (seen is None or seen[0] != answer) and (seen is None or began >= seen[1]):
                self.last[flag] = (answer, began)
                if len(self.changes) < MOST_CHANGES:
                    self.changes.append((began, flag, answer))

    def raised(self, error: BaseException) -> None:
        """Note an exception that reached a caller."""
        if len(self.errors) < MOST_ERRORS:
            self.errors.append("".join(traceback.format_exception(error))[-2000:])

    def told(self) -> dict[str, Any]:
        """Return everything, for the test."""
        self.mark("end")
        return {
            "phases": {name: phase.told() for name, phase in self.phases.items()},
            "errors": self.errors,
            "thread_errors": self.thread_errors,
            "changes": self.changes,
            "log": self.log.lines,
        }

    def _thread_died(self, died: threading.ExceptHookArgs) -> None:
        name = died.thread.name if died.thread else "?"
        self.thread_errors.append(f"{name}: {died.exc_type.__name__}: {died.exc_value}")


def sockets_to(ports: frozenset[int]) -> int:
    """Return how many sockets of this process lead to these ports of loopback."""
    return len(inodes_to(ports))


def inodes_to(ports: frozenset[int], *, of: int | str = "self") -> set[str]:
    """Return which sockets of a process lead to these ports; who shares one shares its inode."""
    inodes = set()
    for entry in Path(f"/proc/{of}/fd").iterdir():
        try:
            target = str(entry.readlink())
        except OSError:  # closed meanwhile
            continue
        if target.startswith("socket:["):
            inodes.add(target[8:-1])
    found = set()  # the kernel may list a socket twice while the table changes
    for line in Path("/proc/self/net/tcp").read_text().splitlines()[1:]:
        words = line.split()
        if words[9] in inodes and int(words[2].rsplit(":", 1)[1], 16) in ports:
            found.add(words[9])
    return found


def watch(
    recorder: Recorder,
    stopping: threading.Event,
    ports: Callable[[], frozenset[int]],
    age_s: Callable[[], float | None],
) -> None:
    """Sample what is not measured by calls, ten times a second, until told to stop."""
    while not stopping.wait(0.1):
        phase = recorder.phase
        phase.at_most("state_age_s", age_s() or 0.0)
        with contextlib.suppress(OSError):  # out of file descriptors, which one test sees to
            phase.at_most("sockets", sockets_to(ports()))
        phase.at_most("threads", threading.active_count())
