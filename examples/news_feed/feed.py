"""The feed: what readers talk to. Its two dependencies on the ranker are guarded by `degrade`.

GET /feed?user=   the stories for a reader, as JSON
GET /?user=       the same as a page
POST /close       from now on only the load is answered, so that counters come to rest
GET /metrics, /degrade/health

What visitors got (all but the load, say a browser) is written to a file, for the checks of the demo.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterator, MutableMapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import aiohttp
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from degrade import SLA, Recovery, Served, default, degradable, omit, served, snapshot
from degrade.integrations.asgi import DegradeMiddleware
from examples.news_feed.answers import LOAD_AGENT, Answer, Kind, reader_id
from examples.news_feed.page import render
from examples.news_feed.serve import serve
from examples.news_feed.stories import PAGE, Story, load, newest


@dataclass(frozen=True, slots=True)
class Pick:
    """A story chosen for a reader; the score is the ranker's, 0 without one."""

    story: str
    published: float
    score: float


@dataclass(frozen=True, slots=True)
class Feed:
    """The stories for a reader, in order; the nonce is that of the ranker's answer."""

    nonce: str | None
    picks: tuple[Pick, ...]


class Desk:
    """What a process works with: the stories, and the connections to the ranker."""

    def __init__(self) -> None:
        self.stories: dict[str, Story] = {}
        self.newest = Feed(nonce=None, picks=())
        self.visits: Path | None = None
        self.closed = False
        self.ranker_url = ""
        self.ranker: aiohttp.ClientSession | None = None

    def stock(self, stories: Sequence[Story], ranker_url: str) -> None:
        self.stories = {story.id: story for story in stories}
        picks = (Pick(story.id, story.published, 0.0) for story in newest(stories))
        self.newest = Feed(nonce=None, picks=tuple(picks))
        self.ranker_url = ranker_url

    @asynccontextmanager
    async def open(self, _: Starlette) -> AsyncIterator[None]:
        connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=30)
        async with aiohttp.ClientSession(self.ranker_url, connector=connector) as self.ranker:
            yield

    async def ask(self, method: str, path: str, **options: Any) -> Any:
        if self.ranker is None:
            raise RuntimeError("the application has not started")
        async with self.ranker.request(method, path, **options) as answer:
            answer.raise_for_status()
            return await answer.json()


desk = Desk()


def newest_first(feed: Feed) -> Feed:
    """Return what was once ranked for a reader in plain order; stories gone since are left out."""
    picks = [pick for pick in feed.picks if pick.story in desk.stories]
    return replace(feed, picks=tuple(sorted(picks, key=lambda pick: (-pick.published, pick.story))))


def newest_stories(user: str) -> Feed:  # noqa: ARG001 - the same for everyone
    """Return the newest stories."""
    return desk.newest


@degradable(
    "feed.ranking", level=2, owner="team-feed", sla=SLA(p99="250ms", errors="5%"), deadline="180ms",
    recovery=Recovery(step_time="3s", max_cooldown="12s"),
    fallback=[snapshot(max_age="1h", transform=newest_first), default(newest_stories)],
    message="Stories are shown newest first, without your personal order.",
)  # fmt: skip
async def ranked_feed(user: str) -> Feed:
    """Return the stories that the ranker chose for a reader, best first."""
    answer = await desk.ask("GET", "/rank", params={"user": user, "count": PAGE})
    best = ((each["id"], each["score"]) for each in answer["stories"])
    picks = (Pick(story, desk.stories[story].published, score) for story, score in best)
    return Feed(nonce=answer["nonce"], picks=tuple(picks))


@degradable(
    "feed.analytics", level=3, owner="team-insight", sla=SLA(errors="5%"), deadline="50ms",
    recovery=Recovery(step_time="3s", max_cooldown="12s"), fallback=omit(),
)  # fmt: skip
async def record_view(user: str) -> int:
    """Tell the collector that a reader looks at the feed, and return its receipt."""
    answer = await desk.ask("POST", "/views", json={"user": user})
    return int(answer["receipt"])


async def feed(request: Request) -> JSONResponse:
    """Answer with the stories for a reader."""
    user = _reader(request)
    chosen, receipt, _ = await _chosen(request, user)
    stories = [
        {
            "id": pick.story, "title": desk.stories[pick.story].title,
            "section": desk.stories[pick.story].section, "published": pick.published,
            "score": pick.score,
        }
        for pick in chosen.picks
    ]  # fmt: skip
    return JSONResponse(
        {"user": user, "nonce": chosen.nonce, "receipt": receipt, "stories": stories}
    )


async def front(request: Request) -> HTMLResponse:
    """Show the page of a reader, with a notice while it is degraded."""
    user = _reader(request)
    chosen, _, notice = await _chosen(request, user)
    stories = [desk.stories[pick.story] for pick in chosen.picks]
    return HTMLResponse(render(stories, user, notice, personal=bool(chosen.nonce), now=time.time()))


async def close(_: Request) -> Response:
    """Turn visitors away from now on."""
    desk.closed = True
    return Response(status_code=204)


async def _chosen(request: Request, user: str) -> tuple[Feed, int | None, Served | None]:
    """Return the stories for a reader, the receipt of the view, and how the stories were served."""
    visitor = request.headers.get("user-agent") != LOAD_AGENT
    if visitor and desk.closed:
        raise HTTPException(503, "the demo is over")
    chosen, receipt = await asyncio.gather(ranked_feed(user), record_view(user))
    notice = next((answer for answer in served() if answer.flag == "feed.ranking"), None)
    if visitor and desk.visits is not None:
        now, (_, port) = time.time(), request.scope["server"]
        visit = Answer(
            due=now, sent=now, done=now, port=port, reader=user, nonce=chosen.nonce,
            kind=Kind.FULL if notice is None else Kind(notice.rung), viewed=receipt is not None,
        )  # fmt: skip
        with desk.visits.open("a", encoding="utf-8") as visits:
            visits.write(visit.line())
    return chosen, receipt, notice


def _reader(request: Request) -> str:
    return request.query_params.get("user") or reader_id(0)


def _subject(scope: MutableMapping[str, Any]) -> str | None:
    users = parse_qs(scope["query_string"].decode("latin-1")).get("user")
    return users[0] if users else None


app = Starlette(
    routes=[Route("/", front), Route("/feed", feed), Route("/close", close, methods=["POST"])],
    middleware=[Middleware(DegradeMiddleware, subject=_subject, metrics_path="/metrics")],
    lifespan=desk.open,
)

if __name__ == "__main__":  # the store is named by DEGRADE_STORE
    _, stories_path, port, ranker_url, visits_path = sys.argv
    desk.visits = Path(visits_path)
    desk.stock(load(Path(stories_path)), ranker_url)
    serve(app, int(port))
