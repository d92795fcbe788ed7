"""What people see: tables and sentences, safe for any name and any reason."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from degrade.cli.text import ago, ahead, clean, command_line, when
from degrade.control import (
    Advice,
    FlagStatus,
    Held,
    InstanceStatus,
    LevelOrdered,
    LevelReleased,
    Released,
    Status,
    Why,
)
from degrade.core.records import Event, Hold, LevelOrder
from degrade.core.words import HoldMode
from degrade.units import duration_text, ratio_text

__all__ = (
    "console", "event_line", "show_advice", "show_held", "show_level", "show_level_released",
    "show_released", "show_status", "show_why",
)  # fmt: skip

_COLOURS = {
    "normal": "green", "steady": "green", "degraded": "yellow", "recovering": "cyan",
    "off": "bold red", "observe": "magenta",
}  # fmt: skip
_PIPE_WIDTH = 160


def console() -> Console:
    """Return where to print; a pipe gets wide lines without colours."""
    known = sys.stdout.isatty() or "COLUMNS" in os.environ
    return Console(width=None if known else _PIPE_WIDTH, highlight=False, markup=False, emoji=False)


def show_status(status: Status, out: Console, *, prefix: Sequence[str]) -> None:
    """Print how everything stands, and what to do now."""
    count = len(status.instances)
    people = "1 process" if count == 1 else f"{count} processes"
    out.print(
        _words(
            f"{status.store}  namespace {status.namespace}  epoch {status.epoch}  "
            f"{people} heard in the last ten minutes"
        )
    )
    if not status.flags:
        out.print(_words("No process has declared a flag here yet."))
        out.print(_words("If a service runs, it uses another store or namespace than this one."))
    else:
        out.print(_table(status))
    if status.advice:
        show_advice(status.advice, out, now=status.now, prefix=prefix)
    elif status.flags:
        out.print(Text("All is well: nothing is degraded.", style="green"))


def _table(status: Status) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in ("flag", "level", "mode", "dial", "phase", "instances", "since", "why", "hold"):
        table.add_column(name, overflow="fold", no_wrap=name in ("level", "dial", "mode"))
    for flag in status.flags:
        level = None if flag.info is None else flag.info.level
        table.add_row(
            _words(flag.name),
            _words("-" if level is None else str(level)),
            _mode(flag.mode.value),
            _words(ratio_text(flag.dial)),
            _mode("-" if flag.phase is None else flag.phase.value),
            _words(_instances(flag)),
            _words("-" if flag.since is None else ago(flag.since, status.now)),
            _words(flag.reason or "-"),
            _words(_hold(flag, status.now)),
        )
    return table


def _instances(flag: FlagStatus) -> str:
    if not flag.instances:
        return "none reports"
    text = f"{flag.degraded} of {flag.instances} degraded"
    return f"{text}, {flag.silent} silent" if flag.silent else text


def _hold(flag: FlagStatus, now: float) -> str:
    parts = []
    if flag.local is not None:
        parts.append(f"{flag.local.mode} on this host, {_end(flag.local, now)}")
    if flag.hold is not None:
        name = "" if flag.held_as == flag.name else " (on every flag)"
        dial = f" {ratio_text(flag.hold.dial)}" if flag.hold.dial < 1 else ""
        parts.append(f"{flag.hold.mode}{dial}{name}, {_end(flag.hold, now)}")
    return "; ".join(parts) or "-"


def _end(order: Hold | LevelOrder, now: float) -> str:
    if order.until is None:
        return "until released"
    return f"ends {when(order.until, now)} ({ahead(order.until, now)})"


def show_advice(
    advice: Sequence[Advice], out: Console, *, now: float, prefix: Sequence[str]
) -> None:
    """Print what is not normal: since when, why, by whom, until when, and the next commands."""
    out.print(Text("What now", style="bold"))
    for item in advice:
        line = Text("  ")
        line.append(clean(item.subject), style="bold")
        line.append(" is " if not item.subject.startswith("level ") else " is ordered: ")
        line.append(item.state, style=_COLOURS.get(item.state.split()[-1], ""))
        if item.since is not None:
            line.append(f" since {when(item.since, now)} ({ago(item.since, now)})")
        if item.instances:
            line.append(f" on {item.degraded} of {item.instances} instances")
        line.append(clean(f", by {item.by}: {item.reason}."))
        if item.until is None:
            line.append(f" It {_ends(item.ends)}.")
        else:
            line.append(f" It ends at {when(item.until, now)} ({ahead(item.until, now)}).")
        out.print(line, soft_wrap=True)
        if item.flags and item.flags != (item.subject,):
            out.print(_words(f"    flags: {', '.join(item.flags)}"), soft_wrap=True)
        width = max(len(command.purpose) for command in item.commands) + 1
        for command in item.commands:
            text = Text(f"    {command.purpose + ':':<{width}} ")
            text.append(command_line([*prefix, *command.words]), style="bold cyan")
            out.print(text, soft_wrap=True)


def _ends(ends: str) -> str:
    return "stays until released" if ends == "until released" else ends


def show_why(why: Why, out: Console, *, prefix: Sequence[str]) -> None:
    """Print why a flag is as it is."""
    flag = why.flag
    head = Text(clean(flag.name), style="bold")
    head.append(": ")
    head.append(flag.mode.value, style=_COLOURS[flag.mode.value])
    head.append(f", dial {ratio_text(flag.dial)}, {_instances(flag)}")
    out.print(head, soft_wrap=True)
    info = flag.info
    if info is None:
        out.print(_words("  declared by no process here"))
    else:
        for name, value in (
            ("level", info.level), ("owner", info.owner), ("SLA", info.sla),
            ("users are told", info.message), ("declared in", info.where or None),
        ):  # fmt: skip
            if value is not None:
                out.print(_words(f"  {name}: {value}"), soft_wrap=True)
    out.print(Text("Orders", style="bold"))
    for line in why.orders or ("none; the automation decides",):
        out.print(_words(f"  {line}"), soft_wrap=True)
    out.print(Text("Instances", style="bold"))
    for instance in why.instances:
        _show_instance(instance, out, now=why.now)
    if not why.instances:
        out.print(_words("  none has reported this flag in the last ten minutes"))
    if why.events:
        out.print(Text("Last events", style="bold"))
        for event in why.events:
            out.print(_words(f"  {event_line(event, why.now)}"), soft_wrap=True)
    if why.advice:
        show_advice(why.advice, out, now=why.now, prefix=prefix)


def _show_instance(instance: InstanceStatus, out: Console, *, now: float) -> None:
    report = instance.report
    notes = [f"heard {ago(instance.at, now)}"]
    if instance.silent:
        notes.append("silent: it may be gone")
    if instance.behind:
        notes.append("has not applied the newest order yet")
    line = Text(clean(f"  {instance.host} pid {instance.pid}: "))
    line.append(report.mode.value, style=_COLOURS[report.mode.value])
    line.append(
        clean(
            f", {report.phase.value}, dial {ratio_text(report.dial)}, "
            f"since {when(report.since, now)} ({ago(report.since, now)}); {'; '.join(notes)}"
        )
    )
    out.print(line, soft_wrap=True)
    details = [f"because: {report.reason}", *report.verdict]
    if report.rungs:
        details.append(f"ladder: {', '.join(report.rungs)}")
    if report.calls:
        details.append("calls: " + ", ".join(f"{n} {name}" for name, n in report.calls.items()))
    if report.oldest_age_s is not None:
        details.append(f"oldest answer of the last minute: {duration_text(report.oldest_age_s)}")
    for detail in details:
        out.print(_words(f"    {detail}"), soft_wrap=True)


def show_held(held: Held, out: Console, *, prefix: Sequence[str], now: float) -> None:
    """Print what a hold did."""
    name = "every flag" if held.flag == "*" else held.flag
    dial = f" at {ratio_text(held.hold.dial)}" if held.hold.dial < 1 else ""
    place = f"on this host ({held.where})" if held.local else f"(epoch {held.epoch})"
    end = _end(held.hold, now)
    out.print(_words(f"{name} is held {held.hold.mode}{dial}, {end} {place}"), soft_wrap=True)
    if held.replaced is not None:
        before = f"{held.replaced.mode} by {held.replaced.actor}: {held.replaced.reason}"
        out.print(_words(f"it replaces: {before}"), soft_wrap=True)
    if held.unchecked:
        out.print(
            _words("no declaration could be read, so the name was not checked: look at it again"),
            soft_wrap=True,
        )
    if held.hold.mode is not HoldMode.NORMAL or held.local:
        local = ("--local",) if held.local else ()
        words = [*prefix, "release", held.flag, *local, "--reason", "REASON"]
        out.print(_words(f"end it: {command_line(words)}"), soft_wrap=True)


def show_released(released: Released, out: Console) -> None:
    """Print what a release did."""
    place = f"on this host ({released.where})" if released.local else f"(epoch {released.epoch})"
    if not released.holds:
        name = "nothing" if released.flag == "*" else f"{released.flag} is not held, so nothing"
        out.print(_words(f"{name} was released"), soft_wrap=True)
    for name, hold in released.holds.items():
        text = "every flag" if name == "*" else name
        back = f"; traffic comes back {'at once' if released.now else 'step by step'}"
        if hold.mode in (HoldMode.NORMAL, HoldMode.OBSERVE):
            back = "; the automation decides again"
        out.print(_words(f"{text} is released from {hold.mode} {place}{back}"), soft_wrap=True)
    if released.still is not None:
        out.print(_words(f"still in force: {released.still}"), soft_wrap=True)


def show_level(done: LevelOrdered, out: Console, *, prefix: Sequence[str], now: float) -> None:
    """Print what ordering a level did."""
    order = done.order
    end = _end(order, now)
    out.print(_words(f"level {order.level} is ordered, {end} (epoch {done.epoch})"), soft_wrap=True)
    flags = ", ".join(name for name in done.flags if name not in done.exempt)
    out.print(_words(f"it degrades: {flags or 'no declared flag'}"), soft_wrap=True)
    if done.exempt:
        out.print(_words(f"held normal, so left alone: {', '.join(done.exempt)}"), soft_wrap=True)
    words = [*prefix, "level", "release", "--reason", "REASON"]
    out.print(_words(f"end it: {command_line(words)}"), soft_wrap=True)


def show_level_released(done: LevelReleased, out: Console) -> None:
    """Print what releasing the level did."""
    if done.order is None:
        out.print(_words("no level is ordered, so nothing was released"))
        return
    back = "at once" if done.now else "one after the other, step by step"
    out.print(
        _words(
            f"level {done.order.level} is released (epoch {done.epoch}); flags come back {back}"
        ),
        soft_wrap=True,
    )


def event_line(event: Event, now: float) -> str:
    """Return an event as one line."""
    subject = {None: "level", "*": "every flag"}.get(event.flag, event.flag)
    detail = _detail(event.evidence)
    return (
        f"{event.id}  {when(event.at, now)}  {event.type}  {subject}  {detail}"
        f"by {event.actor}: {event.cause}"
    )


def _detail(evidence: Mapping[str, object]) -> str:
    hold, level = evidence.get("hold"), evidence.get("level")
    if isinstance(hold, dict):
        return f"{hold.get('mode')}  "
    if isinstance(level, dict):
        return f"{level.get('level')}  "
    source, target = evidence.get("source"), evidence.get("target")
    return f"{source} to {target}  " if source and target else ""


def _words(text: str) -> Text:
    return Text(clean(text))


def _mode(word: str) -> Text:
    return Text(clean(word), style=_COLOURS.get(word, ""))
