"""A process of a server: started in a group of its own, never outliving the test run."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

__all__ = ("ServerProcess", "bound_to_us")

_GRACE_S = 3.0


def bound_to_us(command: Sequence[str]) -> list[str]:
    """Return a command that the kernel kills (SIGKILL) when the thread that started it is gone.

    So start it from the main thread. Without util-linux nothing but our own care ends it.
    """
    setpriv = shutil.which("setpriv")
    return [setpriv, "--pdeathsig", "KILL", "--", *command] if setpriv else list(command)


class ServerProcess:
    """A program that runs until it is told to end, or until the test run is killed.

    Ctrl-C does not reach it: it has a session of its own.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        log: Path,
        env: Mapping[str, str],
        pass_fds: Sequence[int] = (),
    ) -> None:
        self.log = log
        self.frozen = False
        with log.open("ab") as out:
            self._log_begin = out.tell()
            self._process = subprocess.Popen(
                bound_to_us(command),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                env=dict(env),
                cwd=log.parent,
                start_new_session=True,
                pass_fds=pass_fds,
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process.poll() is None

    def freeze(self) -> None:
        """Stop it in its tracks (SIGSTOP): its sockets stay open and silent."""
        self._process.send_signal(signal.SIGSTOP)
        self.frozen = True

    def thaw(self) -> None:
        self._process.send_signal(signal.SIGCONT)
        self.frozen = False

    def kill(self) -> None:
        """End it at once (SIGKILL), with whatever it started."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self.frozen = False

    def stop(self) -> None:
        """Ask it to end, and kill it when it does not."""
        if self.running and not self.frozen:
            self._process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(_GRACE_S)
        self.kill()

    def logged(self) -> str:
        """Return what it logged, without what those before it wrote into the same file."""
        if not self.log.exists():
            return "(gone with its folder)"
        with self.log.open("rb") as file:
            file.seek(self._log_begin)
            return file.read().decode("utf-8", errors="replace")

    def tail(self, lines: int = 40) -> str:
        """Return the end of what it logged."""
        return "\n".join(self.logged().splitlines()[-lines:])
