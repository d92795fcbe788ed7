"""Which objects are responses of web frameworks: each belongs to one request.

Middleware sets cookies and headers on the response that a view returns, so one that two requests
get carries the session of the first to the second. Some responses can be called, because they are
WSGI or ASGI applications, and are no functions for all that. Frameworks are known by the names of
their classes; none is imported.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from itertools import islice
from typing import Any, get_args, get_origin

__all__ = ("find_response", "is_response", "named_response")

_RESPONSES = frozenset(
    {
        ("django.http.response", "HttpResponseBase"),  # of the REST framework and of Ninja, too
        ("werkzeug.sansio.response", "Response"),  # Flask, Quart
        ("starlette.responses", "Response"),  # FastAPI
        ("aiohttp.web_response", "StreamResponse"),
        ("falcon.response", "Response"),
        ("tornado.web", "RequestHandler"),
        ("webob.response", "Response"),  # Pyramid
        ("sanic.response.types", "BaseHTTPResponse"),
        ("litestar.response.base", "Response"),
        ("bottle", "BaseResponse"),
    }
)
_APPLICATIONS = (("environ", "start_response"), ("scope", "receive", "send"))
_MAX_LOOKED_INTO = 100


def is_response(value: object) -> bool:
    """Whether a value is a response, or an object that answers as a WSGI or ASGI application."""
    kind = type(value)
    return _is_response_class(kind) or _is_application(getattr(kind, "__call__", None))  # noqa: B004 - asks for its parameters


def find_response(value: object) -> Any:
    """Return the response that a value is, or that lies in its first hundred parts; else None."""
    found: list[Any] = [value]
    for item in found:  # grows while it is read
        if is_response(item):
            return item
        if type(item) in {list, tuple, set, frozenset, dict}:
            parts = item.values() if type(item) is dict else item
            found += islice(parts, max(0, _MAX_LOOKED_INTO - len(found)))
    return None


def named_response(annotation: Any) -> type | None:
    """Return the class of responses that an annotation names anywhere, None without one."""
    if isinstance(annotation, type) and get_origin(annotation) is None:
        return annotation if _is_response_class(annotation) else None
    parts: Iterable[Any] = (get_origin(annotation), *get_args(annotation))
    found = (named_response(part) for part in parts if part is not None)
    return next((kind for kind in found if kind is not None), None)


def _is_response_class(kind: type) -> bool:
    return any((base.__module__, base.__qualname__) in _RESPONSES for base in kind.__mro__)


def _is_application(call: object) -> bool:
    if not inspect.isfunction(call):
        return False
    names = call.__code__.co_varnames[1 : call.__code__.co_argcount]
    return any(names[: len(first)] == first for first in _APPLICATIONS)
