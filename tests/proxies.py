"""A TCP proxy that misbehaves on request: cuts, holds its breath, answers in a server's place.

async with Proxy(mariadb.port) as proxy:
    proxy.cut_at(b"COMMIT", passed_on=True)     # the server commits, we never hear of it
"""

import asyncio
from collections.abc import Callable
from typing import Self


class Link:
    """One client's connection and its continuation to the server."""

    def __init__(
        self,
        client: tuple[asyncio.StreamReader, asyncio.StreamWriter],
        server: tuple[asyncio.StreamReader, asyncio.StreamWriter],
    ) -> None:
        self.from_client, self.to_client = client
        self.from_server, self.to_server = server
        # The server's next answer is lost, and the connection with it.
        self.loses_answer = False

    def cut(self) -> None:
        self.to_client.close()
        self.to_server.close()


Trap = Callable[[bytes, Link], None]


class Proxy:
    """Stands before a port of this machine; `port` is its own."""

    def __init__(self, target: int) -> None:
        self.target = target
        self.port = 0
        self.connections = 0
        self._trap: tuple[bytes, Trap] | None = None
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._links: list[Link] = []
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._listener = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = self._listener.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._listener.close()
        self.cut()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def cut(self) -> None:
        """Cut all connections now; new ones are let through."""
        for link in self._links:
            link.cut()
        self._links.clear()

    def stall(self) -> None:
        """Let nothing through, in neither direction, and close nothing."""
        self._flowing.clear()

    def flow(self) -> None:
        self._flowing.set()

    def cut_at(self, word: bytes, *, passed_on: bool) -> None:
        """Once, when a client sends word: cut it off.

        passed_on: after the server was told and has answered; else it never learns of it.
        """

        def cut(data: bytes, link: Link) -> None:
            if passed_on:
                link.loses_answer = True
                link.to_server.write(data)
            else:
                link.cut()

        self._trap = (word, cut)

    def stall_at(self, word: bytes) -> None:
        """Once, when a client sends word: let that and nothing after it through."""

        def stall(data: bytes, link: Link) -> None:
            self.stall()
            link.to_server.write(data)

        self._trap = (word, stall)

    def answer_at(self, word: bytes, reply: bytes) -> None:
        """Once, when a client sends word: answer in the server's place, who never sees it."""

        def answer(_: bytes, link: Link) -> None:
            link.to_client.write(reply)

        self._trap = (word, answer)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            server = await asyncio.open_connection("127.0.0.1", self.target)
        except OSError:
            writer.close()
            return
        link = Link((reader, writer), server)
        self._links.append(link)
        for pump in (self._upwards(link), self._downwards(link)):
            task = asyncio.create_task(pump)
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _upwards(self, link: Link) -> None:
        try:
            while data := await link.from_client.read(65536):
                await self._flowing.wait()
                if self._trap is not None and self._trap[0] in data:
                    act, self._trap = self._trap[1], None
                    act(data, link)
                else:
                    link.to_server.write(data)
        except ConnectionError:
            pass
        finally:
            link.cut()

    async def _downwards(self, link: Link) -> None:
        try:
            while data := await link.from_server.read(65536):
                await self._flowing.wait()
                if link.loses_answer:
                    return
                link.to_client.write(data)
        except ConnectionError:
            pass
        finally:
            link.cut()
