"""A small shop of Celery whose tasks are guarded, for a prefork worker with Redis."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from celery import Celery, Task, shared_task
from celery.exceptions import Ignore, Reject

import degrade
from degrade import SLA, default, degradable, simplified, snapshot
from degrade.runtime import current
from tests.integration.stacks.common import figures, find_stories, with_shop
from tests.servers.waiting import until

QUICK = SLA(errors="5%")

app = Celery("shop", broker=os.environ["BROKER"], backend=os.environ["BROKER"])
app.conf.update(
    broker_connection_retry_on_startup=True,
    task_acks_late=True,
    worker_prefetch_multiplier=1,
    result_expires=600,
)
parents_instance = current().instance


@app.task
def describe() -> dict[str, Any]:
    """Tell which process this is, and how the calls in it have ended."""
    return {
        "pid": os.getpid(),
        "instance": current().instance,
        "parent": parents_instance,
        "figures": figures(),
    }


@app.task
def together(meeting: str, size: int, task: str, *args: Any) -> Any:
    """Do a task once that many processes do this one, so that each of them does it."""
    Path(meeting, str(os.getpid())).touch()
    until(lambda: len(list(Path(meeting).iterdir())) == size, what="the other processes")
    return app.tasks[task](*args)


# ------------------------------------------------------------------ tasks of every form


@app.task
@degradable("plain", fallback=default("fallback"))
def plain(number: int, down: bool = False) -> str:
    find_stories(down)
    return f"done {number}"


@app.task(bind=True)
@degradable("bound", fallback=default("fallback"))
def bound(self: Task[Any, Any], down: bool = False) -> str:
    find_stories(down)
    return f"done by {self.name.rpartition('.')[2]}"


@app.task
@degradable("decorated", fallback=default("fallback"))
@with_shop
def decorated(shop: str, down: bool = False, session: str = "none") -> str:
    find_stories(down)
    return f"{shop} {session}"


@shared_task
@degradable("shared", fallback=default("fallback"))
def shared(down: bool = False) -> str:
    find_stories(down)
    return "done"


class Method(Task[Any, Any]):
    name = "method"

    @degradable("method", fallback=default("fallback"))
    def run(self, down: bool = False) -> str:
        find_stories(down)
        return f"done by {self.name}"


method = app.register_task(Method())


@app.task
@degradable("reported", fallback=default("fallback"))
def reported() -> str:
    return "done"


@app.task
@degradable("judged", sla=QUICK, fallback=default("fallback"))
def judged(down: bool = False) -> str:
    find_stories(down)
    return "done"


@app.task
@degradable("operated", fallback=default("fallback"))
def operated() -> str:
    return "done"


# ------------------------------------------------------------------ exceptions


@app.task(bind=True, max_retries=5)
@degradable("retried", fallback=default("fallback"))
def retried(self: Task[Any, Any]) -> str:
    if self.request.retries < 2:
        raise self.retry(countdown=0)
    return f"done after {self.request.retries} retries"


@app.task(bind=True, max_retries=5)
@degradable("retried-for-error", fallback=default("fallback"))
def retried_for_error(self: Task[Any, Any]) -> str:
    try:
        find_stories(down=self.request.retries < 2)
    except ConnectionError as error:
        raise self.retry(exc=error, countdown=0) from error
    return f"done after {self.request.retries} retries"


@app.task(bind=True, autoretry_for=(ConnectionError,), retry_backoff=False, default_retry_delay=0)
@degradable("retried-by-itself")
def retried_by_itself(self: Task[Any, Any]) -> str:
    find_stories(down=self.request.retries < 2)
    return f"done after {self.request.retries} retries"


@app.task(bind=True, max_retries=1)
@degradable("exhausted", fallback=default("fallback"))
def exhausted(self: Task[Any, Any]) -> str:
    raise self.retry(countdown=0)


@app.task
@degradable("ignored", fallback=default("fallback"))
def ignored() -> str:
    raise Ignore


@app.task
@degradable("rejected", fallback=default("fallback"))
def rejected() -> str:
    raise Reject("not now", requeue=False)


@app.task(bind=True)
@degradable("replaced", fallback=default("fallback"))
def replaced(self: Task[Any, Any]) -> str:
    raise self.replace(instead.s())


@app.task
def instead() -> str:
    return "done instead"


@app.task
def unguarded_ignored() -> str:
    raise Ignore


@app.task
def unguarded_rejected() -> str:
    raise Reject("not now", requeue=False)


@app.task(soft_time_limit=1)
@degradable("limited", fallback=default("fallback"))
def limited() -> str:
    time.sleep(30)
    return "done"


def refuse(*args: Any) -> str:
    raise Ignore


@app.task
@degradable("rung", fallback=[simplified(refuse), default("fallback")])
def rung() -> str:
    raise ConnectionError


# ------------------------------------------------------------------ whose answer it is


class Mailbox:
    def __init__(self, user: str) -> None:
        self.user = user

    @degradable("inbox", fallback=[snapshot(max_age="1h", key=("page",)), default([])])
    def read(self, page: int, down: bool) -> list[str]:
        find_stories(down)
        return [f"mail of {self.user}"]


@app.task
def inbox(user: str, down: bool = False) -> list[str]:
    with degrade.request(subject=user):
        return Mailbox(user).read(1, down)
