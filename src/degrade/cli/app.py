"""The commands: each calls one verb of `Control`, and prints what it did."""

from __future__ import annotations

import importlib.metadata
import sys
import threading
from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated

import typer

from degrade.cli import render_results, render_status
from degrade.cli.exit_codes import Exit
from degrade.cli.layout import console, say
from degrade.cli.output import Output
from degrade.cli.session import Session
from degrade.cli.terminal_text import clean, json_text
from degrade.clock import SystemClock
from degrade.control import Control, Held, LevelOrdered, LevelReleased, Propagation, Released
from degrade.control.queries import WAIT_S
from degrade.control.validation import checked_wait
from degrade.core.records import Event
from degrade.errors import ConfigError, StoreError, UnknownFlagError
from degrade.settings import load_settings
from degrade.stores.urls import redact

__all__ = ("app",)

_FOLLOW_S = 0.2
"""How often `events --follow` looks, seconds."""

app = typer.Typer(
    name="degrade",
    help="See what is degraded, and decide it: holds, levels and the log of a running service.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

FlagArgument = Annotated[str, typer.Argument(metavar="FLAG", help="A flag, or '*' for every flag.")]
For = Annotated[
    str | None, typer.Option("--for", metavar="DURATION", help="How long, such as 30m or 2h.")
]
UntilReleased = Annotated[
    bool, typer.Option("--until-released", help="Without an end; somebody has to release it.")
]
Reason = Annotated[str, typer.Option("--reason", "-r", help="Why, for those who read the log.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")]
Now = Annotated[bool, typer.Option("--now", help="Full traffic at once, without recovery steps.")]
Local = Annotated[
    bool,
    typer.Option("--local", help="On this host alone, by a file; works while the store is broken."),
]
Wait = Annotated[
    str | None,
    typer.Option(
        "--wait", metavar="SHARE", help="Wait until this share of the processes has applied it."
    ),
]
Timeout = Annotated[
    str | None,
    typer.Option("--timeout", metavar="DURATION", help="The longest to wait; 10s unless told."),
]


def _version(asked: bool) -> None:
    if asked:
        print(f"degrade {importlib.metadata.version('degrade')}")
        raise typer.Exit


@app.callback()
def options(
    ctx: typer.Context,
    *,
    store: Annotated[
        str | None,
        typer.Option("--store", metavar="URL", help="The store. [env: DEGRADE_STORE]"),
    ] = None,
    namespace: Annotated[
        str | None,
        typer.Option("--namespace", metavar="NAME", help="The fleet. [env: DEGRADE_NAMESPACE]"),
    ] = None,
    actor: Annotated[
        str | None,
        typer.Option(
            "--actor", metavar="NAME", help="Who acts; you, unless told. [env: DEGRADE_ACTOR]"
        ),
    ] = None,
    create: Annotated[
        bool,
        typer.Option("--create", help="Make the SQLite file of the store if it is not there."),
    ] = False,
    version: Annotated[  # noqa: ARG001 - the callback of the option acts on it
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Read the options that every command shares."""
    given = [
        word
        for name, value in (
            ("--store", None if store is None else redact(store)),  # it is printed, and logged
            ("--namespace", namespace),
            ("--actor", actor),
        )
        if value is not None
        for word in (name, value)
    ]
    settings = load_settings(store=store, namespace=namespace, actor=actor)
    ctx.obj = Session(settings=settings, given=tuple(given), create=create)


@app.command()
def status(
    ctx: typer.Context,
    flag: Annotated[
        str | None, typer.Argument(metavar="[FLAG]", help="This flag alone.", show_default=False)
    ] = None,
    *,
    as_json: Json = False,
) -> None:
    """Show how every flag stands, and what to do now."""
    found = _control(ctx).status(flag)
    if as_json:
        print(json_text(found))
    else:
        render_status.show_status(found, console(), prefix=_prefix(ctx))


@app.command()
def why(ctx: typer.Context, flag: FlagArgument, *, as_json: Json = False) -> None:
    """Show why a flag is as it is: orders, evidence, ladder, last events."""
    found = _control(ctx).why(flag)
    if as_json:
        print(json_text(found))
    else:
        render_status.show_why(found, console(), prefix=_prefix(ctx))


@app.command()
def hold(
    ctx: typer.Context,
    flag: FlagArgument,
    mode: Annotated[str, typer.Argument(metavar="MODE", help="normal, degraded, off or observe.")],
    *,
    reason: Reason,
    for_: For = None,
    until_released: UntilReleased = False,
    dial: Annotated[
        str, typer.Option("--dial", metavar="SHARE", help="Share of calls to degrade.")
    ] = "100%",
    local: Local = False,
    force: Annotated[
        bool, typer.Option("--force", help="Hold a flag that no process has declared.")
    ] = False,
    wait: Wait = None,
    timeout: Timeout = None,
    as_json: Json = False,
) -> None:
    """Order a mode for a flag, whatever the automation thinks."""
    waits = _waits(wait, timeout, local=local)
    control = _control(ctx, local=local)
    done = control.hold(
        flag,
        mode,
        for_=_end(for_, until_released=until_released),
        reason=reason,
        dial=_share(dial),
        force=force,
        local=local,
    )
    _mark_ordered()
    if not as_json:
        render_results.show_held(done, console(), prefix=_prefix(ctx), now=_now())
    end = ("--until-released",) if for_ is None else ("--for", for_)
    share = () if done.hold.dial == 1 else ("--dial", dial)
    again = ("hold", flag, done.hold.mode, *share, *end, "--reason", reason, "--local")
    _finish(ctx, control, done, waits, as_json=as_json, local=again)


@app.command()
def extend(
    ctx: typer.Context,
    flag: FlagArgument,
    *,
    for_: For = None,
    until_released: UntilReleased = False,
    reason: Reason = "still needed",
    as_json: Json = False,
) -> None:
    """Let a hold last for a time from now; everything else of it stays."""
    done = _control(ctx).extend(flag, for_=_end(for_, until_released=until_released), reason=reason)
    _mark_ordered()
    if as_json:
        print(json_text(done))
    else:
        render_results.show_held(done, console(), prefix=_prefix(ctx), now=_now())


@app.command()
def release(
    ctx: typer.Context,
    flag: FlagArgument,
    *,
    reason: Reason,
    now: Now = False,
    local: Local = False,
    wait: Wait = None,
    timeout: Timeout = None,
    as_json: Json = False,
) -> None:
    """Remove the hold on a flag, or with '*' every hold; traffic comes back step by step."""
    waits = _waits(wait, timeout, local=local)
    control = _control(ctx, local=local)
    done = control.release(flag, reason=reason, now=now, local=local)
    _mark_ordered()
    if not as_json:
        render_results.show_released(done, console())
    _finish(ctx, control, done, waits, as_json=as_json)


@app.command()
def level(
    ctx: typer.Context,
    order: Annotated[
        str,
        typer.Argument(
            metavar="1|2|3|release",
            help="Degrade all flags of this level and above (3: users hardly notice), or end that.",
        ),
    ],
    *,
    reason: Reason,
    for_: For = None,
    until_released: UntilReleased = False,
    now: Now = False,
    wait: Wait = None,
    timeout: Timeout = None,
    as_json: Json = False,
) -> None:
    """Degrade flags in bulk, by how much users lose; `level release` ends it."""
    waits = _waits(wait, timeout)
    if order == "release":
        if for_ is not None or until_released:
            raise ConfigError("level release has no duration; leave out --for", code="bad-hold")
        control = _control(ctx)
        gone = control.release_level(reason=reason, now=now)
        _mark_ordered()
        if not as_json:
            render_results.show_level_released(gone, console())
        _finish(ctx, control, gone, waits, as_json=as_json)
        return
    if order not in ("1", "2", "3"):
        raise ConfigError(
            f"level {order!r}: order 3 (users hardly notice), 2 or 1 (emergency only), or release",
            code="bad-hold",
        )
    if now:
        raise ConfigError("--now belongs to level release", code="bad-hold")
    end = _end(for_, until_released=until_released)
    control = _control(ctx)
    done = control.order_level(int(order), for_=end, reason=reason)
    _mark_ordered()
    if not as_json:
        render_results.show_level(done, console(), prefix=_prefix(ctx), now=_now())
    _finish(ctx, control, done, waits, as_json=as_json)


@app.command()
def events(
    ctx: typer.Context,
    *,
    since: Annotated[
        str | None, typer.Option("--since", metavar="ID", help="Only those after this event.")
    ] = None,
    flag: Annotated[
        str | None, typer.Option("--flag", metavar="FLAG", help="Only those of this flag.")
    ] = None,
    limit: Annotated[
        int, typer.Option("--limit", min=1, max=100_000, help="At most so many, the newest.")
    ] = 100,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on with new ones until interrupted.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Show the log of everything, oldest first; with --json one JSON object a line."""
    control = _control(ctx)
    last = since
    if flag not in (None, "*"):
        _check_known(control, flag, follow=follow)
    for event in control.events(since, flag, limit=limit):
        _print_event(event, as_json=as_json)
        last = event.id
    if follow:
        try:
            _follow(control, last, flag, as_json=as_json)
        except KeyboardInterrupt:  # the way to end it
            return


def _check_known(control: Control, flag: str | None, *, follow: bool) -> None:
    """Refuse a flag that is neither declared, nor held, nor in the log; to follow it, only warn."""
    if control.events(None, flag, limit=1):
        return
    try:
        control.status(flag)
    except UnknownFlagError as error:
        if not follow:
            raise
        print(f"degrade: {clean(str(error))}; trying on", file=sys.stderr, flush=True)


def _follow(control: Control, last: str | None, flag: str | None, *, as_json: bool) -> None:
    pause, away = threading.Event(), False
    last = last or "0"
    while getattr(sys.stdout, "failure", None) is None:
        try:
            found = control.events(last, flag)
            away = False
        except StoreError as error:
            found = []
            if not away:
                print(f"degrade: {clean(str(error))}; trying on", file=sys.stderr, flush=True)
            away = True
        for event in found:
            _print_event(event, as_json=as_json)
            last = event.id
        if not found:
            pause.wait(_FOLLOW_S)


def _print_event(event: Event, *, as_json: bool) -> None:
    if as_json:
        print(json_text(event, indent=None))
    else:
        say(console(), render_status.event_line(event, _now()), hang=14)
    sys.stdout.flush()


def _mark_ordered() -> None:
    """Let a failing output, or an interrupt, say that the order was carried out all the same."""
    if isinstance(sys.stdout, Output):
        sys.stdout.ordered = True


def _waits(
    wait: str | None, timeout: str | None, *, local: bool = False
) -> tuple[float, float] | None:
    """Return for which share to wait and how long; checked before anything is ordered."""
    if wait is None:
        if timeout is not None:
            raise ConfigError("--timeout belongs to --wait, such as --wait 99%", code="bad-hold")
        return None
    return checked_wait(_share(wait), WAIT_S if timeout is None else timeout, local=local)


def _finish(
    ctx: typer.Context,
    control: Control,
    done: Held | Released | LevelOrdered | LevelReleased,
    waits: tuple[float, float] | None,
    *,
    as_json: bool,
    local: Sequence[str] = (),
) -> None:
    """Wait if that was asked for, and end with its own code when fewer follow than asked."""
    arrived: Propagation | None = None
    if waits is not None and done.epoch is not None:
        share, timeout_s = waits
        arrived = control.wait_applied(done.epoch, share=share, timeout=timeout_s)
    if as_json:
        print(json_text(replace(done, arrived=arrived)))
    elif arrived is not None:
        render_results.show_arrived(arrived, console(), prefix=_prefix(ctx), local=local)
    if arrived is not None and not arrived.enough:
        raise typer.Exit(Exit.NOT_ARRIVED)


def _control(ctx: typer.Context, *, local: bool = False) -> Control:
    session: Session = ctx.obj
    return session.control(local=local)


def _prefix(ctx: typer.Context) -> tuple[str, ...]:
    session: Session = ctx.obj
    return ("degrade", *session.given)


def _end(for_: str | None, *, until_released: bool) -> str | None:
    """Return the duration, None for until released; one of the two has to be said."""
    if (for_ is None) != until_released:
        raise ConfigError(
            "say when it ends: either --for DURATION, such as --for 30m, or --until-released",
            code="bad-hold",
        )
    return for_


def _share(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text


def _now() -> float:
    return SystemClock.wall()
