"""A small command of typer, whose annotations are text, with guarded subcommands."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from degrade import SLA, default, degradable, simplified
from tests.integration.stacks.common import find_stories

QUICK = SLA(errors="5%")
app = typer.Typer()

Count = Annotated[int, typer.Option(min=1, max=5, help="How many.")]


def told(function: Callable[..., Any]) -> Callable[..., Any]:
    """Print what a command returned."""

    @functools.wraps(function)
    def inner(*args: Any, **kwargs: Any) -> None:
        typer.echo(function(*args, **kwargs))

    return inner


@app.command()
@told
@degradable("typed", sla=QUICK, fallback=default("nothing"))
def typed(name: str, file: Path = Path("none"), count: Count = 1, *, down: bool = False) -> str:
    """Show what came in."""
    find_stories(down)
    return f"{name} {type(file).__name__} {count + 1}"


@app.command()
@degradable("outermost", sla=QUICK, fallback=default(None))
def outermost(context: typer.Context, count: Count = 1) -> None:
    """Be guarded by the outermost decorator."""
    typer.echo(f"{context.info_name} {count + 1}")


RAISED: dict[str, Callable[[], BaseException]] = {
    "exit": lambda: typer.Exit(3),
    "abort": typer.Abort,
    "interrupt": KeyboardInterrupt,
}


@app.command()
@told
@degradable("raised", sla=QUICK, fallback=default("nothing"))
def raised(name: str) -> str:
    error = RAISED[name]()
    raise error


def denied() -> str:
    raise typer.Exit(6)


@app.command()
@told
@degradable("rung", sla=QUICK, fallback=[simplified(denied), default("nothing")])
def rung() -> str:
    raise ConnectionError


if __name__ == "__main__":
    app()
