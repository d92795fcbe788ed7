"""A small command of click whose subcommands are guarded."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import click

from degrade import SLA, default, degradable, simplified
from tests.integration.stacks.common import find_stories

QUICK = SLA(errors="5%")


@click.group()
@click.pass_context
def cli(context: click.Context) -> None:
    context.obj = "the shop"


def told(function: Callable[..., Any]) -> Callable[..., Any]:
    """Print what a command returned."""

    @functools.wraps(function)
    def inner(*args: Any, **kwargs: Any) -> None:
        click.echo(function(*args, **kwargs))

    return inner


@cli.command()
@click.argument("name")
@click.option("--count", default=1, type=click.IntRange(1, 5))
@click.option("--down", is_flag=True)
@told
@degradable("above", sla=QUICK, fallback=default("nothing"))
@click.pass_context
@click.pass_obj
def above(shop: str, context: click.Context, name: str, count: int, down: bool) -> str:
    """Have the options above the guard."""
    find_stories(down)
    return f"{shop}: {context.info_name} {name} {count + 1}"


@cli.command()
@told
@degradable("below", sla=QUICK, fallback=default("nothing"))
@click.argument("name")
@click.option("--count", default=1, type=click.IntRange(1, 5))
@click.option("--down", is_flag=True)
@click.pass_obj
def below(shop: str, name: str, count: int, down: bool) -> str:
    """Have the options below the guard."""
    find_stories(down)
    return f"{shop}: {name} {count + 1}"


RAISED: dict[str, Callable[[], BaseException]] = {
    "exit": lambda: click.exceptions.Exit(3),
    "abort": click.Abort,
    "usage": lambda: click.UsageError("not so"),
    "click": lambda: click.ClickException("the part is away"),
    "system-exit": lambda: SystemExit(4),
}


@cli.command()
@click.argument("name")
@told
@degradable("raised", sla=QUICK, fallback=default("nothing"))
def raised(name: str) -> str:
    error = RAISED[name]()
    raise error


@cli.command()
@told
@degradable("context", sla=QUICK, fallback=default("nothing"))
@click.pass_context
def context(context: click.Context) -> str:
    """End by the context: `exit` and `fail` raise."""
    context.exit(5)


def denied() -> str:
    raise click.UsageError("not for you")


@cli.command()
@told
@degradable("rung", sla=QUICK, fallback=[simplified(denied), default("nothing")])
def rung() -> str:
    raise ConnectionError


if __name__ == "__main__":
    cli()
