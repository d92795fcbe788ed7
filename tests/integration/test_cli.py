"""The command line as operators and scripts meet it."""

from __future__ import annotations

import fcntl
import json
import os
import re
import shlex
import signal
import sqlite3
import struct
import subprocess
import sys
import termios
import time
from dataclasses import replace
from pathlib import Path

import pytest
from rich.cells import cell_len

from degrade.cli.exit_codes import MEANINGS, Exit
from degrade.core.enums import HoldMode, Mode, Phase
from degrade.core.records import FlagInfo, FlagReport, Hold, InstanceReport
from degrade.ports import Change
from degrade.stores.sqlite import SQLiteStore
from degrade.testing.store_records import draft
from tests.command_line import MAIN, call

pytestmark = [pytest.mark.real]

DOCS = Path(__file__).parents[2] / "docs" / "reference" / "cli.md"
MANY = """
import json, os, sys
from degrade.cli import main
import degrade.cli.dispatch, degrade.stores.sqlite
codes = []
for words in json.loads(sys.argv[1]):
    if not (child := os.fork()):
        sys.argv = ["degrade", *words]
        main()
    codes.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
with open(sys.argv[2], "w") as file:
    json.dump(codes, file)
"""
"""Runs commands one after the other, each in a process of its own that is there already."""
PATIENCE_S = 30.0


@pytest.fixture
def path(tmp_path):
    return tmp_path / "store.db"


@pytest.fixture
def store(path):
    store = SQLiteStore(path)
    store.declare(
        [
            FlagInfo(name="feed.ranking", level=2, owner="feed team", sla="p99 250ms over 30s"),
            FlagInfo(name="feed.analytics", level=3),
        ]
    )
    yield store
    store.close()


@pytest.fixture
def env(tmp_path, path):
    kept = {name: value for name, value in os.environ.items() if not name.startswith("DEGRADE_")}
    kept.pop("COLUMNS", None)
    return kept | {
        "DEGRADE_STORE": f"sqlite:///{path}",
        "DEGRADE_LOCAL": str(tmp_path / "local"),
        "LOGNAME": "ana",
        "PYTHONWARNINGS": "error",
    }


@pytest.fixture
def degrade(env, tmp_path):
    def run(*words: str, code: int = 0, **changes: str) -> subprocess.CompletedProcess[str]:
        done = call(words, env | changes, tmp_path)
        assert done.returncode == code, (done.returncode, done.stdout, done.stderr)
        assert "Traceback" not in done.stderr
        return done

    return run


LOOKS_AND_ORDERS = [
    ("status",),
    ("status", "--json"),
    ("why", "feed.ranking"),
    ("events",),
    ("events", "--json"),
    ("hold", "feed.ranking", "off", "--for", "30m", "-r", "shows sold-out items"),
    ("extend", "feed.ranking", "--for", "40m", "--json"),
    ("level", "3", "--for", "30m", "-r", "load"),
    ("level", "release", "-r", "load"),
    ("release", "feed.ranking", "-r", "fixed"),
]
ORDERS = ("hold", "extend", "level", "release")


def report(name: str, mode: str = "normal", **more: object) -> InstanceReport:
    flag = FlagReport(
        phase=Phase.STEADY if mode == "normal" else Phase.DEGRADED,
        mode=Mode(mode),
        dial=0.0 if mode == "normal" else 1.0,
        since=time.time() - 125,
        reason="steady" if mode == "normal" else "breach: errors 31 %, allowed 5 %",
        verdict=("errors: 31 of 100 bad, allowed 5 %",),
        rungs=("snapshot", "default"),
        calls={"full": 10, "degraded": 3},
        oldest_age_s=42.0,
    )
    return InstanceReport(
        id=name,
        host=f"web-{name}",
        pid=7,
        version="1",
        started=0,
        at=0,
        epoch=0,
        flags={"feed.ranking": flag},
    )


def test_an_operator_takes_a_flag_off_and_brings_it_back(degrade, store):
    out = degrade("hold", "feed.ranking", "off", "--for", "30m", "--reason", "bad model").stdout
    assert "feed.ranking is held off" in out
    held = store.read().holds["feed.ranking"]
    assert (held.mode, held.reason) == ("off", "bad model")
    assert held.until is not None
    assert held.until - held.at == pytest.approx(1800, abs=1)

    out = degrade("status").stdout
    assert re.search(r"feed\.ranking is off since \d\d:\d\d:\d\d .* by .*: bad model", out)
    assert "degrade extend feed.ranking --for 30m" in out

    degrade("extend", "feed.ranking", "--for", "2h")
    assert degrade("release", "feed.ranking", "--reason", "fixed").stdout.count("released") == 1
    assert store.read().holds == {}
    assert [event.type for event in store.events()] == ["hold", "extended", "released"]
    assert "All is well" in degrade("status").stdout


@pytest.mark.parametrize(
    ("mode", "back"),
    [
        ("off", "traffic comes back step by step"),
        ("degraded", "traffic comes back step by step"),
        ("normal", "the automation decides again"),
        ("observe", "the automation decides again"),
    ],
)
def test_a_release_says_what_comes_after_it(degrade, store, mode, back):
    degrade("hold", "feed.ranking", mode, "--for", "30m", "--reason", "test")
    assert back in degrade("release", "feed.ranking", "--reason", "test").stdout


def test_a_store_that_nobody_uses_is_said_to_be_one(env, store, tmp_path):
    for options, says in (
        (("--store", "sqlite:///typo.db"), f"{tmp_path}/typo.db cannot be used: there is no such"),
        (("--namespace", "typo"), "no namespace 'typo', only 'default'"),
    ):
        commands = [(*options, *words) for words in LOOKS_AND_ORDERS]
        codes, _, err = many(env, tmp_path, commands)
        assert codes == [Exit.STORE] * len(commands)
        assert err.decode().count(says) == err.decode().count("--create") == len(commands)
    assert not (tmp_path / "typo.db").exists()


def test_a_store_can_be_made_by_an_order_before_the_service_starts(degrade, tmp_path):
    new = ("--store", "sqlite:///new.db")
    words = ("hold", "feed", "off", "--for", "1h", "-r", "x", "--force")
    assert "epoch 1" in degrade(*new, "--create", *words).stdout
    assert "feed is off" in degrade(*new, "status").stdout
    assert "no-such" in degrade("--create", *new, "--namespace", "no-such", "status").stdout
    assert (
        "it uses another store or namespace"
        in degrade(*new, "--namespace", "no-such", "status").stdout
    )


def test_the_advice_of_status_can_be_run_as_it_is_printed(degrade, store):
    degrade("--actor", "bob", "hold", "*", "degraded", "--until-released", "-r", "storm")
    degrade("level", "3", "--for", "10m", "--reason", "load")
    for _ in range(2):
        out = degrade("--actor", "it's me", "status").stdout
        ends = [line.split(":", 1)[1] for line in out.splitlines() if "end it:" in line]
        words = shlex.split(ends[0])
        assert words[:3] == ["degrade", "--actor", "it's me"]
        degrade(*words[1:])
    state = store.read()
    assert (state.holds, state.level) == ({}, None)
    assert store.events()[-1].actor == "it's me"


def test_status_says_what_the_automation_did_and_on_how_many_instances(degrade, store):
    store.report(report("a", "degraded"))
    store.report(report("b"))
    out = degrade("status").stdout
    assert "1 of 2 degraded" in out
    assert re.search(r"2m\d+s ago", out)
    assert "by automation: breach: errors 31 %, allowed 5 %" in out
    assert "degrade why feed.ranking" in out
    assert "comes back by itself" in out


def test_why_shows_orders_evidence_ladder_and_events(degrade, store):
    store.report(report("a", "degraded"))
    degrade("level", "2", "--for", "10m", "--reason", "load", "--actor", "x", code=2)
    degrade("level", "2", "--for", "10m", "--reason", "load")
    degrade("hold", "feed.ranking", "degraded", "--for", "10m", "-r", "half", "--dial", "50%")
    out = degrade("why", "feed.ranking").stdout
    for words in (
        "hold on this flag: degraded by",
        "level 2 by",
        "web-a pid 7",
        "p99 250ms over 30s",
        "errors: 31 of 100 bad",
        "ladder: snapshot, default",
        "calls: 10 full, 3 degraded",
        "42s",
        "half",
    ):
        assert words in out


def test_json_is_printed_by_every_command(degrade, store):
    hold = ("hold", "feed.ranking", "off", "--for", "5m", "-r", "x", "--json")
    assert json.loads(degrade(*hold).stdout)["hold"]["mode"] == "off"
    extended = json.loads(degrade("extend", "feed.ranking", "--for", "9m", "--json").stdout)
    assert (extended["epoch"], extended["replaced"]["mode"]) == (2, "off")
    status = json.loads(degrade("status", "--json").stdout)
    assert status["epoch"] == 2
    assert status["flags"][0]["name"] == "feed.ranking"
    assert status["advice"][0]["commands"][1]["words"][0] == "release"
    why = json.loads(degrade("why", "feed.ranking", "--json").stdout)
    assert [event["type"] for event in why["events"]] == ["hold", "extended"]
    ordered = json.loads(degrade("level", "3", "--for", "1m", "-r", "x", "--json").stdout)
    assert ordered["flags"] == ["feed.analytics"]
    released = json.loads(degrade("level", "release", "-r", "x", "--json").stdout)
    assert released["order"]["level"] == 3
    done = json.loads(degrade("release", "feed.ranking", "-r", "x", "--now", "--json").stdout)
    assert (list(done["holds"]), done["now"]) == (["feed.ranking"], True)
    lines = degrade("events", "--json").stdout.splitlines()
    assert [json.loads(line)["epoch"] for line in lines] == [1, 2, 3, 4, 5]


def test_events_are_chosen_by_id_flag_and_number(degrade, store):
    store.append([draft(str(number), flag=f"f{number % 2}") for number in range(6)])

    def causes(*words: str) -> list[str]:
        lines = degrade("events", "--json", *words).stdout.splitlines()
        return [json.loads(line)["cause"] for line in lines]

    assert causes("--since", "4") == ["4", "5"]
    assert causes("--flag", "f1") == ["1", "3", "5"]
    assert causes("--limit", "2") == ["4", "5"]
    assert "not an event id" in degrade("events", "--since", "x", code=2).stderr


def test_a_line_of_events_tells_which_phase_came_after_which(degrade, store):
    moved = {"from": "steady", "to": "degraded"}
    store.append([replace(draft("errors 40%"), evidence=moved)])
    store.append([replace(draft("errors 50%"), evidence=moved | {"late_s": 90.0})])
    first, second = degrade("events").stdout.splitlines()
    assert "steady to degraded  by automation: errors 40%" in first
    assert "steady to degraded, 1m30s earlier  by automation: errors 50%" in second


SHUT = {
    ">/dev/full": "No space left on device",
    ">&-": "it is closed",
    "1</dev/null": "Bad file descriptor",
}


@pytest.mark.parametrize("how", [*SHUT, ">&- 2>&-", ">/dev/full 2>/dev/full", "<&- >&- 2>&-"])
def test_an_output_that_cannot_be_written_stops_no_order_and_has_its_exit_code(
    env, store, tmp_path, how
):
    why = f"degrade: cannot write the output: {SHUT[how]}" if how in SHUT else ""
    store.report(report("a"))
    store.append([draft()])
    commands = [*LOOKS_AND_ORDERS, ("--help",), ("--version",)]
    fails = [
        ("why", "nothing"),
        ("hold", "feed.ranking", "off", "--for", "30m"),
        (*LOOKS_AND_ORDERS[5], "--wait", "99%", "--timeout", "100ms"),
    ]
    codes, out, err = many(env, tmp_path, [*commands, *fails], how)
    kinds = ["hold", "extended", "level", "level_released", "released", "hold"]
    assert [event.type for event in store.events()][1:] == kinds
    ends = [Exit.UNKNOWN_FLAG, Exit.USAGE, Exit.NOT_ARRIVED]
    assert codes == [Exit.UNWRITTEN] * len(commands) + ends
    assert out == b""
    stands = "; the order was carried out, see: degrade status"
    said = [f"{why}{stands if words[0] in ORDERS else ''}" for words in commands] if why else []
    lines = err.decode().splitlines()
    assert lines[: len(said)] == said
    assert ("no flag 'nothing'" in err.decode()) == bool(why)
    assert ("missing option '--reason'" in err.decode()) == bool(why)
    assert lines[-1:] == ([why + stands] if why else [])


def many(
    env: dict[str, str], cwd: Path, commands: list[tuple[str, ...]], how: str = ""
) -> tuple[list[int], bytes, bytes]:
    """Run commands with their streams as a shell sets them; return exit codes and output."""
    line = shlex.join([sys.executable, "-c", MANY, json.dumps(commands), "codes.json"])
    done = subprocess.run(
        ["/bin/sh", "-c", f"{line} {how}"], env=env, cwd=cwd, capture_output=True,
        timeout=PATIENCE_S, check=True,
    )  # fmt: skip
    return json.loads((cwd / "codes.json").read_text()), done.stdout, done.stderr


HARD_TO_SHOW = "Größe \U0001f525 数据库 \u202e"


@pytest.mark.parametrize(
    "terminal",
    [
        {"PYTHONIOENCODING": "ascii"},
        {"PYTHONIOENCODING": "latin-1"},
        {"PYTHONIOENCODING": "cp437"},
        {"PYTHONIOENCODING": "utf-8:strict"},
        {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
        {"LC_ALL": "POSIX"},
    ],
    ids=lambda terminal: " ".join(terminal.values()),
)
def test_every_command_works_in_a_terminal_that_cannot_show_everything(
    env, store, tmp_path, terminal
):
    store.declare([FlagInfo(name="feed.ranking", owner=HARD_TO_SHOW, message=HARD_TO_SHOW)])
    store.report(report("a").model_copy(update={"host": HARD_TO_SHOW}))
    hold = ("--actor", HARD_TO_SHOW, "hold", "feed.ranking", "off", "--for", "1h")
    fine = [
        ("--help",),
        (*hold, "-r", HARD_TO_SHOW),
        ("status",),
        ("why", "feed.ranking"),
        ("events",),
        ("release", "feed.ranking", "-r", HARD_TO_SHOW),
    ]
    codes, out, err = many(env | terminal, tmp_path, [*fine, ("why", HARD_TO_SHOW)])
    assert codes == [Exit.OK] * len(fine) + [Exit.UNKNOWN_FLAG]
    plain = "ascii" if terminal.get("PYTHONUTF8") == "0" else "utf-8"
    encoding = terminal.get("PYTHONIOENCODING", plain).partition(":")[0]
    shown = "Größe \U0001f525".encode(encoding, "backslashreplace").decode(encoding)
    for text in (out.decode(encoding), err.decode(encoding)):
        assert text.replace("\n", "").isprintable()
        assert shown in text
    looks = [("status", "--json"), ("why", "feed.ranking", "--json"), ("events", "--json")]
    codes, out, err = many(env | terminal, tmp_path, looks)
    assert (codes, err) == ([Exit.OK] * 3, b"")
    assert len([json.loads(text) for text in re.split(r"\n(?={)", out.decode("ascii"))]) == 4


def in_a_terminal(env: dict[str, str], cwd: Path, *words: str, columns: int = 80) -> str:
    """Return what a command writes to a terminal of its own."""
    main, own = os.openpty()
    fcntl.ioctl(own, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    process = subprocess.Popen(
        [sys.executable, "-c", MAIN, *words], env=env | {"TERM": "xterm"}, cwd=cwd,
        stdin=own, stdout=own, stderr=own,
    )  # fmt: skip
    os.close(own)
    shown = b""
    try:
        while chunk := os.read(main, 65536):
            shown += chunk
    except OSError:  # nothing has the terminal open any more
        pass
    finally:
        os.close(main)
        assert process.wait(PATIENCE_S) == 0, shown
    return re.sub(r"\x1b\[[\d;]*m", "", shown.decode()).replace("\r", "")


@pytest.mark.parametrize("columns", [60, 80, 100, 200])
def test_status_fits_a_terminal_and_breaks_no_word(env, store, tmp_path, columns):
    long = "search.suggestions.for.people.who.type.slowly.and.never.look.at.them"
    store.declare([FlagInfo(name=long, level=3), FlagInfo(name="checkout.recommendations")])
    for name, mode in ((long, "off"), ("checkout.recommendations", "degraded")):
        held = Hold(mode=HoldMode(mode), actor="ana", reason="shows sold-out items " * 8, at=0)
        change = Change(type="hold", actor="ana", reason="x", instance="i", holds={name: held})
        store.change(change)
    store.report(report("a"))
    shown = in_a_terminal(env, tmp_path, "status", columns=columns)
    whole = {"checkout.recommendations", "sold-out", long, "degraded", "normal", "off"}
    assert whole <= set(shown.split())
    for line in shown.splitlines():
        copied = any(word in line for word in ("end it:", "see the evidence:", "keep", "force"))
        assert cell_len(line) <= columns or copied or len(line.split()) <= 3, line
    assert ("why" in shown.splitlines()[2].split()) == (columns == 200)


def test_a_pipe_gets_one_line_for_each_flag(degrade, store):
    reason = "shows sold-out items " * 20
    degrade("hold", "feed.ranking", "off", "--for", "1h", "-r", reason)
    lines = [line.split() for line in degrade("status").stdout.splitlines()]
    assert [line[0] for line in lines if line][1:5:2] == ["flag", "feed.ranking"]
    (row,) = [line for line in lines if line[:1] == ["feed.ranking"] and "2" in line[:2]]
    assert row.count("sold-out") == 20


def test_nothing_that_is_written_obeys_a_hostile_name_in_a_terminal(env, store, tmp_path):
    store.append([draft(HOSTILE, flag=HOSTILE)])
    store.declare([FlagInfo(name=HOSTILE, owner=HOSTILE)])
    for words in (["status"], ["why", HOSTILE], ["events"]):
        shown = in_a_terminal(env, tmp_path, *words)
        assert shown.replace("\n", "").isprintable(), words


def test_records_of_a_newer_release_stop_no_command(degrade, env, tmp_path, store, path):
    store.change(
        Change(
            type="hold", actor="ana", reason="x", instance="i",
            holds={"feed.ranking": Hold(mode=HoldMode.OFF, actor="a", reason="x", at=0)},
        )
    )  # fmt: skip
    newer = sqlite3.connect(path, isolation_level=None)
    for table, columns in {"flags": "name", "instances": "id, at", "events": "seq"}.items():
        values = {"name": "'newer'", "id, at": "'newer', 1e12", "seq": "99"}[columns]
        newer.execute(
            f"INSERT INTO {table} (namespace, {columns}, body) "  # noqa: S608 - words of the test
            f"VALUES ('default', {values}, '{{\"v\": 2}}')"
        )
    newer.execute("UPDATE control SET state = json_set(state, '$.holds.\"feed.ranking\".v', 2)")
    newer.close()
    shown = degrade("status").stdout
    assert "feed.ranking is not understood" in shown
    assert "is no order. It changes nothing" in shown
    commands = [("why", "feed.ranking"), ("events",), *LOOKS_AND_ORDERS[5:]]
    assert set(many(env, tmp_path, commands)[0]) == {Exit.OK}
    kinds = ["hold", "hold", "extended", "level", "level_released", "released"]
    assert [event.type for event in store.events()] == kinds
    assert "not understood" not in degrade("status").stdout


def test_follow_goes_on_until_it_is_interrupted(env, store, tmp_path):
    store.append([draft("first")])
    follower = subprocess.Popen(
        [sys.executable, "-c", MAIN, "events", "--follow", "--json"],
        env=env,
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert follower.stdout is not None
        assert json.loads(follower.stdout.readline())["cause"] == "first"
        store.append([draft("second")])
        assert json.loads(follower.stdout.readline())["cause"] == "second"
        follower.send_signal(signal.SIGINT)
        _, err = follower.communicate(timeout=PATIENCE_S)
        assert (follower.returncode, err) == (0, "")
    finally:
        follower.kill()
        follower.communicate()


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["hold", "feed.rankin", "off", "--for", "1m", "-r", "x"], 5, "did you mean 'feed.ranking'"),
        (["why", "feed.rankin"], 5, "did you mean 'feed.ranking'"),
        (["status", "nope"], 5, "declared are: feed.analytics, feed.ranking"),
        (["hold", "feed.ranking", "of", "--for", "1m", "-r", "x"], 2, "did you mean 'off'"),
        (["hold", "feed.ranking", "off", "-r", "x"], 2, "--until-released"),
        (["hold", "feed.ranking", "off", "--for", "1m", "--until-released", "-r", "x"], 2, "either"),
        (["hold", "feed.ranking", "off", "--for", "1m"], 2, "--reason"),
        (["hold", "feed.ranking", "off", "--for", "1m", "-r", " "], 2, "reason is required"),
        (["hold", "feed.ranking", "off", "--for", "soon", "-r", "x"], 2, "'soon' is not a duration"),
        (["hold", "feed.ranking", "off", "--for", "30", "-r", "x"], 2, "write 30s for seconds, or 30m"),
        (["hold", "feed.ranking", "off", "--for", "0s", "-r", "x"], 2, "it is --until-released"),
        (["release", "feed.rankin", "-r", "x", "--local"], 5, "did you mean 'feed.ranking'"),
        (["events", "--flag", "feed.rankin"], 5, "did you mean 'feed.ranking'"),
        (["--actor", "", "status"], 2, "actor='': say who acts, in 1 to 200 characters"),
        (["--actor", "x" * 300, "status"], 2, "(300 characters): say who acts, in 1 to 200"),
        (["--actor", "ana\x1b[2J", "status"], 2, r"actor='ana\x1b[2J': say who acts"),
        (["hold", "feed.ranking", "degraded", "--for", "1m", "-r", "x", "--dial", "25"], 2, "ratio"),
        (["hold", "a b", "off", "--for", "1m", "-r", "x", "--force"], 2, "cannot be the name"),
        (["extend", "feed.ranking", "--for", "1m"], 2, "no hold"),
        (["level", "4", "--for", "1m", "-r", "x"], 2, "order 3"),
        (["level", "release", "--for", "1m", "-r", "x"], 2, "no duration"),
        (["level", "3", "--for", "1m", "-r", "x", "--now"], 2, "level release"),
        (["--namespace", "a/b", "status"], 2, "namespace"),
        (["--store", "redis://u:s3cret@h/0?db=s3cret", "status"], 2, "redis://u:***@h"),
        (["frobnicate"], 2, "frobnicate"),
    ],
)  # fmt: skip
def test_a_mistake_is_refused_with_its_exit_code_and_nothing_is_written(
    degrade, store, words, code, says
):
    done = degrade(*words, code=code, TERMINAL_WIDTH="300", COLUMNS="300")
    assert says in done.stderr
    assert "s3cret" not in done.stderr
    assert store.events() == []


@pytest.mark.parametrize(
    ("words", "code", "exit_", "says"),
    [
        (["why", "nope"], "unknown-flag", 5, "no flag 'nope'"),
        (["hold", "a", "off", "--for", "1m"], "bad-command", 2, "missing option '--reason'"),
        (["events", "--limit", "0"], "bad-command", 2, "'--limit'"),
        (["events", "--limit", "many"], "bad-command", 2, "'--limit'"),
        (["why"], "bad-command", 2, "missing argument 'FLAG'"),
        (["status", "--jsn"], "bad-command", 2, "no such option: --jsn"),
        (["statu"], "bad-command", 2, "no such command 'statu'"),
        ([], "bad-command", 2, "no such option: --json"),
    ],
)
def test_an_error_is_one_line_and_json_too_when_asked_for(degrade, store, words, code, exit_, says):
    done = degrade(*words, "--json", code=exit_)
    error = json.loads(done.stdout)["error"]
    assert (error["code"], error["exit"]) == (code, exit_)
    assert says in error["message"]
    assert done.stderr == f"degrade: {error['message']}\n"
    if words:
        plain = degrade(*words, code=exit_)
        assert (plain.stdout, plain.stderr) == ("", done.stderr)


def test_a_mistake_names_the_help_that_explains_it(degrade):
    done = degrade("--actor", "ana", "hold", "a", "off", "--for", "1m", code=2)
    assert done.stderr.endswith("See: degrade hold --help\n")
    assert degrade("hold", "--help").stdout.startswith("Usage: degrade hold")


def test_without_any_word_the_help_is_shown(degrade):
    done = degrade(code=2)
    assert (done.stdout, done.stderr.split("\n")[0]) == (
        "", "Usage: degrade [OPTIONS] COMMAND [ARGS]..."
    )  # fmt: skip


def test_an_interrupted_wait_has_its_own_code_and_the_order_stands(env, store, tmp_path):
    store.report(report("a"))
    words = ["hold", "feed.ranking", "off", "--for", "5m", "-r", "x", "--wait", "99%"]
    waiting = subprocess.Popen(
        [sys.executable, "-c", MAIN, *words, "--timeout", "1h"],
        env=env,
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert waiting.stdout is not None
        assert "is held off" in waiting.stdout.readline()
        waiting.send_signal(signal.SIGINT)
        _, err = waiting.communicate(timeout=PATIENCE_S)
        says = "degrade: interrupted; the order stands, see: degrade status\n"
        assert (waiting.returncode, err) == (Exit.INTERRUPTED, says)
    finally:
        waiting.kill()
        waiting.communicate()
    assert set(store.read().holds) == {"feed.ranking"}


def test_a_wait_says_that_its_order_was_undone_by_another(env, degrade, store, tmp_path):
    store.report(report("a"))
    words = ["hold", "feed.ranking", "off", "--for", "5m", "-r", "x", "--wait", "99%"]
    waiting = subprocess.Popen(
        [sys.executable, "-c", MAIN, *words, "--timeout", "1h"],
        env=env,
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert waiting.stdout is not None
        assert "is held off" in waiting.stdout.readline()
        degrade("--actor", "bob", "release", "feed.ranking", "-r", "too early")
        store.report(report("a").model_copy(update={"epoch": 2}))
        out, err = waiting.communicate(timeout=PATIENCE_S)
        assert (waiting.returncode, err) == (0, "")
        assert "1 of 1 instances have applied it" in out
        assert (
            "but it stands no longer, released by bob: too early\nlook again: degrade status" in out
        )
    finally:
        waiting.kill()
        waiting.communicate()


def test_an_order_without_a_sensible_end_stops_nobody_from_looking(degrade, store, path):
    done = degrade("hold", "feed.ranking", "off", "--for", "9999999999999999d", "-r", "x", code=2)
    assert "longer than ten years; use until released" in done.stderr
    hold = Hold(mode=HoldMode.OFF, actor="hand", reason="x", at=0, until=1e300)
    store.change(
        Change(type="hold", actor="hand", reason="x", instance="i", holds={"feed.ranking": hold})
    )
    ends = "far in the future (in more than a thousand years)"
    assert f"It ends {ends}" in degrade("status").stdout
    assert f"It ends {ends}" in degrade("why", "feed.ranking").stdout
    assert json.loads(degrade("status", "--json").stdout)["flags"][0]["hold"]["until"] == 1e300


def test_the_advice_for_a_local_hold_on_every_flag_ends_it(degrade, store):
    degrade("hold", "*", "off", "--for", "5m", "-r", "store dead", "--local")
    ends = [line for line in degrade("status").stdout.splitlines() if "end it:" in line]
    (words,) = {tuple(shlex.split(line.split(":", 1)[1])) for line in ends}
    assert "released from off" in degrade(*words[1:]).stdout
    assert "All is well" in degrade("status").stdout


def test_a_level_says_which_flags_holds_keep_from_it(degrade, store):
    degrade("hold", "*", "normal", "--for", "5m", "-r", "launch")
    out = degrade("level", "2", "--for", "5m", "-r", "load").stdout
    assert "it degrades: nothing now\n" in out
    assert "held normal or off, so left alone: feed.analytics, feed.ranking" in out


@pytest.mark.parametrize(
    "words",
    [
        ["status"],
        ["why", "a"],
        ["events"],
        ["release", "a", "-r", "x"],
        ["hold", "a", "off", "--for", "1m", "-r", "x"],
        ["level", "3", "--for", "1m", "-r", "x"],
        ["extend", "a", "--for", "1m"],
    ],
)
def test_a_memory_store_cannot_be_operated_from_here_and_the_way_out_is_named(degrade, words):
    done = degrade(*words, code=3, DEGRADE_STORE="" if words == ["status"] else "memory://")
    assert "cannot see another process" in done.stderr
    assert "DEGRADE_STORE=sqlite:///" in done.stderr


def test_a_store_that_cannot_be_used_has_its_exit_code(degrade, path):
    path.write_text("no database at all " * 100)
    for words in (["status"], ["hold", "a", "off", "--for", "1m", "-r", "x"], ["events"]):
        assert "not a SQLite database" in degrade(*words, code=4).stderr
    missing = f"sqlite:///{path.parent}/missing/x.db"
    assert "does not exist" in degrade("status", code=4, DEGRADE_STORE=missing).stderr


@pytest.mark.parametrize("broken", ["no database", "memory"])
def test_a_local_hold_works_without_any_store(degrade, path, tmp_path, broken):
    path.write_text("no database at all " * 100)
    changes = {"DEGRADE_STORE": "memory://"} if broken == "memory" else {}
    done = degrade(
        "hold", "feed.ranking", "off", "--for", "5m", "-r", "store dead", "--local", **changes
    )
    assert "on this host" in done.stdout
    assert "not checked" in done.stdout
    file = tmp_path / "local" / "default.json"
    assert json.loads(file.read_text())["holds"]["feed.ranking"]["mode"] == "off"
    end = next(line for line in done.stdout.splitlines() if line.startswith("end it: "))
    degrade(*shlex.split(end)[3:], **changes)
    assert json.loads(file.read_text())["holds"] == {}


def test_a_local_hold_that_cannot_be_written_has_the_exit_code_of_a_store(degrade, tmp_path):
    (tmp_path / "file").write_text("")
    words = ["hold", "a", "off", "--for", "1m", "-r", "x", "--local", "--force"]
    done = degrade(*words, code=4, DEGRADE_LOCAL=str(tmp_path / "file"))
    assert "DEGRADE_LOCAL" in done.stderr


HOSTILE = "\x1b[2J\x1b]0;owned\x07[red]all[/red] is \u202ewell\r\n\x9b31m :smile:"


def test_hostile_text_reaches_no_terminal(degrade, store):
    flag = FlagReport(
        phase=Phase.DEGRADED,
        mode=Mode.DEGRADED,
        dial=1,
        since=0,
        reason=HOSTILE,
        verdict=(HOSTILE,),
        rungs=(HOSTILE,),
        calls={HOSTILE: 1},
    )
    store.declare([FlagInfo(name=HOSTILE, owner=HOSTILE, message=HOSTILE, where=HOSTILE)])
    store.report(
        InstanceReport(
            id=HOSTILE,
            host=HOSTILE,
            pid=1,
            version="",
            started=0,
            at=0,
            epoch=0,
            flags={HOSTILE: flag},
        )
    )
    store.append([draft(HOSTILE, flag=HOSTILE)])
    degrade("hold", "feed.ranking", "off", "--for", "5m", "-r", HOSTILE, "--actor", "x", code=2)
    held = Hold(mode=HoldMode.OFF, actor=HOSTILE, reason=HOSTILE, at=0, until=time.time() + 300)
    store.change(
        Change(
            type="hold", actor=HOSTILE, reason=HOSTILE, instance="i", holds={"feed.ranking": held}
        )
    )
    for words in (
        ["status"],
        ["why", HOSTILE],
        ["why", "feed.ranking"],
        ["events"],
        ["events", "--json"],
        ["status", "--json"],
        ["why", "a" + HOSTILE],
        ["extend", "feed.ranking", "--for", "9m"],
    ):
        expected = 5 if words[1:] == ["a" + HOSTILE] else 0
        done = degrade(*words, code=expected)
        printed = done.stdout + done.stderr
        assert printed.replace("\n", "").isprintable(), words
        if expected == 0 and "--json" not in words:
            assert "[red]all[/red]" in printed.replace("\n", ""), "shown as it is, not as a style"


def test_without_its_extra_the_install_command_is_shown(env, tmp_path):
    hide = (
        "import sys\n"
        "class Hide:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.split('.')[0] == 'typer':\n"
        "            raise ModuleNotFoundError(f'No module named {name!r}', name=name)\n"
        "sys.meta_path.insert(0, Hide())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", hide + MAIN, "status"],
        env=env,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert done.returncode == Exit.FAILED
    assert "pip install 'degrade[cli]'" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("words", "reader"),
    [
        ("events --limit 400", "head -n 1"),
        ("status --json", "true"),
        ("why nope --json", "true"),
    ],
)
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_reader_that_goes_away_is_no_error_of_ours(
    env, store, tmp_path, words, reader, unbuffered
):
    store.append([draft("x" * 500) for _ in range(400)])
    done = subprocess.run(
        [
            "/bin/sh",
            "-c",
            f"{shlex.quote(sys.executable)} -c {shlex.quote(MAIN)} {words} | {reader}",
        ],
        env=env | {"PYTHONUNBUFFERED": unbuffered},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert done.stdout.count("\n") == int(reader != "true")
    told = "degrade: no flag 'nope' is declared" if "nope" in words else ""
    assert done.stderr.count("\n") == bool(told)
    assert done.stderr.startswith(told)


def test_the_version_is_printed(env, tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", MAIN, "--version"],
        env=env, cwd=tmp_path, capture_output=True, text=True, timeout=PATIENCE_S, check=True,
    )  # fmt: skip
    assert re.fullmatch(r"degrade \d+\.\d+\S*\n", done.stdout)


def test_the_documented_exit_codes_are_the_real_ones():
    rows = re.findall(r"^\| (\d+) \| (.+?) \|$", DOCS.read_text("utf-8"), re.MULTILINE)
    assert {int(code): meaning for code, meaning in rows} == {
        int(code): meaning for code, meaning in MEANINGS.items()
    }
    assert set(MEANINGS) == set(Exit)


def test_the_documented_commands_and_options_are_the_real_ones(degrade):
    text = DOCS.read_text("utf-8")
    sections = dict(
        re.findall(r"^### `degrade (\w+)[^\n]*\n(.*?)(?=^##)", text, re.MULTILINE | re.DOTALL)
    )
    listed = degrade("--help", COLUMNS="300").stdout
    real = set(re.findall(r"^  ([a-z]+)  ", listed.split("Commands:")[1], re.MULTILINE))
    assert set(sections) == real
    shared = set(re.findall(r"--[a-z-]+", listed.split("Commands:")[0])) - {"--help"}
    assert shared == set(re.findall(r"^\| `(--[a-z]+)", text.split("## Commands")[0], re.MULTILINE))
    for command, section in sections.items():
        options = degrade(command, "--help", COLUMNS="300").stdout.split("Options:")[1]
        found = set(re.findall(r"^ +(?:-\w, )?(--[a-z-]+)", options, re.MULTILINE))
        documented = set(re.findall(r"`(--[a-z-]+)", section))
        assert documented - {"--json"} == found - {"--help", "--json"}, command
        assert "--json" in found, command
