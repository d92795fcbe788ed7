"""The readers, as an open loop: every request is sent when it is due, whatever became of others.

Latency counts from the moment a request was due, so that a stall is felt by every request that
falls into it. Every answer goes to a file, at once. SIGTERM ends it: nothing more is sent, and it
waits for the answers that are still to come.

It is a load balancer, too: a line of JSON on standard input, a list of ports, says where requests
go from now on. It is repeated on standard output once no other port has a request under way.
"""

from __future__ import annotations

import asyncio
import gc
import json
import random
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TextIO

import aiohttp

from examples.news_feed import answers
from examples.news_feed.answers import Answer, Classifier, Kind, Looks, Says, reader_id
from examples.news_feed.bound import die_with_parent
from examples.news_feed.stories import load, newest


class Load:
    """Sends requests at `rate` a second to the ports in turn, for readers drawn at random."""

    def __init__(
        self, ports: Sequence[int], *, rate: float, newest_ids: Sequence[str], out: TextIO
    ) -> None:
        self._ports = ports
        self._rate = rate
        self._classifier = Classifier(newest_ids)
        self._out = out
        self._random = random.Random(7)
        self._wall = time.time() - time.perf_counter()
        self._tasks: dict[asyncio.Task[None], int] = {}

    def now(self) -> float:  # Unix seconds that never step
        return self._wall + time.perf_counter()

    async def send_to(self, ports: Sequence[int]) -> None:
        """Send to these ports only; return when no other one has a request under way."""
        self._ports = list(ports)
        await asyncio.gather(*(task for task, port in self._tasks.items() if port not in ports))

    async def run(self, stop: asyncio.Event) -> None:
        """Send until `stop`, then wait for what is under way."""
        connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=30)
        async with aiohttp.ClientSession(
            connector=connector, timeout=aiohttp.ClientTimeout(total=10.0),
            headers={"User-Agent": answers.LOAD_AGENT},
        ) as session:  # fmt: skip
            due, number = self.now(), 0
            while not stop.is_set():
                due += self._random.expovariate(self._rate)
                if (wait_s := due - self.now()) > 0:
                    await asyncio.sleep(wait_s)
                reader = reader_id(self._random.randrange(answers.READERS))
                port = self._ports[number % len(self._ports)]
                task = asyncio.create_task(self._request(session, due, port, reader))
                self._tasks[task] = port
                task.add_done_callback(self._tasks.pop)
                number += 1
            await asyncio.gather(*self._tasks)

    async def _request(
        self, session: aiohttp.ClientSession, due: float, port: int, reader: str
    ) -> None:
        sent = self.now()
        says: Says | None = None
        try:
            async with session.get(f"http://127.0.0.1:{port}/feed?user={reader}") as answer:
                body = await answer.read()
        except (aiohttp.ClientError, TimeoutError) as error:
            done, looks = self.now(), Looks(Kind.FAILED, problem=repr(error))
        else:
            done = self.now()
            looks = self._classifier.classify(answer.status, body, reader)
            says = answers.read_headers(answer.headers, "feed.ranking")
        record = Answer(
            due=due, sent=sent, done=done, port=port, reader=reader, says=says, **looks._asdict()
        )
        self._out.write(record.line())


async def _obey(readers: Load) -> None:
    lines = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(lines), sys.stdin
    )
    async for line in lines:
        await readers.send_to(json.loads(line))
        print(line.decode(), end="", flush=True)


async def _run(stories: Path, rate: float, path: Path, ports: Sequence[int]) -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    ids = [story.id for story in newest(load(stories))]
    with path.open("w", encoding="utf-8", buffering=1) as out:
        readers = Load(ports, rate=rate, newest_ids=ids, out=out)
        gc.collect()
        gc.freeze()
        obeying = asyncio.create_task(_obey(readers))
        await readers.run(stop)
        obeying.cancel()


if __name__ == "__main__":
    die_with_parent()
    _, stories_path, rate, path, *ports = sys.argv
    asyncio.run(_run(Path(stories_path), float(rate), Path(path), list(map(int, ports))))
