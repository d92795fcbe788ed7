"""The declared flags by name, and what it means to declare one again.

    equal, from the same place          the same flag: the one declared before is returned
    equal, by a method of a subclass    the same flag: the class statement names a class whose
                                        method of that name the flag guards
    different, from the same place      replaces it, as when a module is reloaded
    anything else                       DuplicateFlagError

Names belong to the process, or to a runtime that serves as a context manager: what is declared
inside of `with Runtime(...)` is gone after it, unless a module that is being imported declares
it, because that module stays imported.
"""

from __future__ import annotations

import dis
import functools
import inspect
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from types import FrameType, MethodType
from typing import TYPE_CHECKING, Any, NamedTuple

from degrade.errors import DuplicateFlagError

if TYPE_CHECKING:
    from degrade.runtime.calls.flag import Flag

__all__ = ("FLAG_ATTRIBUTE", "Place", "registry", "scope_place", "stands_at")

FLAG_ATTRIBUTE = "__degrade_flag__"
"""Where a wrapper keeps its flag."""

_APPLIERS = ("degrade.", "django.utils.decorators")
"""Modules that call a decorator for the code that wrote it down."""

_IMPORTING = "<frozen importlib._bootstrap>"


class Place(NamedTuple):
    """Where a declaration stands.

    Attributes:
        module, file, name: Of the function, whatever is bound to it; of the code that declares,
            for what is no function. `file` is empty when it does not belong to the module.
        used_in, used_file: Module and file of the code that declares, for functions of which there
            are many: closures, methods of an object, partials. The function of a module tells
            enough by itself.
    """

    module: str
    file: str
    name: str
    used_in: str = ""
    used_file: str = ""

    def __str__(self) -> str:
        return f"{self.used_in or self.module} ({self.name})"

    def is_same(self, other: Place) -> bool:
        """Whether both are one, also when one module ran as `__main__` and was imported, too."""
        return (
            self.name == other.name
            and (self.module == other.module or self.file == other.file != "")
            and (self.used_in == other.used_in or self.used_file == other.used_file != "")
        )


class _Registry:
    """The flags of the process, and those of the runtimes that serve as context managers.

    One object, so that a forked child can renew its lock.
    """

    __slots__ = ("flags", "lock", "scopes")

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.flags: dict[str, Flag] = {}
        self.scopes: tuple[tuple[object, dict[str, Flag]], ...] = ()

    def get(self, name: str) -> Flag | None:
        """Return the flag of a name, of the innermost runtime first."""
        for _, flags in reversed(self.scopes):
            if name in flags:
                return flags[name]
        return self.flags.get(name)

    def all(self) -> dict[str, Flag]:
        """Return every flag that can be seen, by name."""
        with self.lock:
            seen = dict(self.flags)
            for _, flags in self.scopes:
                seen.update(flags)
            return seen

    def open(self, owner: object) -> None:
        """Let what is declared from now on belong to a runtime."""
        with self.lock:
            self.scopes = (*self.scopes, (owner, {}))

    def close(self, owner: object) -> None:
        """Forget what belongs to a runtime; functions that are left over stand in nobody's way."""
        with self.lock:
            kept = list(self.scopes)
            for index in reversed(range(len(kept))):
                if kept[index][0] is owner:
                    for flag in kept.pop(index)[1].values():
                        flag.gone = True
                    break
            self.scopes = tuple(kept)

    def declare(self, new: Flag) -> tuple[Flag, Flag | None]:
        """Register a declaration.

        Returns:
            The flag of the name from now on, which is an older one where both are the same; and
            the one that it replaced.

        Raises:
            DuplicateFlagError: The name is declared in another place.
        """
        with self.lock:
            old = self.get(new.name)
            if old is not None and not old.gone:
                at_home = new.place.is_same(old.place)
                if old.says(new) and (at_home or _overrides(new)):
                    return old, None
                if not at_home:
                    raise DuplicateFlagError(
                        f"flag {new.name!r} is declared in {old.place} already, and {new.place} "
                        f"is another place; take another name, or share the flag: "
                        f"degradable(degrade.flag({new.name!r}), ...), also for a method of a "
                        "subclass whose properties differ"
                    )
            self._put(new)
            return new, old

    def in_force(self, flag: Flag) -> Flag:
        """Return the flag that goes by the name of this one: what replaced it, else itself."""
        with self.lock:
            found = self.get(flag.name)
            if found is None:
                self._home()[flag.name] = found = flag
            return found

    def _put(self, flag: Flag) -> None:
        home = self._home()
        home[flag.name] = flag
        if home is self.flags:
            for _, flags in self.scopes:
                flags.pop(flag.name, None)

    def _home(self) -> dict[str, Flag]:
        return self.scopes[-1][1] if self.scopes and not _importing() else self.flags


registry = _Registry()


def stands_at(fn: Callable[..., Any]) -> Place:
    """Return where the declaration of a flag for a function stands."""
    inner: Any = fn
    while isinstance(inner, (functools.partial, MethodType)):
        inner = inner.func if isinstance(inner, functools.partial) else inner.__func__
    code = getattr(inner, "__code__", None)
    module, name = getattr(inner, "__module__", None), getattr(inner, "__qualname__", None)
    if code is None or not isinstance(module, str) or not isinstance(name, str):
        return scope_place()
    bottom = inner
    with suppress(ValueError):  # wrappers that wrap each other
        bottom = inspect.unwrap(inner)
    written_in = getattr(bottom, "__globals__", {}).get("__name__")
    file = getattr(bottom, "__code__", code).co_filename if written_in == module else ""
    place = Place(module, "" if file.startswith("<") else file, name)
    if inner is fn and "<" not in name:
        return place
    user = scope_place()
    return place._replace(used_in=user.module, used_file=user.file)


def scope_place() -> Place:
    """Return where the code that declares stands."""
    frame = _declaring_frame()
    file = frame.f_code.co_filename
    return Place(
        str(frame.f_globals.get("__name__", "?")),
        "" if file.startswith("<") else file,
        frame.f_code.co_qualname,
    )


def _declaring_frame() -> FrameType:
    """Return the frame that declares: the first outside of what applies decorators for others."""
    frame = sys._getframe(1)  # noqa: SLF001 - a place is told by frames alone
    while frame.f_back is not None and str(frame.f_globals.get("__name__", "")).startswith(
        _APPLIERS
    ):
        frame = frame.f_back
    return frame


def _importing() -> bool:
    """Whether this thread is importing a module."""
    frame: FrameType | None = sys._getframe(1)  # noqa: SLF001 - as above
    while frame is not None and frame.f_code.co_filename != _IMPORTING:
        frame = frame.f_back
    return frame is not None


def _overrides(new: Flag) -> bool:
    """Whether a class body declares it for a method that a base class guards with its name.

    The bases of a class are not known while its body runs, but the code that makes the class
    names them. Where that code cannot be read, it is no override.
    """
    body = _declaring_frame()
    if body.f_code.co_flags & inspect.CO_OPTIMIZED or "__qualname__" not in body.f_locals:
        return False
    method = new.place.name.rpartition(".")[2]
    with suppress(Exception):  # properties of the user, or opcodes of another Python
        for base in _bases(body.f_back):
            flag = getattr(getattr(base, method, None), FLAG_ATTRIBUTE, None)
            if flag is not None and flag.name == new.name:
                return True
    return False


def _bases(frame: FrameType | None) -> Iterator[type]:
    """Return the classes that the class statement names which a frame is executing."""
    if frame is None:
        return
    names: list[tuple[str, str]] = []
    for step in dis.get_instructions(frame.f_code):
        if step.offset > frame.f_lasti:
            break
        if step.opname == "LOAD_BUILD_CLASS":
            names.clear()
        elif step.opname.startswith("LOAD_") and isinstance(step.argval, str):
            names.append((step.opname, step.argval))
    found: Any = None
    for opname, name in names:
        if opname in ("LOAD_ATTR", "LOAD_METHOD"):
            found = getattr(found, name, None)
        else:
            found = frame.f_locals.get(name, frame.f_globals.get(name))
        if isinstance(found, type):
            yield found
