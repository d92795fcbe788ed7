"""A stream of a command that cannot be written, or not everything of it."""

from __future__ import annotations

import io
import os

import pytest

from degrade.cli.output import Output
from degrade.cli.terminal_text import clean


class Full(io.StringIO):
    """A stream without room."""

    def write(self, text: str) -> int:
        raise OSError(28, "No space left on device")


class FullAtTheEnd(io.StringIO):
    """A stream that keeps what is written until it is flushed."""

    def flush(self) -> None:
        raise BrokenPipeError(32, "Broken pipe")


@pytest.mark.parametrize(
    ("stream", "why"),
    [
        (None, "it is closed"),
        (Full(), "No space left on device"),
        (FullAtTheEnd(), "Broken pipe"),
    ],
)
def test_a_failure_is_remembered_and_what_comes_after_it_is_dropped(stream, why):
    output = Output(stream)
    for _ in range(2):
        assert output.write("text") == 4
        output.flush()
        assert output.failure is not None
        assert output.failure.strerror == why


def test_what_a_broken_stream_still_has_does_not_fail_later():
    read, write = os.pipe()
    stream = os.fdopen(write, "w")
    os.close(read)
    output = Output(stream)
    output.write("text")
    output.flush()
    assert isinstance(output.failure, BrokenPipeError)
    stream.close()


@pytest.mark.parametrize(
    ("encoding", "shown"),
    [
        ("ascii", r"Gr\xf6\xdfe \U0001f525 ?[2J"),
        ("latin-1", r"Größe \U0001f525 ?[2J"),
        ("utf-8", "Größe 🔥 \N{REPLACEMENT CHARACTER}[2J"),
    ],
)
def test_what_an_encoding_does_not_have_is_escaped(monkeypatch, encoding, shown):
    file = io.BytesIO()
    output = Output(io.TextIOWrapper(file, encoding))
    monkeypatch.setattr("sys.stdout", output)
    assert clean("Größe 🔥 \x1b[2J") == shown
    output.write("raw 🔥 " + clean("Größe"))
    output.flush()
    fire = "🔥" if encoding == "utf-8" else "\\U0001f525"
    assert file.getvalue().decode(encoding).startswith(f"raw {fire} Gr")


def test_nothing_on_the_standard_error_commands_a_terminal():
    file = io.StringIO()
    Output(file, plain=True).write("degrade: \x1b]0;owned\x07 \u202ewell\r\nnext\n")
    assert file.getvalue().replace("\n", "").isprintable()
    assert file.getvalue().count("\n") == 2
