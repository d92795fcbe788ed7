"""The pages for readers, and their code blocks as the tests run them.

A block is run unless the comment above it says otherwise; comments are not shown to readers.

    <!-- file: shop.py -->         written to the working directory of the page, not run
    <!-- prints -->                what the Python block before it prints
    <!-- exit: 3 -->               the last command of this console block ends with this code
    <!-- not run: the reason -->   shown only
    <!-- not run: run in FILE -->  shown only, since the page FILE of the repository runs it
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

__all__ = ("PAGES", "ROOT", "Block", "blocks", "name_of", "prose")

ROOT = Path(__file__).resolve().parents[2]
PAGES = (
    ROOT / "README.md",
    ROOT / "CHANGELOG.md",
    *sorted(page for page in (ROOT / "docs").rglob("*.md") if "_build" not in page.parts),
    *sorted((ROOT / "examples").rglob("*.md")),
)

_FENCE = re.compile(r"^(?P<indent> *)```(?P<language>\S*)[^\n]*$")
_COMMENT = re.compile(r"^ *<!-- (?P<word>file|prints|exit|not run)(?:: (?P<value>.*?))? -->$")


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """A fenced block: its language, text, first line (from 1), and the comment above it."""

    language: str
    text: str
    line: int
    word: str = ""
    value: str = ""


def name_of(page: Path) -> str:
    """Return what a page is called in test names."""
    return str(page.relative_to(ROOT))


def blocks(page: Path) -> list[Block]:
    """Return the fenced blocks of a page, in order."""
    return list(_blocks(page.read_text(encoding="utf-8").splitlines()))


def prose(page: Path) -> str:
    """Return a page without its fenced blocks."""
    lines = page.read_text(encoding="utf-8").splitlines()
    for block in _blocks(list(lines)):
        for line in range(block.line - 2, block.line + len(block.text.splitlines())):
            lines[line] = ""
    return "\n".join(lines)


def _blocks(lines: list[str]) -> Iterator[Block]:
    number = 0
    while number < len(lines):
        fence = _FENCE.match(lines[number])
        if fence is None:
            number += 1
            continue
        above = lines[number - 1] if number else ""
        comment = _COMMENT.match(above)
        indent, first = len(fence["indent"]), number + 1
        number = first
        while lines[number].strip() != "```":
            number += 1
        yield Block(
            language=fence["language"],
            text="".join(f"{line[indent:]}\n" for line in lines[first:number]),
            line=first + 1,
            word=comment["word"] if comment else "",
            value=(comment["value"] or "") if comment else "",
        )
        number += 1
