"""The doorbell, on a real Redis that goes away and comes back."""

import asyncio
from collections.abc import AsyncIterator, Callable

import msgspec
import pytest
from redis.asyncio import Redis as Client

from server import doorbell
from server.doorbell import CHANNEL, Doorbell, Ring
from sql.events import Event
from tests.servers import Redis

PATIENCE_S = 20.0


class Ear:
    """What a process hears; one can wait for it."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, int]] = []
        self._news = asyncio.Event()

    def __call__(self, stream: str, seq: int) -> None:
        self.heard.append((stream, seq))
        self._news.set()

    async def hear(self, stream: str, seq: int) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while (stream, seq) not in self.heard:
                self._news.clear()
                await self._news.wait()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not condition():  # noqa: ASYNC110 - the bell tells nobody that it is up.
            await asyncio.sleep(0.01)


@pytest.fixture(autouse=True)
def in_a_hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doorbell, "LISTEN_S", 0.2)
    monkeypatch.setattr(doorbell, "RECONNECT_S", 0.05)


@pytest.fixture
async def bells(own_redis: Redis) -> AsyncIterator[tuple[Doorbell, Ear, Doorbell, Ear]]:
    """Two processes, both connected."""
    ears = Ear(), Ear()
    one, two = (
        Doorbell(own_redis.url, name=name, rung=ear)
        for name, ear in zip(("one", "two"), ears, strict=True)
    )
    one.start()
    two.start()
    await until(lambda: one.is_up and two.is_up)
    yield one, ears[0], two, ears[1]
    await one.stop()
    await two.stop()


def event(stream: str, seq: int) -> Event:
    return Event(stream, "epoch", seq, "ticket.called", 0, 0, b"{}", b"")


async def test_the_others_hear_where_a_stream_stands_and_oneself_does_not(
    bells: tuple[Doorbell, Ear, Doorbell, Ear],
) -> None:
    one, own, _, other = bells

    one.told([event("stall:7", 1), event("stall:7", 2), event("stall:8", 5)])
    await other.hear("stall:8", 5)
    await other.hear("stall:7", 2)

    assert ("stall:7", 1) not in other.heard
    assert own.heard == []


async def test_anything_with_a_name_can_be_rung_for(
    bells: tuple[Doorbell, Ear, Doorbell, Ear],
) -> None:
    one, _, _, other = bells

    one.ring("ended:7", 0)

    await other.hear("ended:7", 0)


@pytest.mark.parametrize("how", ["paused", "killed"])
async def test_a_redis_that_goes_away_is_noticed_and_so_is_its_return(
    bells: tuple[Doorbell, Ear, Doorbell, Ear],
    own_redis: Redis,
    how: str,
    expect_log: Callable[[str], None],
) -> None:
    expect_log("the doorbell is away")
    one, _, two, other = bells

    own_redis.pause() if how == "paused" else own_redis.kill()
    # Ringing fails and holds nobody up.
    one.told([event("stall:7", 3)])
    await until(lambda: not one.is_up and not two.is_up)
    assert not await one.ping()

    await asyncio.to_thread(own_redis.resume if how == "paused" else own_redis.start)
    await until(lambda: one.is_up and two.is_up)
    assert await one.ping()
    one.told([event("stall:7", 4)])

    await other.hear("stall:7", 4)


async def test_a_connection_cut_by_redis_is_made_again(
    bells: tuple[Doorbell, Ear, Doorbell, Ear],
    own_redis: Redis,
    expect_log: Callable[[str], None],
) -> None:
    expect_log("the doorbell is away")
    one, _, two, other = bells
    client: Client = Client.from_url(own_redis.url)

    await client.client_kill_filter(_type="pubsub")
    await until(lambda: not one.is_up and not two.is_up)
    await until(lambda: one.is_up and two.is_up)
    one.told([event("stall:7", 9)])

    await other.hear("stall:7", 9)
    await client.aclose()


async def test_what_somebody_else_says_on_the_channel_is_not_believed(
    bells: tuple[Doorbell, Ear, Doorbell, Ear],
    own_redis: Redis,
    expect_log: Callable[[str], None],
) -> None:
    expect_log("something else speaks")
    _, _, _, other = bells
    client: Client = Client.from_url(own_redis.url)

    for nonsense in (b"\xff", b"{}", b'{"sender":1}', b"[1]"):
        await client.publish(CHANNEL, nonsense)
    await client.publish(CHANNEL, msgspec.json.encode(Ring("third", {"stall:7": 1})))

    await other.hear("stall:7", 1)
    assert other.heard == [("stall:7", 1)]
    await client.aclose()


async def test_without_redis_a_bell_can_be_rung_and_stopped(own_redis: Redis) -> None:
    own_redis.kill()
    bell = Doorbell(own_redis.url, name="one", rung=Ear())
    bell.start()

    bell.told([event("stall:7", 1)])
    assert not await bell.ping()
    await bell.stop()

    assert not bell.is_up
