"""Guarded tasks of Celery in the processes of a prefork worker, with Redis as the broker."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from celery import Celery
from celery.result import AsyncResult

from degrade.settings import open_store
from tests.integration.stacks.processes import environment_of, operating
from tests.servers.process import ServerProcess
from tests.servers.redis_server import RedisServer
from tests.servers.waiting import until

pytestmark = [pytest.mark.real, pytest.mark.slow]

SHOP = "tests.integration.stacks.celery_shop"
CHILDREN = 2


@dataclass(frozen=True)
class Worker:
    """A running worker, as the applications that give it tasks see it."""

    client: Celery
    store: str
    process: ServerProcess = field(repr=False)

    def logs(self) -> dict[str, str]:
        return {"the worker": self.process.tail()}

    def send(self, task: str, *args: object) -> AsyncResult[Any]:
        name = task if task == "method" else f"{SHOP}.{task}"
        return self.client.send_task(name, args)

    def do(self, task: str, *args: object) -> Any:
        """Return the result of a task."""
        return self.send(task, *args).get(timeout=20, interval=0.01)

    def do_everywhere(self, task: str, *args: object) -> list[Any]:
        """Return the result of a task in each process of the worker."""
        with tempfile.TemporaryDirectory() as meeting:
            together = (meeting, CHILDREN, f"{SHOP}.{task}", *args)
            sent = [self.send("together", *together) for _ in range(CHILDREN)]
            return [result.get(timeout=20, interval=0.01) for result in sent]

    def figures(self, flag: str) -> dict[str, int]:
        """Return how the calls of a flag have ended so far, in all processes."""
        total: Counter[str] = Counter()
        for child in self.do_everywhere("describe"):
            total.update(child["figures"].get(flag, {}))
        return dict(total)

    def await_figures(self, flag: str, **expected: int) -> None:
        until(
            lambda: self.figures(flag) == expected,
            what=f"{flag} with {expected}, not {self.figures(flag)}",
        )


@pytest.fixture(scope="module")
def worker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Worker]:
    home = tmp_path_factory.mktemp("celery")
    with RedisServer() as redis:
        process = ServerProcess(
            [
                sys.executable, "-m", "celery", "--app", SHOP, "worker", "--pool", "prefork",
                "--concurrency", str(CHILDREN), "--loglevel", "INFO", "--without-gossip",
                "--without-mingle",
            ],
            log=home / "worker.log",
            env=environment_of(home, BROKER=redis.url, DEGRADE_STORE=redis.url),
        )  # fmt: skip
        client = Celery("client", broker=redis.url, backend=redis.url)
        try:
            yield Worker(client, redis.url, process)
            assert process.running, process.tail()
        finally:
            client.close()
            process.stop()


def test_a_task_of_any_form_does_as_unguarded_and_answers_from_its_ladder_when_it_fails(
    worker: Worker,
):
    whole = {
        ("plain", 7): "done 7",
        ("bound",): "done by bound",
        ("decorated",): "the shop of the decorator",
        ("shared",): "done",
        ("method",): "done by method",
    }
    assert {call: worker.do(*call) for call in whole} == whole
    assert {call: worker.do(*call, True) for call in whole} == dict.fromkeys(whole, "fallback")
    for flag, *_ in whole:
        worker.await_figures(flag, success=1, failure=1)


def test_each_process_has_an_identity_of_its_own_and_reports_to_the_store(worker: Worker):
    children = worker.do_everywhere("describe")
    instances = {child["instance"] for child in children}
    assert len(instances) == CHILDREN
    assert instances.isdisjoint(child["parent"] for child in children)
    worker.do_everywhere("reported")
    with contextlib.closing(open_store(worker.store)) as store:
        until(
            lambda: instances <= {each.id for each in store.instances()},
            what="a heartbeat of each process",
        )


def test_each_process_degrades_a_task_that_keeps_failing(worker: Worker):
    fallbacks = ["fallback"] * CHILDREN

    def is_degraded() -> bool:
        assert all(worker.do_everywhere("judged", True) == fallbacks for _ in range(3))
        return worker.do_everywhere("judged") == fallbacks

    until(is_degraded, what="a degraded task in each process")


def test_a_retry_is_no_failure_and_the_task_runs_again(worker: Worker):
    for task in ("retried", "retried_for_error", "retried_by_itself"):
        assert (task, worker.do(task)) == (task, "done after 2 retries")
    worker.await_figures("retried", ignored=2, success=1)
    worker.await_figures("retried-for-error", ignored=2, success=1)
    worker.await_figures("retried-by-itself", failure=2, success=1)


def test_the_end_of_all_retries_is_a_failure_that_the_ladder_answers(worker: Worker):
    assert worker.do("exhausted") == "fallback"
    worker.await_figures("exhausted", ignored=1, failure=1)


def test_what_a_task_says_to_the_queue_is_no_failure(worker: Worker):
    sent = ("ignored", "unguarded_ignored", "rejected", "unguarded_rejected", "rung")
    results = {task: worker.send(task) for task in sent}
    assert worker.do("replaced") == "done instead"
    worker.await_figures("ignored", ignored=1)
    worker.await_figures("rejected", ignored=1)
    worker.await_figures("rung", failure=1)
    worker.await_figures("replaced", ignored=1)
    for task in ("ignored", "rejected"):
        until(
            lambda task=task: results[task].state == results[f"unguarded_{task}"].state,
            what=f"the same state for {task}, guarded and not",
        )
    assert results["rung"].state == results["ignored"].state


def test_a_soft_time_limit_is_a_timeout_that_the_ladder_answers(worker: Worker):
    assert worker.do("limited") == "fallback"
    worker.await_figures("limited", timeout=1)


def test_users_of_tasks_get_their_own_snapshots_only(worker: Worker):
    assert worker.do("inbox", "ana") == ["mail of ana"]
    until(lambda: worker.do("inbox", "ana", True) == ["mail of ana"], what="a snapshot")
    assert worker.do("inbox", "ben", True) == []


def test_an_order_of_the_operator_reaches_each_process_and_ends(worker: Worker):
    assert worker.do_everywhere("operated") == ["done"] * CHILDREN
    with operating(worker.store, "operated") as control:
        control.hold("operated", "degraded", for_="1h", reason="test", wait="100%")
        assert worker.do_everywhere("operated") == ["fallback"] * CHILDREN
        control.release("operated", reason="test", now=True, wait="100%")
        assert worker.do_everywhere("operated") == ["done"] * CHILDREN


def test_a_process_that_replaces_a_killed_one_runs_guarded_tasks(worker: Worker):
    before = {child["pid"] for child in worker.do_everywhere("describe")}
    killed = min(before)
    os.kill(killed, signal.SIGKILL)
    until(lambda: "SIGKILL" in worker.process.logged(), what="the worker to notice")
    after = {child["pid"] for child in worker.do_everywhere("describe")}
    assert (len(after), killed in after) == (CHILDREN, False)
    assert worker.do_everywhere("reported") == ["done"] * CHILDREN
