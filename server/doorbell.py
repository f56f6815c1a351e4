"""Redis as a doorbell between processes: "stream X is now at seq N", never more.

Whoever misses a ring reads the database a little later. Redis is down: slower, never wrong.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable

import msgspec
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from sql.events import Event

log = logging.getLogger("callme.doorbell")

CHANNEL = "callme:doorbell"
SOCKET_TIMEOUT_S = 0.3
RECONNECT_S = 0.5
# Silence on the subscribed connection for so long is looked into with a ping; a Redis that holds
# its breath leaves that unanswered for as long again.
LISTEN_S = 2.0


class Ring(msgspec.Struct, frozen=True):
    """Where streams stand; sender, so that a process does not answer its own bell."""

    sender: str
    heads: dict[str, int]


_decoder = msgspec.json.Decoder(Ring)


class Doorbell:
    """rung(stream, seq) is called for every ring of another process."""

    def __init__(self, url: str, *, name: str, rung: Callable[[str, int], None]) -> None:
        self._url = url
        self._name = name
        self._rung = rung
        self._heads: dict[str, int] = {}
        self._ready = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._redis = self._connect(SOCKET_TIMEOUT_S)
        self.is_up = False

    def _connect(self, timeout_s: float | None) -> Redis:
        # redis-py repeats commands on its own by default, which hides failures for a minute.
        client: Redis = Redis.from_url(
            self._url,
            socket_timeout=timeout_s,
            socket_connect_timeout=SOCKET_TIMEOUT_S,
            retry=Retry(NoBackoff(), 0),
            max_connections=4,
        )
        return client

    def start(self) -> None:
        self._tasks = [
            asyncio.create_task(self._ring_forever(), name="doorbell-ring"),
            asyncio.create_task(self._listen_forever(), name="doorbell-listen"),
        ]

    def told(self, events: Iterable[Event]) -> None:
        """Ring for committed events; returns at once, later heads of a stream replace earlier."""
        for event in events:
            self.ring(event.stream, event.seq)

    def ring(self, name: str, seq: int) -> None:
        """Ring for anything that has a name; returns at once."""
        self._heads[name] = seq
        self._ready.set()

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._redis.aclose()

    async def ping(self) -> bool:
        """Whether Redis answers now."""
        try:
            return bool(await self._redis.ping())
        except (RedisError, OSError, TimeoutError):
            return False

    async def _ring_forever(self) -> None:
        while True:
            await self._ready.wait()
            self._ready.clear()
            heads, self._heads = self._heads, {}
            try:
                await self._redis.publish(CHANNEL, msgspec.json.encode(Ring(self._name, heads)))
            except (RedisError, OSError, TimeoutError) as error:
                # The others find out by their slow look at the database.
                log.debug("the doorbell did not ring: %s", error)

    async def _listen_forever(self) -> None:
        while True:
            try:
                await self._listen()
            except (RedisError, OSError, TimeoutError) as error:
                if self.is_up:
                    log.warning("the doorbell is away: %s", error)
                self.is_up = False
            await asyncio.sleep(RECONNECT_S)

    async def _listen(self) -> None:
        """Hear rings until the connection fails."""
        async with self._redis.pubsub() as pubsub:
            await pubsub.subscribe(CHANNEL)
            asked = False
            while True:
                message = await pubsub.get_message(timeout=LISTEN_S)
                if message is None and asked:
                    raise TimeoutError("a ping was not answered")
                asked = message is None
                if message is None:
                    await pubsub.ping()
                elif message["type"] == "subscribe":
                    self.is_up = True
                    log.info("the doorbell is connected")
                elif message["type"] == "message":
                    self._hear(message["data"])

    def _hear(self, data: bytes) -> None:
        try:
            ring = _decoder.decode(data)
        except msgspec.DecodeError:
            log.warning("something else speaks on %s", CHANNEL)
            return
        if ring.sender != self._name:
            for stream, seq in ring.heads.items():
                self._rung(stream, seq)
