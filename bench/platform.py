"""The vendor's side of cabinets, at the pace of a benchmark: signed callbacks, and doors that open.

As a program (`python -m bench.platform PORT`) it is the vendor's server, which lets every door be
opened at once and has heard of nothing afterwards.
"""

import argparse
import asyncio
import itertools
import json
import sys
import time
from collections.abc import Callable
from typing import Final

from bench.machine import LOAD_CORE
from bench.process import Process
from devices.vendors.xiaomai.signing import Key

APP_ID: Final = "xm_app_bench"
ENDPOINT: Final = "ep_bench"
PATH: Final = f"/cb/xiaomai/{ENDPOINT}/events"

# Of all rounds: an id or a number is never said twice.
_numbers = itertools.count(1)


def code_of(number: int) -> str:
    return f"XM-{number:06d}"


def event(
    secret: str, device_code: str, event_type: str, data: dict[str, object]
) -> tuple[dict[str, str], str]:
    """Headers and body of a callback signed now: a signature is good for five minutes."""
    count, now = next(_numbers), time.time_ns() // 1_000_000
    body = json.dumps(
        {
            "event_id": f"ev_{count:024d}",
            "event_type": event_type,
            "occurred_at": now,
            "sent_at": now,
            "attempt": 1,
            "device_code": device_code,
            "seq": count,
            "boot_id": "b0001",
            "data": data,
        },
        separators=(",", ":"),
    )
    key = Key(APP_ID, "cb1", secret)
    said = key.headers(path=PATH, query="", body=body.encode(), now=now, nonce=f"{count:032d}")
    return said, body


class Courier:
    """Sends callbacks over so many connections, each the next when the last was answered."""

    def __init__(self, port: int, secret: str, *, connections: int) -> None:
        self._port = port
        self._secret = secret
        self._queue: asyncio.Queue[tuple[bytes, Callable[[], None]] | None] = asyncio.Queue()
        self._senders = [asyncio.create_task(self._send()) for _ in range(connections)]
        self.failures = 0

    def put(
        self,
        device_code: str,
        event_type: str,
        data: dict[str, object],
        begin: Callable[[], None] = lambda: None,
    ) -> None:
        """begin: called when it is on its way."""
        headers, body = event(self._secret, device_code, event_type, data)
        said = {
            "Host": "callme",
            "Content-Type": "application/json",
            "Content-Length": str(len(body)),
            **headers,
        }
        head = "".join(f"{name}: {value}\r\n" for name, value in said.items())
        request = f"POST {PATH} HTTP/1.1\r\n{head}\r\n{body}".encode()
        self._queue.put_nowait((request, begin))

    async def rest(self) -> None:
        """Until all is answered."""
        await self._queue.join()

    async def finish(self) -> None:
        """Until all is answered; then hang up."""
        for _ in self._senders:
            self._queue.put_nowait(None)
        await asyncio.gather(*self._senders)

    async def _send(self) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        while (each := await self._queue.get()) is not None:
            request, begin = each
            begin()
            writer.write(request)
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
            size = int(head.partition("content-length: ")[2].partition("\r\n")[0])
            await reader.readexactly(size)
            self.failures += not head.startswith("http/1.1 200")
            self._queue.task_done()
        writer.close()


# ---------------------------------------------------------------- the vendor's server


class Doors:
    """The vendor's server as a process."""

    def __init__(self) -> None:
        self.process = Process("doors")

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.process.port}"

    def start(self) -> None:
        command = [sys.executable, "-m", "bench.platform", str(self.process.port)]
        self.process.spawn(command, core=LOAD_CORE)
        self.process.await_port()

    def stop(self) -> None:
        self.process.stop()


async def _serve(port: int) -> None:
    server = await asyncio.start_server(_answer, "127.0.0.1", port)
    async with server:
        await server.serve_forever()


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while True:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()
            return
        size = int(head.lower().partition("content-length: ")[2].partition("\r\n")[0])
        await reader.readexactly(size)
        now = time.time_ns() // 1_000_000
        is_opening = " /openapi/v1/door/open " in head
        said = {
            # Whoever asks later is told that nobody pulled the door.
            "code": 0 if is_opening else 3003,
            "message": "",
            "request_id": "",
            "server_time": now,
            "data": {
                "accepted": True,
                "wheat_order_no": f"XM{next(_numbers):030d}",
                "device_ack_deadline": now + 20_000,
            },
        }
        body = json.dumps(said).encode()
        writer.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
            + f"Content-Length: {len(body)}\r\n\r\n".encode()
            + body
        )


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("port", type=int)
    asyncio.run(_serve(parser.parse_args().port))
