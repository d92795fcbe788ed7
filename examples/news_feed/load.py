"""The readers, as an open loop: every request is sent when it is due, whatever became of others.

Latency counts from the moment a request was due, so that a stall is felt by every request that
falls into it. Once a second one line of JSON goes to standard output; every answer goes to a file.
SIGTERM ends it: nothing more is sent, and it waits for the answers that are still to come.

It is a load balancer, too: a line of JSON on standard input, a list of ports, says where requests
go from now on. It is answered by `{"ports": [...]}` once no other port has a request under way.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import random
import signal
import sys
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Final, TextIO

import aiohttp

from examples.news_feed.answers import Answer
from examples.news_feed.bound import die_with_parent
from examples.news_feed.classify import Classifier, Kind, Looks, Says, read_headers
from examples.news_feed.readers import LOAD_AGENT, READERS, reader_id
from examples.news_feed.stats import nearest_rank
from examples.news_feed.stories import load, newest

__all__ = ("Load",)

_TIMEOUT_S: Final = 10.0
_SEED: Final = 7
_SETTLE_S: Final = 1.2
_FLAG: Final = "feed.ranking"


class Load:
    """Sends requests at `rate` a second to the ports in turn, for readers drawn at random."""

    def __init__(
        self, ports: Sequence[int], *, rate: float, newest_ids: Sequence[str], out: TextIO
    ) -> None:
        self._ports = ports
        self._rate = rate
        self._classifier = Classifier(newest_ids)
        self._out = out
        self._random = random.Random(_SEED)
        self._wall = time.time() - time.perf_counter()
        self._seconds: dict[int, list[tuple[float, Kind]]] = defaultdict(list)
        self._born: dict[str, float] = {}
        self._oldest: dict[int, float] = defaultdict(float)
        self._tasks: dict[asyncio.Task[None], int] = {}

    def now(self) -> float:
        """Return Unix seconds that never step."""
        return self._wall + time.perf_counter()

    async def send_to(self, ports: Sequence[int]) -> None:
        """Send to these ports only; return when no other one has a request under way."""
        self._ports = list(ports)
        await asyncio.gather(*(task for task, port in self._tasks.items() if port not in ports))

    async def run(self, stop: asyncio.Event) -> None:
        """Send until `stop`, then wait for what is under way."""
        connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=30)
        timeout = aiohttp.ClientTimeout(total=_TIMEOUT_S)
        headers = {"User-Agent": LOAD_AGENT}
        async with aiohttp.ClientSession(
            connector=connector, timeout=timeout, headers=headers
        ) as session:
            telling = asyncio.create_task(self._tell())
            due = self.now()
            number = 0
            while not stop.is_set():
                due += self._random.expovariate(self._rate)
                if (wait_s := due - self.now()) > 0:
                    await asyncio.sleep(wait_s)
                reader = reader_id(self._random.randrange(READERS))
                port = self._ports[number % len(self._ports)]
                task = asyncio.create_task(self._request(session, due, port, reader))
                self._tasks[task] = port
                task.add_done_callback(self._tasks.pop)
                number += 1
            await asyncio.gather(*self._tasks)
            telling.cancel()
            self._out.flush()

    async def _request(
        self, session: aiohttp.ClientSession, due: float, port: int, reader: str
    ) -> None:
        sent = self.now()
        says: Says | None = None
        try:
            url = f"http://127.0.0.1:{port}/feed?user={reader}"
            async with session.get(url) as answer:
                body = await answer.read()
        except (aiohttp.ClientError, TimeoutError) as error:
            looks = Looks(kind=Kind.FAILED, problem=repr(error))
            done = self.now()
        else:
            done = self.now()
            looks = self._classifier.classify(answer.status, body, reader)
            says = read_headers(answer.headers, _FLAG)
        self._note(
            Answer(due=due, sent=sent, done=done, port=port, reader=reader, looks=looks, says=says)
        )

    def _note(self, answer: Answer) -> None:
        self._out.write(answer.line() + "\n")
        second = int(answer.due)
        self._seconds[second].append((answer.latency_s, answer.kind))
        nonce = answer.looks.nonce
        if nonce is None:
            return
        if answer.kind is Kind.FULL:
            self._born[nonce] = answer.done
        elif nonce in self._born:
            age_s = answer.done - self._born[nonce]
            self._oldest[second] = max(self._oldest[second], age_s)

    async def _tell(self) -> None:
        """Print a line for each second, when most of its answers have come."""
        second = int(self.now()) + 1
        while True:
            await asyncio.sleep(second + 1 + _SETTLE_S - self.now())
            answers = self._seconds.pop(second, [])
            latencies = [latency for latency, _ in answers]
            kinds = [kind.value for _, kind in answers]
            line = {
                "second": second,
                "requests": len(answers),
                "p50": nearest_rank(latencies, 0.50),
                "p99": nearest_rank(latencies, 0.99),
                **{kind.value: kinds.count(kind.value) for kind in Kind},
                "oldest": self._oldest.pop(second, None),
            }
            print(json.dumps(line), flush=True)
            second += 1


async def _obey(readers: Load) -> None:
    """Send where standard input says, line by line."""
    lines = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(lines), sys.stdin
    )
    async for line in lines:
        ports = json.loads(line)
        await readers.send_to(ports)
        print(json.dumps({"ports": ports}), flush=True)


async def _run(options: argparse.Namespace) -> None:
    stories = load(options.stories)
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    with options.out.open("w", encoding="utf-8") as out:
        readers = Load(
            options.port,
            rate=options.rate,
            newest_ids=[story.id for story in newest(stories)],
            out=out,
        )
        gc.collect()
        gc.freeze()
        obeying = asyncio.create_task(_obey(readers))
        await readers.run(stop)
        obeying.cancel()


def main() -> None:
    """Run the load."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--port", type=int, action="append", required=True)
    parser.add_argument("--rate", type=float, required=True)
    parser.add_argument("--stories", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    die_with_parent()
    asyncio.run(_run(parser.parse_args()))


if __name__ == "__main__":
    main()
