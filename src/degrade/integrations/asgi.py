"""A middleware for any ASGI application, without a framework.

    app = DegradeMiddleware(app, subject=lambda scope: scope["state"]["user_id"])

    request, WebSocket --> opens degrade.request(subject) --> application
    response start <-- Age, Cache-Status, Degraded, Cache-Control of what was served so far
    UnavailableError that leaves the application first --> 503 problem+json, Retry-After
    lifespan startup complete <-- after the store was read, or half a second

Inside a framework that turns exceptions into pages it must stand closer to the application than
that: with Starlette and FastAPI by `app.add_middleware(DegradeMiddleware)`.
"""

from __future__ import annotations

import json
import logging
import math
import uuid
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from concurrent.futures import Future
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from degrade.clock import Clock, SystemClock
from degrade.context import Request, request
from degrade.core.enums import RungKind
from degrade.errors import UnavailableError
from degrade.integrations.caches import keeps_fresh, restrain
from degrade.integrations.headers import Header, mark
from degrade.integrations.health import CONTENT_TYPE, health
from degrade.integrations.pages import Made, Page, awaited, started
from degrade.ports import FlagStats, StatsSource
from degrade.runtime import current
from degrade.runtime.current_runtime import existing
from degrade.runtime.runtime import Runtime
from degrade.units import Duration, duration_text, seconds

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

__all__ = ("DegradeMiddleware",)

log = logging.getLogger("degrade.integrations")

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
ASGIApp = Callable[[Scope, Receive, Send], Awaitable[None]]

_REQUEST: Final = "degrade.request"
"""Where a scope keeps the open request, for a middleware further inside."""
_STARTS: Final = frozenset({"http.response.start", "websocket.http.response.start"})
_LATE: Final = (
    "a response was degraded after its headers had gone out, so it has no mark and caches may keep "
    "it as a whole one: call what can be degraded before the response starts, or give streams "
    "`Cache-Control: no-store`"
)
_MOST_WAIT_S: Final = 3_600
_QUIET_S: Final = 60.0


class DegradeMiddleware:
    """Opens a request for every HTTP request and WebSocket, marks degraded answers, shows health.

    Args:
        app: The application.
        subject: Who asks, from the scope; None for an anonymous request. What is known only after
            authentication is told by `degrade.identify` there.
        health_path: Where `GET` answers with health+json; None to not serve it.
        metrics_path: Where `GET` answers a scrape, such as `"/metrics"`; None to not serve it.
        registry: What a scrape shows; None shows the metrics of the flags alone.
        runtime: Whose flags; None is the process's runtime at the time of each request.
        ready: The most that the start of the application waits until the store was read, so
            that the first request follows what was ordered; None to not wait.
        caching: Degraded answers tell caches not to keep them as whole ones; False leaves what
            the application tells caches as it is.
        clock: For the second of a page and the minute between log lines; None is the system's.

    Guarantees:
        Nothing of ours reaches the application or the client as an error: what fails here is
        logged, at most once a minute, and the response goes out as the application made it.
        A subject that cannot be read is replaced by one that no other request has, so that
        snapshots are never shared by mistake. A WebSocket is one request as long as it lasts; its
        messages pass through untouched. The start is delayed while the store cannot be read, at
        most by `ready`, and never refused. Mounted twice, the outer one acts, and the subject of
        the inner one names its request.

    Cost:
        A health answer or a scrape is made at most once a second, in a thread: about a tenth of a
        millisecond a flag. Other requests: two context variables and one pass over what was
        served.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        subject: Callable[[Scope], str | None] | None = None,
        health_path: str | None = "/degrade/health",
        metrics_path: str | None = None,
        registry: CollectorRegistry | None = None,
        runtime: StatsSource | None = None,
        ready: Duration | None = "500ms",
        caching: bool = True,
        clock: Clock | None = None,
    ) -> None:
        self.app = app
        self._subject = subject
        self._runtime = runtime
        self._ready_s = None if ready is None else seconds(ready, what="ready")
        self._caching = caching
        self._now = (clock or SystemClock()).monotonic
        self._quiet_until: dict[str, float] = {}
        self._pages: dict[str, Callable[[Scope], Future[Made]]] = {}
        if health_path is not None:
            self._pages[health_path] = self._health_page()
        if metrics_path is not None:
            self._pages[metrics_path] = self._metrics_page(registry)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan" and self._ready_s is not None:
            send = self._after_ready(send, self._ready_s)
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        outer: Request | None = scope.get(_REQUEST)
        if outer is not None:
            if (who := self._who(scope)) is not None:
                outer.identify(who)
            await self.app(scope, receive, send)
            return
        page = self._pages.get(_path(scope)) if scope["type"] == "http" else None
        if page is not None:
            await self._show(page, scope, send)
            return
        await self._guard(scope, receive, send)

    async def _guard(self, scope: Scope, receive: Receive, send: Send) -> None:
        began = whole = False

        async def send_marked(message: Message) -> None:
            nonlocal began, whole
            if message["type"] in _STARTS:
                began = True
                message, whole = self._marked(message, asked)
            elif whole and not message.get("more_body") and asked.tainted:
                self._complain(_LATE)
                whole = False
            await send(message)

        with request(self._who(scope)) as asked:
            scope[_REQUEST] = asked
            try:
                await self.app(scope, receive, send_marked)
            except UnavailableError as error:
                if began or scope["type"] != "http":
                    raise
                await _answer(scope, send_marked, *_refusal(error))

    def _marked(self, message: Message, asked: Request) -> tuple[Message, bool]:
        """Return a start with the headers of a degraded one, and whether caches may keep it."""
        try:
            headers = list(message.get("headers", ()))
            status: int = message["status"]
            degraded = asked.tainted
            if self._caching and degraded:
                headers = restrain(headers, status=status, whole_once=_is_of_snapshots(asked))
            headers = mark(headers, asked.served, status=status)
        except Exception as error:  # noqa: BLE001 - the application's response must go out
            self._complain("the answer is not marked as degraded", error)
            return message, False
        kept = self._caching and not degraded and keeps_fresh(headers)
        return {**message, "headers": headers}, kept

    def _who(self, scope: Scope) -> str | None:
        if self._subject is None:
            return None
        try:
            subject: object = self._subject(scope)
        except Exception as error:  # noqa: BLE001 - the user's function; the request goes on
            self._complain("the subject of a request cannot be read", error)
        else:
            if subject is None or isinstance(subject, str):
                return subject
            kind = type(subject).__name__
            self._complain("the subject of a request cannot be read", TypeError(f"it is a {kind}"))
        return f"unknown-{uuid.uuid4().hex}"

    def _after_ready(self, send: Send, within_s: float) -> Send:
        """Tell the server that the application has started once the store was read, too."""

        async def send_when_ready(message: Message) -> None:
            if message["type"] == "lifespan.startup.complete":
                await self._wait_ready(within_s)
            await send(message)

        return send_when_ready

    async def _wait_ready(self, within_s: float) -> None:
        try:
            source = self._source()
            if not isinstance(source, Runtime):
                return
            if not await awaited(started(partial(source.wait_ready, within_s))):
                log.warning(
                    "the store was not read within %s; starting all the same",
                    duration_text(within_s),
                )
        except Exception as error:  # noqa: BLE001 - the application starts, whatever fails here
            self._complain("the start does not wait for the store", error)

    # ------------------------------------------------------------------ pages of our own

    async def _show(self, page: Callable[[Scope], Future[Made]], scope: Scope, send: Send) -> None:
        if scope["method"] not in ("GET", "HEAD"):
            await _answer(scope, send, 405, b"", [(b"allow", b"GET, HEAD")])
            return
        try:
            status, body, content_type = await awaited(page(scope))
        except Exception as error:  # noqa: BLE001 - not to look like a crash of the application
            self._complain("a page of degrade cannot be shown", error)
            await _answer(scope, send, 500, b"", [(b"cache-control", b"no-store")])
            return
        headers = [(b"content-type", content_type.encode()), (b"cache-control", b"max-age=1")]
        await _answer(scope, send, status, body, headers)

    def _health_page(self) -> Callable[[Scope], Future[Made]]:
        page = Page(self._health, self._now)
        return lambda _scope: page.ask(of=self._shown())

    def _health(self, _variant: str) -> Made:
        try:
            return *health(self._source()), CONTENT_TYPE
        except Exception as error:  # noqa: BLE001 - no node leaves its service because of us
            self._complain("the state of the flags cannot be read", error)
            body = {"status": "warn", "output": "the state of the flags cannot be read"}
            return 200, json.dumps(body).encode(), CONTENT_TYPE

    def _metrics_page(self, registry: CollectorRegistry | None) -> Callable[[Scope], Future[Made]]:
        from degrade.telemetry.prometheus import alone, format_of, scrape  # noqa: PLC0415 - only when asked for

        shown = alone(_Current(self._source)) if registry is None else registry
        page = Page(lambda content_type: (200, *scrape(shown, content_type)), self._now)

        def show(scope: Scope) -> Future[Made]:
            accept = b",".join(value for name, value in scope["headers"] if name == b"accept")
            return page.ask(format_of(accept.decode("latin-1")), of=self._shown())

        return show

    def _shown(self) -> object:
        """Return whose pages these are, without making a runtime."""
        return self._runtime or existing()

    def _source(self) -> StatsSource:
        return current() if self._runtime is None else self._runtime

    def _complain(self, what: str, error: Exception | None = None) -> None:
        now = self._now()
        if now >= self._quiet_until.get(what, 0.0):
            self._quiet_until[what] = now + _QUIET_S
            log.warning("%s; further ones within a minute are not logged", what, exc_info=error)


def _is_of_snapshots(asked: Request) -> bool:
    """Return whether all that is degraded in a response was a whole answer once."""
    kinds = {each.rung for each in asked.served if not each.side_effect}
    return not asked.branched and kinds <= {RungKind.SNAPSHOT}


class _Current:
    """The flags of whatever runtime serves at the time of the scrape."""

    def __init__(self, source: Callable[[], StatsSource]) -> None:
        self._source = source

    def stats(self) -> Sequence[FlagStats]:
        return self._source().stats()

    def state_age_s(self) -> float | None:
        return self._source().state_age_s()


def _path(scope: Scope) -> str:
    """Return the path within the application, wherever a server or a mount has put it."""
    path: str = scope["path"]
    return path.removeprefix((scope.get("root_path") or "").rstrip("/"))


def _refusal(error: UnavailableError) -> tuple[int, bytes, list[Header]]:
    """Return a problem (RFC 9457) that says what and how long, but no cause: it is not for users."""
    wait_s = math.ceil(max(1.0, min(error.retry_after_s, _MOST_WAIT_S)))
    problem = {
        "type": "about:blank",
        "title": "Service Unavailable",
        "status": 503,
        "detail": f"{error.flag} is degraded and nothing stands in for it; try again in {wait_s} s",
        "code": error.code,
        "flag": error.flag,
        "retry_after": wait_s,
    }
    headers = [
        (b"content-type", b"application/problem+json"),
        (b"cache-control", b"no-store"),
        (b"retry-after", str(wait_s).encode()),
    ]
    return 503, json.dumps(problem).encode(), headers


async def _answer(
    scope: Scope, send: Send, status: int, body: bytes, headers: list[Header]
) -> None:
    headers = [*headers, (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})
