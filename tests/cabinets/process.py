"""A server as a process of its own, whose clock a test turns.

It is `run.py serve` but for the clock: how far it is ahead of the machine's stands in a file.
"""

import asyncio
import logging
import mmap
import os
import signal
from pathlib import Path

from server import jobs
from server.app import start
from server.clock import now as machine_now
from server.config import load

CLOCK = "TURNED_CLOCK"
# A turned clock is noticed so soon, where a server looks once a second.
LOOK_EVERY_S = 0.05


class TurnedClock:
    """Milliseconds ahead of the machine's clock, in a file that several processes read."""

    def __init__(self, path: Path) -> None:
        if not path.exists():
            path.write_bytes(bytes(8))
        with path.open("r+b") as file:
            self._ahead = mmap.mmap(file.fileno(), 8)

    def now(self) -> int:
        return machine_now() + int.from_bytes(self._ahead[:8], "little")

    def advance(self, seconds: float) -> None:
        ahead = int.from_bytes(self._ahead[:8], "little") + int(seconds * 1000)
        self._ahead[:8] = ahead.to_bytes(8, "little")


async def serve() -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    app = await start(load(), TurnedClock(Path(os.environ[CLOCK])).now)
    await stop.wait()
    await app.stop()


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    jobs.LOOK_EVERY_S = LOOK_EVERY_S
    asyncio.run(serve())
