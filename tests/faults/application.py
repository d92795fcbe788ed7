"""The application seen from the test: several processes, driven and questioned over pipes.

with Application(store=server.url, workers=2) as app:
    app.gather("calm", calls=500)
    server.freeze()
    app.gather("fault", calls=500)
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from queue import Empty, Queue
from types import TracebackType
from typing import Any, Self

from tests.servers.process import bound_to_us
from tests.servers.waiting import until

__all__ = ("Application", "Worker")

ROOT = Path(__file__).resolve().parents[2]
PATIENCE_S = 30.0
QUICK: dict[str, Any] = {"cooldown": 0.5, "step_time": 0.3, "step_calls": 3}
"""A recovery that tests can wait for."""


class Worker:
    """One process of the application."""

    def __init__(
        self,
        options: Mapping[str, Any],
        env: Mapping[str, str],
        home: Path,
        *,
        program: str = "tests.faults.app",
        within: Sequence[str] = (),
    ) -> None:
        self.control = options["store"] is None
        self._answers: Queue[str] = Queue()
        self._stderr = home / f"stderr-{uuid.uuid4().hex[:8]}"
        with self._stderr.open("wb") as stderr:
            self.process = subprocess.Popen(
                bound_to_us([*within, sys.executable, "-W", "error", "-m", program,
                             json.dumps(dict(options))]),
                cwd=ROOT, env=dict(env), text=True, start_new_session=True,
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=stderr,
            )  # fmt: skip
        self.hello: dict[str, Any] = {}
        threading.Thread(target=self._read, daemon=True).start()

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def stderr(self) -> str:
        return self._stderr.read_text("utf-8", errors="replace")

    def ready(self) -> dict[str, Any]:
        """Wait for the line with which a process says that it calls now."""
        self.hello = self.answer()
        return self.hello

    def ask(self, do: str, **more: Any) -> dict[str, Any]:
        self.send(do, **more)
        return self.answer()

    def send(self, do: str, **more: Any) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps({"do": do, **more}) + "\n")
        self.process.stdin.flush()

    def answer(self) -> dict[str, Any]:
        try:
            line = self._answers.get(timeout=PATIENCE_S)
        except Empty:
            line = ""
        if not line:
            raise AssertionError(f"process {self.pid} says nothing any more; {self.stderr}")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def state(self) -> dict[str, Any]:
        return self.ask("state")

    def stop(self) -> int:
        """Let it end by itself, and return its exit code."""
        self.send("stop")
        self.answer()
        return self.process.wait(PATIENCE_S)

    def freeze(self) -> None:
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self.process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            with contextlib.suppress(OSError):
                pipe and pipe.close()

    def _read(self) -> None:
        assert self.process.stdout is not None
        with contextlib.suppress(ValueError):  # closed under us, at the end
            for line in self.process.stdout:
                self._answers.put(line)
        self._answers.put("")


class Application:
    """Processes that call guarded functions at a fixed rate, and one that shows the machine alone.

    Args:
        store: What `degrade.configure(store=...)` is given; one for all, or one a process.
        workers: How many processes.
        threads: How many threads, or tasks of one loop, each.
        kind: `sync` or `async`.
        rate: Calls a second of each thread and flag.
        flags: Names; each has a function and a ladder of its own.
        ports: Where the sockets lead that are counted.
        within: Words before the command of each process, such as `ip netns exec NAME`.
    """

    def __init__(
        self,
        store: str | Sequence[str],
        *,
        workers: int = 2,
        threads: int = 2,
        kind: str = "sync",
        rate: float = 40.0,
        takes_s: float = 0.002,
        flags: Sequence[str] = ("feed.ranking",),
        ports: Sequence[int] = (),
        recovery: Mapping[str, Any] | None = None,
        namespace: str = "",
        env: Mapping[str, str] | None = None,
        control: bool = True,
        within: Sequence[str] = (),
    ) -> None:
        self.namespace = namespace or f"t{uuid.uuid4().hex[:10]}"
        self.flags = tuple(flags)
        self.home = Path(tempfile.mkdtemp(prefix="degrade-app-"))
        self.marks: list[tuple[float, str]] = []
        stores = [store] * workers if isinstance(store, str) else list(store)
        common = {
            "namespace": self.namespace, "threads": threads, "rate": rate, "takes_s": takes_s,
            "flags": list(flags), "ports": list(ports), "recovery": dict(recovery or QUICK),
        }  # fmt: skip
        self._options = [{**common, "store": url, "kind": kind} for url in stores]
        self._control_options = {**common, "store": None, "kind": kind} if control else None
        kept = {name: value for name, value in os.environ.items() if "DEGRADE_" not in name}
        home = str(self.home)
        self._env = {**kept, "HOME": home, "DEGRADE_LOCAL": home, "XDG_STATE_HOME": home}
        self._env |= env or {}
        self._within = tuple(within)
        self.workers: list[Worker] = []
        self.control: Worker | None = None

    def __enter__(self) -> Self:
        try:
            if self._control_options is not None:
                self.control = self._started(self._control_options)
            self.workers = [self._started(options) for options in self._options]
            for worker in self.everyone:
                worker.ready()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        for worker in self.everyone:
            worker.kill()
        shutil.rmtree(self.home, ignore_errors=True)

    def _started(self, options: Mapping[str, Any]) -> Worker:
        return Worker(options, self._env, self.home, within=self._within)

    @property
    def everyone(self) -> list[Worker]:
        return [*self.workers, *([self.control] if self.control else [])]

    def add(self, store: str | None = None, *, movable: bool = False) -> Worker:
        """Start one more process, whose time of day can be moved (`shift`) if wanted."""
        options = {**self._options[0], **({"store": store} if store else {}), "movable": movable}
        worker = self._started(options)
        self.workers.append(worker)
        worker.ready()
        return worker

    # ------------------------------------------------------------------ driving it

    def mark(self, phase: str) -> float:
        """Begin a phase in every process, and return the time."""
        for worker in self.everyone:
            worker.send("mark", phase=phase)
        at = min(worker.answer()["at"] for worker in self.everyone)
        self.marks.append((at, phase))
        return at

    def gather(self, phase: str, *, calls: int) -> None:
        """Begin a phase and wait until each process made that many more calls in it."""
        self.mark(phase)
        begun = {worker.pid: worker.ask("calls")["calls"] for worker in self.everyone}
        for worker in self.everyone:
            until(
                lambda worker=worker: worker.ask("calls")["calls"] >= begun[worker.pid] + calls,
                within_s=60.0, every_s=0.1, what=f"{calls} calls in the phase {phase}",
            )  # fmt: skip

    def behave(self, how: str, *, only: Sequence[Worker] | None = None) -> None:
        for worker in only or self.workers:
            worker.ask("behave", how=how)

    def count_sockets_to(self, ports: Sequence[int]) -> None:
        for worker in self.everyone:
            worker.ask("ports", ports=list(ports))

    # ------------------------------------------------------------------ asking it

    def states(self) -> list[dict[str, Any]]:
        return [worker.state() for worker in self.workers]

    def await_answer(self, flag: str, answer: str, *, within_s: float = PATIENCE_S) -> list[float]:
        """Wait until every process answers a flag so, and return since when each does."""

        def since() -> list[float] | None:
            seen = [state["flags"].get(flag, {}) for state in self.states()]
            if all(one.get("answer") == answer for one in seen):
                return [one["since"] for one in seen]
            return None

        found = until(
            since, within_s=within_s, every_s=0.02, what=f"{flag} to be answered {answer}"
        )
        assert found is not None
        return found

    def await_mode(self, flag: str, mode: str, *, within_s: float = PATIENCE_S) -> float:
        """Wait until a flag has a mode in every process, and return when that was seen."""

        def all_have_it() -> bool:
            return all(state["flags"][flag]["mode"] == mode for state in self.states())

        until(all_have_it, within_s=within_s, every_s=0.02, what=f"{flag} to be {mode}")
        return time.monotonic()

    def await_fresh(self, *, younger_s: float = 2.0, within_s: float = PATIENCE_S) -> float:
        """Wait until the state of every process is young, and return when that was seen."""

        def fresh() -> bool:
            ages = [state["state_age_s"] for state in self.states()]
            return all(age is not None and age < younger_s for age in ages)

        until(fresh, within_s=within_s, every_s=0.02, what="a fresh state everywhere")
        return time.monotonic()

    def await_word(self, words: str, *, within_s: float = PATIENCE_S) -> None:
        """Wait until every process has logged a line in which these words (a pattern) are found."""

        def told() -> bool:
            logs = [worker.ask("log")["log"] for worker in self.workers]
            return all(any(re.search(words, line) for _, line in lines) for lines in logs)

        until(told, within_s=within_s, every_s=0.05, what=f"{words!r} to be logged")

    def reports(self) -> list[dict[str, Any]]:
        """Return what every process recorded, the control's last if there is one."""
        for worker in self.everyone:
            worker.send("report")
        return [
            {**worker.answer(), "control": worker.control, "stderr": worker.stderr}
            for worker in self.everyone
        ]
