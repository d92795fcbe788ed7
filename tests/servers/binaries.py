"""Where redis-server and redis-cli are: on PATH, or where the set-up unpacked them."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

__all__ = ("Binaries", "find_redis")

_UNPACKED = Path(__file__).resolve().parents[2] / ".make" / "redis" / "usr"


@dataclass(frozen=True, slots=True, kw_only=True)
class Binaries:
    """The folder of the programs, and the environment that they need."""

    folder: Path
    libraries: tuple[Path, ...] = ()

    @property
    def server(self) -> str:
        return str(self.folder / "redis-server")

    @property
    def cli(self) -> str:
        return str(self.folder / "redis-cli")

    @property
    def environment(self) -> dict[str, str]:
        folders = [*map(str, self.libraries), os.environ.get("LD_LIBRARY_PATH", "")]
        return {**os.environ, "LD_LIBRARY_PATH": ":".join(filter(None, folders))}


def find_redis(path: str | None = None, unpacked: Path = _UNPACKED) -> Binaries:
    """Return the programs of the first place that has both; `path` is PATH unless given.

    Raises:
        FileNotFoundError: Neither place has them; the message names the set-up command.
    """
    server = shutil.which("redis-server", path=path)
    if server is not None and (Path(server).parent / "redis-cli").exists():
        return Binaries(folder=Path(server).parent)
    if (unpacked / "bin" / "redis-server").exists():
        folders = [folder for folder in unpacked.glob("lib/*") if folder.is_dir()]
        return Binaries(folder=unpacked / "bin", libraries=tuple(sorted(folders)))
    raise FileNotFoundError("redis-server is missing; run: .ci/bootstrap test")
