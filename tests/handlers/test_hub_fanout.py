"""Many listeners, much happening at once: still every event, in order, once."""

import asyncio
import random

import pytest

from handlers.channel import SLICE
from sql.events import Event
from tests.clock import Clock
from tests.handlers.live import Client, Live

STALL = "stall:7"


@pytest.fixture
def is_lean() -> bool:
    """As it is served."""
    return True


async def many(live: Live, count: int) -> list[Client]:
    boards: list[Client] = []
    while len(boards) < count:
        # The kernel lets a hundred wait at the door.
        boards += await asyncio.gather(*(live.board() for _ in range(100)))
    return boards


async def heard(client: Client, count: int) -> list[int]:
    return [(await client.event())["seq"] for _ in range(count)]


async def test_two_thousand_boards_hear_everything_in_order(live: Live) -> None:
    boards = await many(live, 2_000)
    await asyncio.gather(*(board.listen(STALL, since=("e1", 0)) for board in boards))
    # Told while the events before them are still being handed out, slice by slice.
    for _ in range(4):
        for _ in range(5):
            live.happen(STALL)
        await asyncio.sleep(0)

    every = await asyncio.gather(*(heard(board, 20) for board in boards))

    assert len(boards) > 3 * SLICE
    assert all(seqs == list(range(1, 21)) for seqs in every)
    assert live.counters.dropped_slow == 0


async def test_a_large_fan_out_lets_others_have_their_turn(live: Live) -> None:
    boards = await many(live, 3 * SLICE)
    await asyncio.gather(*(board.listen(STALL, since=("e1", 0)) for board in boards))
    sent_before = live.counters.frames_out

    live.happen(STALL)
    steps = []
    while live.counters.frames_out - sent_before < len(boards):
        await asyncio.sleep(0)
        steps.append(live.counters.frames_out - sent_before)

    assert SLICE in steps
    assert 2 * SLICE in steps


class Phone:
    """A client as it should be written: keeps its place, comes back with it."""

    def __init__(self, live: Live, topic: str) -> None:
        self.live = live
        self.topic = topic
        self.place: tuple[str, int] | None = None
        self.seen: list[int] = []
        self.client: Client | None = None

    async def come(self) -> None:
        self.client = await self.live.diner(str(random.randint(1, 10**6)))
        back = await self.client.listen(self.topic, self.place)
        if back["recovered"]:
            self.seen += [event["seq"] for event in back["events"]]
        else:
            # What the picture shows need not be told again.
            self.seen += range(len(self.seen) + 1, back["seq"] + 1)
        self.place = (back["epoch"], back["seq"])

    async def hear(self, upto: int) -> None:
        assert self.client is not None
        while self.place is None or self.place[1] < upto:
            event = await self.client.event()
            self.seen.append(event["seq"])
            self.place = (event["epoch"], event["seq"])

    def go(self) -> None:
        if self.client is not None:
            self.client.hang_up()
        self.client = None


class Disorder:
    """Ours and another process's events, doorbells and polls: early, late, lost and doubled."""

    def __init__(self, live: Live, chance: random.Random) -> None:
        self._live = live
        self._chance = chance
        self._untold: list[Event] = []

    async def go_on(self) -> None:
        live, chance = self._live, self._chance
        match chance.randrange(7):
            case 0 | 1:
                live.happen(STALL, staff_only=chance.random() < 0.3)
            case 2:
                self._untold.append(live.record.write(STALL))
            case 3:
                live.hub.doorbell(STALL, chance.randint(0, live.record.head(STALL).seq))
            case 4:
                live.hub.tell(self._untold)
                self._untold = self._untold if chance.random() < 0.2 else []
            case 5:
                live.hub.check({STALL: live.record.head(STALL)})
            case _:
                await asyncio.sleep(0)


@pytest.mark.parametrize("seed", range(10))
async def test_whatever_happens_everyone_gets_each_event_once(live: Live, seed: int) -> None:
    chance = random.Random(seed)
    phones = [Phone(live, topic) for topic in (STALL, f"{STALL}:staff") for _ in range(3)]
    disorder = Disorder(live, chance)

    for _ in range(150):
        await disorder.go_on()
        phone = chance.choice(phones)
        if chance.random() < 0.1:
            if phone.client is None:
                await phone.come()
            else:
                phone.go()
    live.hub.check({STALL: live.record.head(STALL)})

    last = live.record.head(STALL).seq
    for phone in phones:
        if phone.client is None:
            await phone.come()
        await phone.hear(last)
        assert phone.seen == list(range(1, last + 1))


async def test_ten_rounds_of_coming_and_going_leave_nothing_behind(
    live: Live, clock: Clock
) -> None:
    for _ in range(10):
        clients = [await live.diner(str(number)) for number in range(50)]
        await asyncio.gather(*(client.listen(STALL) for client in clients))
        for client in clients[::2]:
            client.hang_up()
        await asyncio.gather(*(client.leave() for client in clients[1::2]))
        live.happen(STALL)
        stays = await live.board()
        assert (await stays.ask("ping"))["type"] == "pong"
        await stays.leave()
    clock.advance(hours=1)
    live.hub.sweep()

    assert len(live.hub.clients) == 0
    assert live.hub.streams() == []
