"""How a process of the example serves an application: one place for the settings of uvicorn."""

from __future__ import annotations

import gc

import uvicorn
from starlette.types import ASGIApp

from examples.news_feed.bound import die_with_parent


def serve(app: ASGIApp, port: int) -> None:
    """Serve on loopback until SIGTERM.

    Connections are kept for longer than any client of the example keeps them idle, so that no
    request is ever written into one that is being closed.
    """
    die_with_parent()
    gc.collect()
    gc.freeze()  # imported modules live as long as the process; do not walk them again
    uvicorn.run(
        app, host="127.0.0.1", port=port, loop="asyncio", http="httptools", access_log=False,
        log_level="warning", timeout_keep_alive=75, timeout_graceful_shutdown=2,
    )  # fmt: skip
