"""A TCP proxy whose behaviour changes while it runs: delays, silence, resets, refusals.

    with Proxy(server.port) as proxy:
        degrade.configure(store=f"redis://127.0.0.1:{proxy.port}/0")
        proxy.blackhole()      # a partition
        proxy.heal()

It runs in a thread of the test, with an event loop of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import threading
from collections.abc import Callable, Coroutine, Iterator
from types import TracebackType
from typing import Any, Self, TypeVar

from tests.servers.ports import free_port

__all__ = ("Proxy", "silent_port")

T = TypeVar("T")

_CHUNK = 65_536
_PATIENCE_S = 10.0
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


class Proxy:
    """Stands between clients and a server on loopback.

    Attributes:
        port: Where clients connect.
        delay_s: How long each chunk is held, in both directions.
        up_bytes: Forwarded to the server.
        down_bytes: Forwarded to clients.
        accepted: Connections taken so far.
    """

    host = "127.0.0.1"

    def __init__(self, target_port: int, *, target_host: str = "127.0.0.1") -> None:
        self.port = free_port()
        self.delay_s = 0.0
        self.up_bytes = 0
        self.down_bytes = 0
        self.accepted = 0
        self._target = (target_host, target_port)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)
        self._listener: socket.socket | None = None
        self._links: dict[asyncio.Task[None], socket.socket] = {}
        self._flowing = asyncio.Event()
        self._resetting = False

    def __enter__(self) -> Self:
        self._flowing.set()
        self._thread.start()
        self._run(self._listen())
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._run(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_PATIENCE_S)
        self._loop.close()

    # ------------------------------------------------------------------ what it does

    @property
    def connections(self) -> int:
        """Return how many connections of clients are open now."""
        return len(self._links)

    def blackhole(self) -> None:
        """Take connections and bytes, and forward nothing either way until healed.

        As after lost packets that TCP sends again, what was held arrives once healed.
        """
        self._now(self._flowing.clear)

    def reset(self) -> None:
        """Reset (RST) every connection, and each new one as it comes, until healed."""
        self._resetting = True
        self.cut()

    def refuse(self) -> None:
        """Refuse new connections, as a closed port does, until healed; cut those there are."""
        self._run(self._stop_listening())
        self.cut()

    def cut(self) -> None:
        """Reset every connection there is; new ones are welcome."""
        self._run(self._cut())

    def heal(self) -> None:
        """Forward everything again, without delay."""
        self.delay_s = 0.0
        self._resetting = False
        self._now(self._flowing.set)
        self._run(self._listen())

    @contextlib.contextmanager
    def partition(self) -> Iterator[None]:
        """Forward nothing inside the block."""
        self.blackhole()
        try:
            yield
        finally:
            self.heal()

    # ------------------------------------------------------------------ in the loop

    async def _listen(self) -> None:
        if self._listener is None:
            self._listener = socket.create_server((self.host, self.port), backlog=128)
            self._listener.settimeout(0)
            self._loop.add_reader(self._listener, self._accept, self._listener)

    async def _stop_listening(self) -> None:
        if self._listener is not None:
            self._loop.remove_reader(self._listener)
            self._listener.close()
            self._listener = None

    async def _close(self) -> None:
        await self._stop_listening()
        await self._cut()
        while others := asyncio.all_tasks() - {asyncio.current_task()}:
            await asyncio.wait(others)
        await asyncio.sleep(0)  # closed transports say goodbye one round later

    async def _cut(self) -> None:
        for link, peer in self._links.items():
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
            link.cancel()
        await asyncio.gather(*self._links, return_exceptions=True)

    def _accept(self, listener: socket.socket) -> None:
        """Take what waits, without asyncio's accepting, which loses a socket when cancelled."""
        with contextlib.suppress(BlockingIOError):
            while True:
                peer, _ = listener.accept()
                peer.settimeout(0)
                self.accepted += 1
                if self._resetting:
                    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
                    peer.close()
                    continue
                link = self._loop.create_task(self._join(peer))
                self._links[link] = peer
                link.add_done_callback(self._ended)

    def _ended(self, link: asyncio.Task[None]) -> None:
        self._links.pop(link).close()

    async def _join(self, peer: socket.socket) -> None:
        """Forward both directions until one of them ends."""
        await self._flowing.wait()
        with contextlib.ExitStack() as ends:
            try:
                server_reader, server_writer = await asyncio.open_connection(*self._target)
                ends.callback(server_writer.transport.abort)
                reader, writer = await asyncio.open_connection(sock=peer)
                ends.callback(writer.transport.abort)
            except OSError:
                return  # the server is gone, and so shall the client's connection be
            up = asyncio.ensure_future(self._pump(reader, server_writer, self._count_up))
            down = asyncio.ensure_future(self._pump(server_reader, writer, self._count_down))
            ends.callback(up.cancel)
            ends.callback(down.cancel)
            await asyncio.wait((up, down), return_when=asyncio.FIRST_COMPLETED)

    async def _pump(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        count: Callable[[int], None],
    ) -> None:
        """Forward one direction until its end; each chunk keeps its own delay."""
        held: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()

        async def take() -> None:
            chunk = b"-"
            while chunk:
                chunk = await reader.read(_CHUNK)
                held.put_nowait((self._loop.time() + self.delay_s, chunk))

        taking = asyncio.ensure_future(take())
        try:
            while True:
                due, chunk = await held.get()
                await asyncio.sleep(max(0.0, due - self._loop.time()))
                await self._flowing.wait()
                if not chunk:
                    return
                count(len(chunk))
                writer.write(chunk)
                await writer.drain()
        finally:
            taking.cancel()
            await asyncio.gather(taking, return_exceptions=True)

    def _count_up(self, size: int) -> None:
        self.up_bytes += size

    def _count_down(self, size: int) -> None:
        self.down_bytes += size

    # ------------------------------------------------------------------ from the test's thread

    def _run(self, doing: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(doing, self._loop).result(_PATIENCE_S)

    def _now(self, do: Callable[[], object]) -> None:
        async def doing() -> None:
            do()

        self._run(doing())


@contextlib.contextmanager
def silent_port() -> Iterator[int]:
    """Give a port where connecting hangs, as when packets are dropped: its queue is full."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(4):
            filler = stack.enter_context(socket.socket())
            filler.settimeout(0)
            with contextlib.suppress(BlockingIOError):
                filler.connect(listener.getsockname())
        yield listener.getsockname()[1]
