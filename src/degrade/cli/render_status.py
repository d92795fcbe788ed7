"""What people see: tables and sentences, safe for any name and any reason."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.text import Text

from degrade.cli.layout import say, show_table
from degrade.cli.terminal_text import ago, ahead, clean, command_line, when
from degrade.control import (
    Advice,
    FlagStatus,
    FleetView,
    InstanceSeen,
    InstanceStatus,
    Status,
    Why,
)
from degrade.core.records import Event, Hold, LevelOrder
from degrade.units import duration_text, ratio_text

__all__ = (
    "end_of", "event_line", "seen_line", "show_advice", "show_status", "show_why", "words",
)  # fmt: skip

_COLOURS = {
    "normal": "green", "steady": "green", "degraded": "yellow", "recovering": "cyan",
    "off": "bold red", "observe": "magenta",
}  # fmt: skip
_MOST_NAMED = 10
_COLUMNS = ("flag", "level", "mode", "dial", "phase", "instances", "since", "why", "hold")
_DROPPED = ("level", "phase", "why", "dial", "since", "hold", "instances")
"""What a narrow terminal does without, first to last: for what is not normal, it stands below."""


def show_status(status: Status, out: Console, *, prefix: Sequence[str]) -> None:
    """Print how everything stands, and what to do now."""
    count = len(status.instances)
    people = "1 process" if count == 1 else f"{count} processes"
    say(
        out,
        f"{status.store}  namespace {status.namespace}  epoch {status.epoch}  "
        f"{people} heard in the last ten minutes",
    )
    if not status.flags:
        say(out, "No process has declared a flag here yet.")
        say(out, "If a service runs, it uses another store or namespace than this one.")
    else:
        _show_table(status, out)
    _show_store(status, out)
    if status.advice:
        show_advice(status.advice, out, now=status.now, prefix=prefix)
    elif status.flags:
        say(out, Text("All is well: nothing is degraded.", style="green"))


def _show_table(status: Status, out: Console) -> None:
    rows = [
        (
            words(flag.name),
            words("-" if flag.info is None or flag.info.level is None else str(flag.info.level)),
            _mode(flag.mode.value),
            words(ratio_text(flag.dial)),
            _mode("-" if flag.phase is None else flag.phase.value),
            words(_instances(flag)),
            words("-" if flag.since is None else ago(flag.since, status.now)),
            words(flag.reason or "-"),
            words(_hold(flag, status.now)),
        )
        for flag in status.flags
    ]
    cells = zip(*rows, strict=True)
    show_table(
        out, dict(zip(_COLUMNS, cells, strict=True)), sentences=("why", "hold"), drop=_DROPPED
    )


def _show_store(status: Status, out: Console) -> None:
    """Print what became of the store, and which processes may not follow it."""
    event = status.restored
    if event is not None:
        who = "" if event.instance is None else f" by {event.instance}"
        text = f"{event.cause} {ago(event.at, status.now)}; what was in force was restored{who}."
        say(out, text[0].upper() + text[1:])
    judged = any(flag.fleet is not None for flag in status.flags)
    if status.not_before is not None and (judged or event is not None):
        until = ahead(status.not_before, status.now)
        say(out, f"The store is new: the fleet judges no flag yet, but {until}.")
    for item in status.behind[:_MOST_NAMED]:
        say(out, seen_line(item, status.epoch))
    if len(status.behind) > _MOST_NAMED:
        say(out, f"... and {len(status.behind) - _MOST_NAMED} more of them")


def seen_line(item: InstanceSeen, epoch: int) -> str:
    """Return which process it is, when it was heard last, and how far it has followed."""
    notes = [f"heard {ago(-item.heard_s, 0.0)}"]
    if item.silent:
        notes.append("silent: it may be gone")
    if item.epoch < epoch:
        notes.append(f"has applied epoch {item.epoch}, not {epoch}")
    return f"{item.host} pid {item.pid}: {'; '.join(notes)}"


def _instances(flag: FlagStatus) -> str:
    if not flag.instances:
        return "none reports"
    text = f"{flag.degraded} of {flag.instances} degraded"
    return f"{text}, {flag.silent} silent" if flag.silent else text


def _hold(flag: FlagStatus, now: float) -> str:
    parts = []
    if flag.local is not None:
        name = "this host" if flag.local_as == flag.name else "this host (every flag)"
        parts.append(f"{flag.local.mode} on {name}, {end_of(flag.local, now)}")
    if flag.hold is not None:
        name = "" if flag.held_as == flag.name else " (on every flag)"
        dial = f" {ratio_text(flag.hold.dial)}" if flag.hold.dial < 1 else ""
        parts.append(f"{flag.hold.mode}{dial}{name}, {end_of(flag.hold, now)}")
    return "; ".join(parts) or "-"


def end_of(order: Hold | LevelOrder, now: float) -> str:
    """Return when an order ends, in words."""
    if order.until is None:
        return "until released"
    return f"ends {when(order.until, now)} ({ahead(order.until, now)})"


def show_advice(
    advice: Sequence[Advice], out: Console, *, now: float, prefix: Sequence[str]
) -> None:
    """Print what is not normal: since when, why, by whom, until when, and the next commands."""
    say(out, Text("What now", style="bold"))
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
            ends = when(item.until, now)
            at = "at " if ends[0].isdigit() else ""
            line.append(f" It ends {at}{ends} ({ahead(item.until, now)}).")
        say(out, line)
        if item.note:
            say(out, f"    {item.note}")
        if item.flags and item.flags != (item.subject,):
            say(out, f"    flags: {', '.join(item.flags)}")
        width = max((len(command.purpose) for command in item.commands), default=0) + 1
        for command in item.commands:
            text = Text(f"    {command.purpose + ':':<{width}} ")
            text.append(command_line([*prefix, *command.words]), style="bold cyan")
            say(out, text, copy=True)


def _ends(ends: str) -> str:
    return "stays until released" if ends == "until released" else ends


def show_why(why: Why, out: Console, *, prefix: Sequence[str]) -> None:
    """Print why a flag is as it is."""
    flag = why.flag
    head = Text(clean(flag.name), style="bold")
    head.append(": ")
    head.append(flag.mode.value, style=_COLOURS[flag.mode.value])
    head.append(f", dial {ratio_text(flag.dial)}, {_instances(flag)}")
    say(out, head)
    info = flag.info
    if info is None:
        say(out, "  declared by no process here")
    else:
        for name, value in (
            ("level", info.level), ("owner", info.owner), ("SLA", info.sla),
            ("users are told", info.message), ("declared in", info.where or None),
        ):  # fmt: skip
            if value is not None:
                say(out, f"  {name}: {value}")
    say(out, Text("Orders", style="bold"))
    for line in why.orders or ("none; the automation decides",):
        say(out, f"  {line}")
    if flag.fleet is not None:
        _show_fleet(flag.fleet, why, out)
    say(out, Text("Instances", style="bold"))
    for instance in why.instances:
        _show_instance(instance, out, now=why.now)
    if not why.instances:
        say(out, "  none has reported this flag in the last ten minutes")
    if why.events:
        say(out, Text("Last events", style="bold"))
        for event in why.events:
            say(out, f"  {event_line(event, why.now)}")
    if why.advice:
        show_advice(why.advice, out, now=why.now, prefix=prefix)


def _show_fleet(view: FleetView, why: Why, out: Console) -> None:
    """Print the fleet's verdict, the votes, and what would change it."""
    say(out, Text("Fleet", style="bold"))
    verdict, now = view.verdict, why.now
    if verdict is not None:
        began = f"{when(verdict.at, now)} ({ago(verdict.at, now)})"
        told = f"{verdict.voters} of {verdict.live} instances: {verdict.cause}"
        say(out, f"  degraded by its verdict since {began}: {told}")
        if verdict.recovering:
            next_ = "the first recovery step was kept, so every instance recovers"
        elif verdict.retry_at > now:
            next_ = (
                f"the first recovery step failed; it is tried again {ahead(verdict.retry_at, now)}"
            )
        else:
            next_ = "one instance tries the first recovery step for all"
        say(out, f"  {next_}")
    elif view.capped:
        say(out, f"  no verdict: {view.holders} stand already, as many as are allowed at once")
    say(out, f"  now {view.count}")
    places = {item.id: f"{item.host} pid {item.pid}" for item in why.instances}
    for instance, cause in sorted(view.votes.items()):
        say(out, f"    {places.get(instance, instance)}: {cause}")


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
    say(out, line)
    details = [f"because: {report.reason}", *report.verdict]
    if report.rungs:
        details.append(f"ladder: {', '.join(report.rungs)}")
    if report.calls:
        details.append("calls: " + ", ".join(f"{n} {name}" for name, n in report.calls.items()))
    if report.oldest_age_s is not None:
        details.append(f"oldest answer of the last minute: {duration_text(report.oldest_age_s)}")
    for detail in details:
        say(out, f"    {detail}")


def event_line(event: Event, now: float) -> str:
    """Return an event as one line."""
    nothing = "level" if event.type.startswith("level") else "the store"
    subject = {None: nothing, "*": "every flag"}.get(event.flag, event.flag)
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
    source, target, late_s = (evidence.get(name) for name in ("from", "to", "late_s"))
    if not (source and target):
        return ""
    late = f", {duration_text(late_s)} earlier" if isinstance(late_s, (int, float)) else ""
    return f"{source} to {target}{late}  "


def words(text: str) -> Text:
    """Return text for people, with nothing in it that a terminal would obey."""
    return Text(clean(text))


def _mode(word: str) -> Text:
    return Text(clean(word), style=_COLOURS.get(word, ""))
