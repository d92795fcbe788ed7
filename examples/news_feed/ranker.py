"""The ranker: scores stories for a reader, and collects the views that feeds report.

    GET  /rank?user=&count=   {"nonce": ..., "stories": [{"id": ..., "score": ...}, ...]}, best first
    POST /views               {"receipt": number of views so far}
    GET  /health              "ok"

The nonce is new in every answer, so that whoever sees it twice knows that an answer was reused.
"""

from __future__ import annotations

import argparse
import secrets
from pathlib import Path

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse
from starlette.routing import Route

from examples.news_feed.interactions import generate
from examples.news_feed.model import train
from examples.news_feed.readers import READERS, reader_id
from examples.news_feed.serve import serve
from examples.news_feed.stories import PAGE, Story, load

__all__ = ("build",)

_SEED = 20_26


def build(stories: list[Story]) -> Starlette:
    """Train the model and return the application that serves it."""
    seen = generate(stories, READERS, seed=_SEED)
    model = train(seen, stories, readers=READERS)
    numbers = {reader_id(number): number for number in range(READERS)}
    views = 0

    async def rank(request: Request) -> JSONResponse:
        count = int(request.query_params.get("count", PAGE))
        reader = numbers.get(request.query_params.get("user", ""))
        best = [
            {"id": stories[story].id, "score": round(score, 6)}
            for story, score in model.top(reader, count)
        ]
        return JSONResponse({"nonce": secrets.token_hex(8), "stories": best})

    async def view(request: Request) -> JSONResponse:
        nonlocal views
        await request.body()
        views += 1
        return JSONResponse({"receipt": views})

    async def health(_: Request) -> PlainTextResponse:
        return PlainTextResponse("ok")

    return Starlette(
        routes=[
            Route("/rank", rank),
            Route("/views", view, methods=["POST"]),
            Route("/health", health),
        ]
    )


def main() -> None:
    """Serve the ranker."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--stories", type=Path, required=True)
    options = parser.parse_args()
    serve(build(load(options.stories)), options.port)


if __name__ == "__main__":
    main()
