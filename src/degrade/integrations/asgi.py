"""A middleware for any ASGI application, without a framework.

    app = DegradeMiddleware(app, subject=lambda scope: scope["state"]["user_id"])

    request --> opens degrade.request(subject) --> application
    response start <-- Age, Cache-Status, Degraded of what was served so far
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
from collections.abc import Awaitable, Callable, Iterable, MutableMapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from degrade.clock import Clock, SystemClock
from degrade.errors import UnavailableError
from degrade.integrations.headers import Header, mark
from degrade.integrations.health import CONTENT_TYPE, health
from degrade.ports import FlagStats, StatsSource
from degrade.runtime import current
from degrade.runtime.provenance import Request, request
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
Page = Callable[[Scope], tuple[int, bytes, str]]
ASGIApp = Callable[[Scope, Receive, Send], Awaitable[None]]

_MARKED: Final = "degrade.marked"
_MOST_WAIT_S: Final = 3_600
_QUIET_S: Final = 60.0


class DegradeMiddleware:
    """Opens a request for every HTTP request, marks degraded answers, and shows the health.

    Args:
        app: The application.
        subject: Who asks, from the scope; None for an anonymous request.
        health_path: Where `GET` answers with health+json; None to not serve it.
        metrics_path: Where `GET` answers a scrape, such as `"/metrics"`; None to not serve it.
        registry: What a scrape shows; None shows the metrics of the flags alone.
        runtime: Whose flags; None is the process's runtime at the time of each request.
        ready: The most that the start of the application waits until the store was read, so
            that the first request follows what was ordered; None to not wait.
        clock: For the minute between two log lines; None is the system's.

    Guarantees:
        Nothing of ours reaches the application or the client as an error: what fails here is
        logged, at most once a minute, and the response goes out as the application made it.
        A subject that cannot be read is replaced by one that no other request has, so that
        snapshots are never shared by mistake. WebSockets and lifespan pass through untouched;
        the start is delayed while the store cannot be read, at most by `ready`, and never
        refused. Mounted twice, only the outer one acts.

    Cost:
        A health answer or a scrape is made on the event loop: about a tenth of a millisecond a
        flag. Other requests: two context variables and one pass over what was served.
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
        clock: Clock | None = None,
    ) -> None:
        self.app = app
        self._subject = subject
        self._runtime = runtime
        self._ready_s = None if ready is None else seconds(ready, what="ready")
        self._pages: dict[str, Page] = {}
        if health_path is not None:
            self._pages[health_path] = lambda _scope: self._health()
        if metrics_path is not None:
            self._pages[metrics_path] = self._scraper(registry)
        self._now = (clock or SystemClock()).monotonic
        self._quiet_until: dict[str, float] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan" and self._ready_s is not None:
            send = self._after_ready(send, self._ready_s)
        if scope["type"] != "http" or _MARKED in scope:
            await self.app(scope, receive, send)
            return
        page = self._pages.get(_path(scope)) if self._pages else None
        if page is not None:
            await self._show(page, scope, send)
            return
        scope[_MARKED] = True
        await self._guard(scope, receive, send)

    async def _guard(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = False

        async def send_marked(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                message = {**message, "headers": self._mark(message.get("headers", ()), asked)}
            await send(message)

        with request(self._who(scope)) as asked:
            try:
                await self.app(scope, receive, send_marked)
            except UnavailableError as error:
                if started:
                    raise
                await _answer(scope, send_marked, *_refusal(error))

    def _mark(self, headers: Iterable[Header], asked: Request) -> list[Header]:
        headers = list(headers)
        try:
            return mark(headers, asked.served)
        except Exception as error:  # noqa: BLE001 - the application's response must go out
            self._complain("the answer is not marked as degraded", error)
            return headers

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
        from asyncio import to_thread  # noqa: PLC0415 - slow to import, and running by now

        try:
            source = self._source()
            if isinstance(source, Runtime) and not await to_thread(source.wait_ready, within_s):
                log.warning(
                    "the store was not read within %s; starting all the same",
                    duration_text(within_s),
                )
        except Exception as error:  # noqa: BLE001 - the application starts, whatever fails here
            self._complain("the start does not wait for the store", error)

    # ------------------------------------------------------------------ pages of our own

    async def _show(self, page: Page, scope: Scope, send: Send) -> None:
        if scope["method"] not in ("GET", "HEAD"):
            await _answer(scope, send, 405, b"", [(b"allow", b"GET, HEAD")])
            return
        try:
            status, body, content_type = page(scope)
        except Exception as error:  # noqa: BLE001 - not to look like a crash of the application
            self._complain("a page of degrade cannot be shown", error)
            await _answer(scope, send, 500, b"", [(b"cache-control", b"no-store")])
            return
        headers = [(b"content-type", content_type.encode()), (b"cache-control", b"max-age=1")]
        await _answer(scope, send, status, body, headers)

    def _health(self) -> tuple[int, bytes, str]:
        try:
            return *health(self._source()), CONTENT_TYPE
        except Exception as error:  # noqa: BLE001 - no node leaves its service because of us
            self._complain("the state of the flags cannot be read", error)
            body = {"status": "warn", "output": "the state of the flags cannot be read"}
            return 200, json.dumps(body).encode(), CONTENT_TYPE

    def _scraper(self, registry: CollectorRegistry | None) -> Page:
        from degrade.telemetry.prometheus import alone, scrape  # noqa: PLC0415 - only when asked for

        shown = alone(_Current(self._source)) if registry is None else registry

        def show(scope: Scope) -> tuple[int, bytes, str]:
            accept = b",".join(value for name, value in scope["headers"] if name == b"accept")
            return 200, *scrape(shown, accept.decode("latin-1"))

        return show

    def _source(self) -> StatsSource:
        return current() if self._runtime is None else self._runtime

    def _complain(self, what: str, error: Exception) -> None:
        now = self._now()
        if now >= self._quiet_until.get(what, 0.0):
            self._quiet_until[what] = now + _QUIET_S
            log.warning("%s; further ones within a minute are not logged", what, exc_info=error)


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
