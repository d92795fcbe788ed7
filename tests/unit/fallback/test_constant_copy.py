"""What `default` of a constant gives to each caller."""

from __future__ import annotations

import collections
import dataclasses
import io
import re
import socket
import threading
import types
from dataclasses import dataclass, field
from enum import Enum
from functools import cached_property, partial
from typing import Any, NamedTuple
from unittest import mock

import aiohttp.web
import attrs
import falcon
import fastapi.responses
import flask
import numpy as np
import pytest
import requests
import rest_framework.response
import starlette.responses
import tornado.web
from django.http import HttpResponse, JsonResponse, StreamingHttpResponse
from django.utils.functional import lazystr
from django.utils.safestring import SafeString
from markupsafe import Markup
from pydantic import BaseModel, ConfigDict, HttpUrl, PrivateAttr
from pydantic_core import ArgsKwargs

from degrade import default, degradable, simplified
from degrade.errors import UsageError
from degrade.fallback.constant_copy import copier


class Color(Enum):
    RED = 1


class Missing:
    """A sentinel: nothing but itself."""


class Named(NamedTuple):
    items: list[int]
    name: str = "a"


@dataclass
class Page:
    stories: list[Any] = field(default_factory=list)


@dataclass(frozen=True)
class FrozenPage:
    stories: Any = ()


@dataclass(slots=True)
class Slotted:
    stories: list[int]
    later: int = field(init=False)


@dataclass(frozen=True, slots=True)
class FrozenSlotted:
    stories: Any


class Model(BaseModel):
    stories: list[int] = []
    link: HttpUrl | None = None
    _seen: dict[str, int] = PrivateAttr(default_factory=lambda: {"a": 1})


class Open(BaseModel):
    model_config = ConfigDict(extra="allow", frozen=True)


@attrs.define
class Attrs:
    stories: list[int]


@attrs.frozen(slots=False)
class FrozenAttrs:
    stories: Any


class Words(list[Any]):
    """A list with an attribute, whose own methods count what is done to it."""

    def __init__(self, *items: Any) -> None:
        super().__init__(items)
        self.about = {"a": 1}

    def __setitem__(self, at: Any, item: Any) -> None:
        raise AssertionError

    def __iter__(self) -> Any:
        raise AssertionError


class UserId(str):  # noqa: SLOT000 - as users write it
    """What many call a type of their own."""


class Session:
    def __init__(self) -> None:
        self.user = "ana"


def shape(value: Any, seen: dict[int, int] | None = None) -> Any:
    """Return what a value looks like, with its types, and which of its objects are the same."""
    seen = {} if seen is None else seen
    if isinstance(value, (str, int, float, bytes, Enum, type(None))):
        return type(value), value
    if id(value) in seen:
        return "again", seen[id(value)]
    seen[id(value)] = len(seen)
    found: list[Any] = [type(value)]
    if isinstance(value, collections.defaultdict):
        found.append(value.default_factory)
    if isinstance(value, collections.deque):
        found.append(value.maxlen)
    if isinstance(value, dict):
        found += [(key, shape(item, seen)) for key, item in dict.items(value)]
    elif isinstance(value, (list, tuple, collections.deque)):
        plain = next(kind for kind in (list, tuple, collections.deque) if isinstance(value, kind))
        found += [shape(item, seen) for item in plain.__iter__(value)]
    elif isinstance(value, (set, frozenset, bytearray)):
        found += sorted(value, key=repr)
    found += [(name, shape(item, seen)) for name, item in getattr(value, "__dict__", {}).items()]
    found += [
        (name, shape(getattr(value, name), seen))
        for base in type(value).__mro__
        for name in base.__dict__.get("__slots__", ())
        if name not in {"__dict__", "__weakref__"} and hasattr(value, name)
    ]
    return found


def changeable(value: Any, seen: dict[int, Any] | None = None) -> dict[int, Any]:
    """Return every object in a value that a caller may change, by its id."""
    seen = {} if seen is None else seen
    if isinstance(value, (str, int, float, bytes, Enum, type(None), type, HttpUrl)):
        return seen
    if id(value) in seen:
        return seen
    frozen = isinstance(value, (tuple, frozenset))
    seen[id(value)] = None if frozen else value
    parts = list(getattr(value, "__dict__", {}).values())
    if isinstance(value, dict):
        parts += dict.values(value)
    elif isinstance(value, (list, tuple)):
        parts += (list if isinstance(value, list) else tuple).__iter__(value)
    elif isinstance(value, (set, frozenset, collections.deque)):
        parts += value
    for base in type(value).__mro__:
        parts += [getattr(value, name, None) for name in base.__dict__.get("__slots__", ())]
    for part in parts:
        changeable(part, seen)
    return {key: item for key, item in seen.items() if item is not None}


def knot() -> list[Any]:
    """A list that holds itself, also by a tuple."""
    tied: list[Any] = []
    tied += [tied, (tied, [tied])]
    return tied


def twice() -> dict[str, Any]:
    """One list in two places, and one tuple that holds it."""
    one = [1]
    pair = (one, one)
    return {"a": one, "b": [one, pair], "c": pair}


COPIED: list[Any] = [
    [], [1], [[1], [2]], {}, {"a": [1]}, {"a": {"b": {"c": []}}}, {1}, bytearray(b"a"),
    ([],), ((([1],),), 2), [([1], 2)], collections.deque([[1]], maxlen=3),
    collections.OrderedDict([("b", [1]), ("a", 2)]), collections.defaultdict(list, {"a": [1]}),
    collections.Counter("aab"), Named([1]), [Named([])], Page(), Page([1]), Page([Page([[1]])]),
    FrozenPage([1]), FrozenPage((1, [2])), Slotted([1]), FrozenSlotted([1]), Model(stories=[1]),
    Model(link="https://a.example"), Open(), Open(more=[1]), Attrs([1]), FrozenAttrs([1]),
    Words(1, [2]), [Words([1])], types.SimpleNamespace(a=[1]), knot(), twice(),
    {"rows": [{"id": n, "tags": ["a"]} for n in range(50)]}, {(1, "a"): [1]},
]  # fmt: skip


@pytest.mark.parametrize("constant", COPIED, ids=lambda value: type(value).__name__)
def test_each_caller_gets_a_copy_of_the_same_shape_in_which_nothing_is_shared(constant: Any):
    before = shape(constant)
    make = copier(constant)

    one, other = make(), make()

    assert shape(one) == shape(other) == before == shape(constant)
    assert changeable(one)
    objects = [changeable(value) for value in (constant, one, other)]
    assert len({key for found in objects for key in found}) == sum(map(len, objects))


def test_what_a_caller_or_the_author_does_to_theirs_reaches_nobody_else():
    rows = [{"tags": ["a"]}]
    make = copier(rows)
    rows[0]["tags"].append("of the author")
    one = make()
    one[0]["tags"].append("of a caller")
    one.insert(0, {})
    assert make() == [{"tags": ["a"]}]


def test_a_constant_that_is_nested_deeply_is_copied():
    deep: list[Any] = []
    for _ in range(4_000):
        deep = [deep]
    copied = copier(deep)()
    for _ in range(4_000):
        (copied,) = copied
    assert copied == []


SHARED: list[Any] = [
    0, "", b"", None, 1.5, True, ..., NotImplemented, range(3), Color.RED, object(), Missing(),
    mock.sentinel.NOTHING, (1, "a"), ((), (1, (Color.RED, None))), frozenset({1, (2,)}), Named(()),
    FrozenPage((1, FrozenPage(()))), FrozenSlotted("a"), Markup("<b>"), SafeString("a"),
    UserId("ana"), np.float64(1.5), HttpUrl("https://a.example"), lazystr("later"), re.compile("a"),
    list, types, (len, [].append, list.append, test_a_constant_that_is_nested_deeply_is_copied),
    (partial(len),),
]  # fmt: skip


@pytest.mark.parametrize("constant", SHARED, ids=lambda value: type(value).__name__)
def test_what_nobody_can_change_or_stands_for_itself_is_the_same_object(constant: Any):
    assert copier(constant)() is constant


def test_what_stands_for_itself_stays_the_same_object_inside_of_a_copy():
    missing, nothing = Missing(), object()
    copied = copier([missing, {"a": nothing}, Color.RED, mock.sentinel.X])()
    assert copied[0] is missing
    assert copied[1]["a"] is nothing
    assert copied[2:] == [Color.RED, mock.sentinel.X]


def of_flask() -> flask.Response:
    with flask.Flask("shop").app_context():
        return flask.jsonify(stories=[])


class Application:
    """A WSGI application, as responses of WebOb and others are."""

    def __call__(self, environ: Any, start_response: Any) -> list[bytes]:
        return []


class LaterApplication:
    """An ASGI application."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None: ...


PLAIN = {"charset": "utf-8", "content_type": "text/plain"}  # Django asks its settings for neither
REST = rest_framework.response.Response
RESPONSES: list[Any] = [
    HttpResponse(**PLAIN), JsonResponse({}, **PLAIN), StreamingHttpResponse([], **PLAIN),
    REST.__new__(REST), of_flask(), tornado.web.RequestHandler(mock.MagicMock(), mock.MagicMock()),
    starlette.responses.JSONResponse({}), fastapi.responses.HTMLResponse(), aiohttp.web.Response(),
    aiohttp.web.StreamResponse(), falcon.Response(), Application(), LaterApplication(),
]  # fmt: skip


@pytest.mark.parametrize("response", RESPONSES, ids=lambda value: type(value).__name__)
def test_a_response_is_refused_wherever_it_stands_with_what_to_write_instead(response: Any):
    def page(request: Any) -> Any: ...

    advice = rf"default\(lambda \*_, \*\*__: {type(response).__name__}\(\.\.\.\)\)"
    for make in (
        lambda: default(response),
        lambda: default([response]),
        lambda: default((response, 503)),
        lambda: default({"page": Page([response])}),
        lambda: simplified(response),
        lambda: degradable("page", fallback=response)(page),
        lambda: degradable("page", fallback=[response])(page),
        lambda: degradable("page", fallback=(response, 503))(page),
    ):
        with pytest.raises(UsageError, match=advice) as caught:
            make()
        assert caught.value.code == "shared-value"
        assert "belongs to one request" in str(caught.value)


class Holder(BaseModel):
    model_config = ConfigDict(arbitrary_types_allowed=True)
    _lock: Any = PrivateAttr(default_factory=threading.Lock)


class Owner(Page):
    def __del__(self) -> None: ...


class Lazy(tuple[int, ...]):  # noqa: SLOT001 - as users write it
    """A tuple with a state of its own."""


def lazy() -> Lazy:
    made = Lazy((1,))
    made.about = []  # type: ignore[attr-defined]  # that is what the test is about
    return made


def marked() -> collections.OrderedDict[str, int]:
    made: Any = collections.OrderedDict(a=1)
    made.about = []
    return made


@dataclass(eq=False)
class ById:
    stories: list[int]


REFUSED: list[Any] = [
    threading.Lock(), threading.local(), requests.Session(), requests.Response(), Session(),
    [Session()], {"a": (Session(),)}, FrozenPage(Session()), Slotted([Session()]), Holder(),
    {"lock": threading.Lock()}, Owner(), lazy(), marked(), {ById([1])}, {ById([1]): 1}, np.zeros(2),
    frozenset({ById([])}), ValueError("a"), memoryview(b"a"), types.MappingProxyType({}),
    mock.NonCallableMock(), ArgsKwargs((), {"a": []}), [io.StringIO("a")], [iter([1])],
]  # fmt: skip


@pytest.mark.parametrize("value", REFUSED, ids=lambda value: type(value).__name__)
def test_an_object_with_a_state_of_its_own_is_refused_with_what_to_write_instead(value: Any):
    with pytest.raises(UsageError, match=r"cannot be copied.*default\(lambda \*_") as caught:
        default(value)
    assert caught.value.code == "shared-value"


def test_a_socket_is_refused():
    with socket.socket() as one, pytest.raises(UsageError, match="cannot be copied"):
        default([one])


def test_a_frozen_dataclass_that_keeps_what_it_computes_is_not_shared():
    @dataclasses.dataclass(frozen=True)
    class Report:
        rows: tuple[int, ...]

        @cached_property
        def sorted(self) -> list[int]:
            return sorted(self.rows)

    make = copier(Report((2, 1)))
    make().sorted.append(99)
    assert make().sorted == [1, 2]


@pytest.mark.parametrize("fn", [mock.Mock(return_value=[1]), partial(list), lambda *_: [1]])
def test_a_callable_object_that_is_no_response_is_a_function(fn: Any):
    assert "default(" in repr(default(fn))
