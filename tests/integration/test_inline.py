"""Where no thread can be started, the calls do the work themselves."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.integration.children import run

pytestmark = [pytest.mark.real]

NO_THREADS = """
import resource

def allow_no_thread():
    "Leave no room in the address space for the stack of one more thread."
    threading.stack_size(1 << 30)
    with open("/proc/self/statm") as statm:
        used = int(statm.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + (256 << 20), resource.RLIM_INFINITY))
    try:
        threading.Thread(target=print).start()
    except RuntimeError:
        return
    raise SystemExit("a thread could be started")
"""

FEED = """
sick = False

@degradable("feed", sla=SLA(errors="5%"), fallback=[snapshot(max_age="1h"), default(["stale"])],
            recovery=Recovery(cooldown="300ms", steps=(0.2, 1), step_time="200ms", step_calls=3))
def feed() -> list[str]:
    if sick:
        raise OSError("down")
    return ["fresh"]

def life():
    global sick
    assert feed() == ["fresh"]
    Control(current().store, actor="ana").hold("feed", "degraded", for_=None, reason="drill")
    until(lambda: len(current().tier) == 1 or feed() is None)
    assert feed() == ["fresh"]
    Control(current().store, actor="ana").release("feed", reason="over", now=True)
    sick = True
    until(lambda: feed() and figures().phase == "degraded")
    runs = sum(figures().primary.values())
    feed()
    assert sum(figures().primary.values()) == runs
    sick = False
    until(lambda: feed() and figures().phase == "steady")
    until(lambda: feed() and current().store.instances())
    tell(threads=[t.name for t in threading.enumerate()], troubles=dict(current().internal_errors.counts))
"""


def test_without_threads_everything_works_all_the_same(tmp_path: Path):
    done = run(NO_THREADS + FEED + "\nallow_no_thread()\nlife()\n", tmp_path)
    assert done.code == 0, done.stderr
    assert done.stderr == ""
    assert done.all == {"threads": ["MainThread"], "troubles": {"no_thread": 1}}


@pytest.mark.parametrize("store", ["memory://", "sqlite:///state.db"])
def test_inline_by_setting_starts_no_thread(tmp_path: Path, store: str):
    done = run(FEED + "\nlife()\n", tmp_path, DEGRADE_THREADS="inline", DEGRADE_STORE=store)
    assert done.code == 0, done.stderr
    assert done.stderr == ""
    assert done.all == {"threads": ["MainThread"], "troubles": {}}


def test_a_child_of_a_process_without_threads_works_inline(tmp_path: Path):
    done = run(
        NO_THREADS
        + FEED
        + """
allow_no_thread()
feed()
pid = os.fork()
if pid == 0:
    life()
    os._exit(0)
tell(code=os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
""",
        tmp_path,
    )
    assert done.code == 0, done.stderr
    assert done.all == {"threads": ["MainThread"], "troubles": {"no_thread": 1}, "code": 0}
