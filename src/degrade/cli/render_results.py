"""What people are told of what a verb did, and how far it has come."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.text import Text

from degrade.cli.layout import say
from degrade.cli.render_status import end_of, seen_line
from degrade.cli.terminal_text import clean, command_line
from degrade.control import Held, LevelOrdered, LevelReleased, Propagation, Released
from degrade.core.enums import HoldMode
from degrade.units import duration_text, ratio_text

__all__ = (
    "show_arrived", "show_held", "show_level", "show_level_released", "show_released",
)  # fmt: skip


def show_held(held: Held, out: Console, *, prefix: Sequence[str], now: float) -> None:
    """Print what a hold did."""
    name = "every flag" if held.flag == "*" else held.flag
    dial = f" at {ratio_text(held.hold.dial)}" if held.hold.dial < 1 else ""
    place = f"on this host ({held.where})" if held.local else f"(epoch {held.epoch})"
    end = end_of(held.hold, now)
    say(out, f"{name} is held {held.hold.mode}{dial}, {end} {place}")
    if held.replaced is not None:
        before = f"{held.replaced.mode} by {held.replaced.actor}: {held.replaced.reason}"
        say(out, f"it replaces: {before}")
    if held.unchecked:
        say(out, "no declaration could be read, so the name was not checked: look at it again")
    if held.hold.mode is not HoldMode.NORMAL or held.local:
        local = ("--local",) if held.local else ()
        command = [*prefix, "release", held.flag, *local, "--reason", "REASON"]
        say(out, f"end it: {command_line(command)}", copy=True)


def show_released(released: Released, out: Console) -> None:
    """Print what a release did."""
    place = f"on this host ({released.where})" if released.local else f"(epoch {released.epoch})"
    if not released.holds:
        name = "nothing" if released.flag == "*" else f"{released.flag} is not held, so nothing"
        say(out, f"{name} was released")
    for name, hold in released.holds.items():
        text = "every flag" if name == "*" else name
        back = f"; traffic comes back {'at once' if released.now else 'step by step'}"
        if hold.mode in (HoldMode.NORMAL, HoldMode.OBSERVE):
            back = "; the automation decides again"
        say(out, f"{text} is released from {hold.mode} {place}{back}")
    if released.still is not None:
        say(out, f"still in force: {released.still}")


def show_level(done: LevelOrdered, out: Console, *, prefix: Sequence[str], now: float) -> None:
    """Print what ordering a level did."""
    order = done.order
    end = end_of(order, now)
    say(out, f"level {order.level} is ordered, {end} (epoch {done.epoch})")
    flags = ", ".join(name for name in done.flags if name not in done.exempt)
    nothing = "nothing now" if done.exempt else "no declared flag"
    say(out, f"it degrades: {flags or nothing}")
    if done.exempt:
        say(out, f"held normal or off, so left alone: {', '.join(done.exempt)}")
    command = [*prefix, "level", "release", "--reason", "REASON"]
    say(out, f"end it: {command_line(command)}", copy=True)


def show_level_released(done: LevelReleased, out: Console) -> None:
    """Print what releasing the level did."""
    if done.order is None:
        say(out, "no level is ordered, so nothing was released")
        return
    back = "at once" if done.now else "one after the other, step by step"
    say(out, f"level {done.order.level} is released (epoch {done.epoch}); flags come back {back}")


def show_arrived(
    arrived: Propagation, out: Console, *, prefix: Sequence[str], local: Sequence[str] = ()
) -> None:
    """Print how many instances have applied a change, who has not, and what to do then.

    Args:
        arrived: How far it has come.
        out: Where to print.
        prefix: The words of a command up to the verb.
        local: The verb that orders the same on one host, if there is one.
    """
    after = duration_text(arrived.after_s)
    if arrived.trouble is not None:
        say(out, f"the heartbeats cannot be read: {arrived.trouble}")
    if not arrived.instances:
        say(out, f"no process has been heard in the last ten minutes (waited {after})")
        say(out, "so nobody has applied it; whoever starts reads it before it serves")
        _show_undone(arrived, out, prefix=prefix)
        return
    count = f"{arrived.applied} of {arrived.instances} instances have applied it after {after}"
    if arrived.enough:
        say(out, Text(count, style="green"))
    else:
        short = f"{count}, less than the {ratio_text(arrived.asked)} asked for"
        say(out, Text(short, style="bold red"))
    _show_undone(arrived, out, prefix=prefix)
    if arrived.missing:
        say(out, "not known to have applied it:")
    for item in arrived.missing:
        say(out, f"  {seen_line(item, arrived.epoch)}")
    if not arrived.enough:
        look = command_line([*prefix, "status"])
        say(out, f"look again: {look}", copy=True)
        if local:
            there = command_line([*prefix, *local])
            say(out, f"on those hosts, without the store: {there}", copy=True)
        say(out, "a process that is gone for good counts until ten minutes after it was heard")


def _show_undone(arrived: Propagation, out: Console, *, prefix: Sequence[str]) -> None:
    """Print which later order ended or replaced the change meanwhile."""
    event = arrived.undone
    if event is not None:
        by = f"{event.type.replace('_', ' ')} by {event.actor}: {event.cause}"
        say(out, Text(clean(f"but it stands no longer, {by}"), style="bold red"))
        say(out, f"look again: {command_line([*prefix, 'status'])}", copy=True)
