"""The codes of the errors, the places that raise them, and their page agree."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from degrade import errors
from degrade.errors import CODES, DegradeError
from tests.meta.sources import PACKAGE, ROOT, files, tree

PAGE = ROOT / "docs" / "reference" / "errors.md"
CLASSES = {
    name: cls
    for name, cls in vars(errors).items()
    if isinstance(cls, type) and issubclass(cls, DegradeError) and cls is not DegradeError
}


def calls(path: Path) -> Iterator[ast.Call]:
    return (node for node in ast.walk(tree(path)) if isinstance(node, ast.Call))


def texts(node: ast.AST) -> set[str]:
    return {
        part.value
        for part in ast.walk(node)
        if isinstance(part, ast.Constant) and isinstance(part.value, str)
    }


def named_codes() -> dict[str, Path]:
    """Every text given as `code=` anywhere in the sources."""
    return {
        text: path
        for path in files()
        for call in calls(path)
        for keyword in call.keywords
        if keyword.arg == "code"
        for text in texts(keyword.value)
    }


def implied_codes() -> dict[str, Path]:
    """The codes of error classes that are called without one of their own."""
    return {
        CLASSES[name].code: path
        for path in files()
        for call in calls(path)
        if (name := getattr(call.func, "id", getattr(call.func, "attr", ""))) in CLASSES
        and not any(keyword.arg == "code" for keyword in call.keywords)
    }


def other_texts() -> set[str]:
    """Texts handed to helpers that raise, outside of the list of codes itself."""
    return {
        text
        for path in files()
        if path != PACKAGE / "errors.py"
        for call in calls(path)
        for argument in call.args
        for text in texts(argument)
    }


def test_every_code_that_is_raised_is_listed() -> None:
    unknown = {code: str(path) for code, path in named_codes().items() if code not in CODES}
    assert not unknown


def test_every_class_has_a_listed_code() -> None:
    assert {cls.code for cls in CLASSES.values()} <= CODES


def test_every_listed_code_is_raised_somewhere() -> None:
    assert CODES - set(named_codes()) - set(implied_codes()) - other_texts() == set()


def test_the_page_has_a_heading_for_every_code_and_no_other() -> None:
    headings = re.findall(r"^### `([^`]+)`$", PAGE.read_text("utf-8"), flags=re.MULTILINE)
    assert sorted(headings) == sorted(CODES)


def test_every_heading_of_the_page_says_what_it_means_and_what_to_do() -> None:
    sections = re.split(r"^### ", PAGE.read_text("utf-8"), flags=re.MULTILINE)[1:]
    thin = [section.splitlines()[0] for section in sections if "**What to do:**" not in section]
    assert not thin


def test_the_tree_in_the_docstring_names_every_class() -> None:
    drawn = set(re.findall(r"[A-Z]\w+Error", (errors.__doc__ or "").split("\n\n")[1]))
    missing = set(CLASSES) - drawn
    assert not missing


def test_every_class_is_also_of_a_fitting_builtin() -> None:
    plain = [
        name
        for name, cls in CLASSES.items()
        if not any(
            base.__module__ == "builtins" and base is not Exception for base in cls.__mro__[1:-3]
        )
    ]
    assert not plain
