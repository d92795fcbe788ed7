"""What may be ordered, by whom and on what: the checks of the operator's verbs."""

from __future__ import annotations

import difflib
import getpass
import os
from collections.abc import Iterable

from degrade.core.enums import NAME_RULE, HoldMode, is_orderable
from degrade.errors import ConfigError, UnknownFlagError
from degrade.runtime.calls.flag import declared
from degrade.stores.state_changes import valid_text
from degrade.stores.urls import MAX_ACTOR
from degrade.units import Duration, Ratio, ratio, seconds

__all__ = (
    "bad",
    "check_name",
    "checked_for",
    "checked_reason",
    "checked_wait",
    "declared_here",
    "hold_mode",
    "operator",
    "unknown",
)

_LONGEST_REASON = 1_000
_LONGEST_FOR_S = 10 * 365.25 * 86_400.0


def operator() -> str:
    """Return who runs this process: the user of the operating system, also behind sudo."""
    try:
        user = getpass.getuser()
    except (OSError, KeyError):  # a container's user without a name; KeyError before 3.13
        user = f"uid {os.getuid()}" if hasattr(os, "getuid") else "unknown"
    behind = os.environ.get("SUDO_USER")
    who = f"{behind} (as {user})" if behind and behind != user else user
    plain = "".join(letter if letter.isprintable() else "?" for letter in valid_text(who))
    return plain[:MAX_ACTOR]  # nobody is kept from acting by the name of an account


def check_name(flag: str) -> None:
    """Refuse what is no name of a flag, nor `*`; an older release may have declared such a one."""
    if not is_orderable(flag):
        raise ConfigError(f"{flag!r} cannot be the name of a flag: {NAME_RULE}", code="bad-name")


def declared_here() -> set[str]:
    """Return the names of the flags that this very process declares."""
    return {flag.name for flag in declared()}


def unknown(flag: str, known: Iterable[str]) -> UnknownFlagError:
    """Return the error for a name that nobody declared, with the closest names."""
    names = sorted(set(known) - {"*"})
    close = difflib.get_close_matches(flag, names, n=3, cutoff=0.5)
    if close:
        hint = f"did you mean {' or '.join(repr(name) for name in close)}?"
    elif names:
        shown = ", ".join(names[:8]) + (", ..." if len(names) > 8 else "")
        hint = f"declared are: {shown}"
    else:
        hint = "no process has declared any flag in this store and namespace yet"
    return UnknownFlagError(f"no flag {flag!r} is declared; {hint}")


def hold_mode(mode: HoldMode | str) -> HoldMode:
    """Return the mode that a text names."""
    try:
        return HoldMode(mode)
    except ValueError:
        known = [item.value for item in HoldMode]
        close = difflib.get_close_matches(str(mode), known, n=1)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        raise bad(f"mode={mode!r} is none of {', '.join(known)}{hint}") from None


def checked_for(for_: Duration | None) -> float | None:
    """Return how long an order lasts, seconds; None is until released."""
    if for_ is None:
        return None
    for_s = seconds(for_, what="for")
    if for_s <= 0:
        raise bad(
            f"for={for_!r}: a hold lasts longer than nothing; "
            "without an end it is --until-released (for_=None in code)"
        )
    if for_s > _LONGEST_FOR_S:
        raise bad(
            f"for={for_!r}: longer than ten years; use until released (--until-released) instead"
        )
    return for_s


def checked_reason(reason: str) -> str:
    """Return a reason without the space around it."""
    text = valid_text(reason).strip()
    if not text:
        raise bad("a reason is required; others read it in the log at 3 a.m.")
    if len(text) > _LONGEST_REASON:
        raise bad(f"the reason has {len(text)} characters; at most {_LONGEST_REASON}")
    return text


def checked_wait(
    share: Ratio | None, timeout: Duration, *, local: bool = False
) -> tuple[float, float] | None:
    """Return for which share of the instances to wait, and how long, seconds; None for neither."""
    if share is None:
        return None
    if local:
        raise bad("a local order is in force on this host at once; leave out wait")
    asked = ratio(share, what="wait")
    if asked == 0:
        raise bad(f"wait={share!r}: to wait for nobody, leave it out; 99% is usual")
    return asked, seconds(timeout, what="timeout")


def bad(message: str) -> ConfigError:
    """Return the error for an order that cannot be given."""
    return ConfigError(message, code="bad-hold")
