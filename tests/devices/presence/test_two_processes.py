"""Two processes on one MariaDB: each deadline, push and beat is somebody's, and nobody's twice."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from devices.fleet.model import StoreCodeTaken
from devices.presence import store
from devices.presence.model import Times
from sql.database import Database, open_database
from tests.clock import Clock
from tests.conftest import Told
from tests.devices.fleet.conftest import BOSS
from tests.devices.presence.conftest import World

pytestmark = pytest.mark.mariadb

DEVICES = 12


@pytest.fixture
async def worlds(mariadb_url: str, clock: Clock) -> AsyncIterator[tuple[World, World]]:
    made: list[tuple[Database, World]] = []
    for _ in range(2):
        told = Told()
        db = await open_database(mariadb_url, now=clock.now, told=told)
        await db.migrate()
        made.append((db, World(db, clock, told)))
    yield made[0][1], made[1][1]
    for db, _ in made:
        await db.close()


async def test_what_two_processes_look_after_is_done_once(worlds: tuple[World, World]) -> None:
    one = worlds[0]
    codes = [world.store() for world in worlds for _ in range(3)]
    made = await asyncio.gather(*codes, return_exceptions=True)
    assert sum(isinstance(each, StoreCodeTaken) for each in made) == 5
    (shop,) = [each for each in made if not isinstance(each, BaseException)]
    devices = [await one.device(f"D-{n}") for n in range(DEVICES)]
    for device in devices:
        await one.fleet.bind(device.id, shop.id, by=BOSS)
        await one.beat(device)
        await one.presence.set_params(device.id, {"volume": 30}, by=BOSS)
    for world in worlds:
        world.told.events.clear()

    claims = await asyncio.gather(
        *(
            world.db.write(store.claim_pushes, times=Times(), most=3)
            for _ in range(4)
            for world in worlds
        )
    )
    one.clock.advance(seconds=150)
    judged = await asyncio.gather(
        *(
            world.db.write(store.judge_due, times=Times(), most=3)
            for _ in range(6)
            for world in worlds
        )
    )

    pushed = [device.id for claim in claims for device in claim]
    asked = [device.id for _, each in judged for device in each]
    assert sorted(pushed) == sorted(asked) == sorted(device.id for device in devices)
    links = [
        event.subject
        for world in worlds
        for event in world.told.events
        if (event.stream, event.name) == ("cabinets", "device.link")
    ]
    assert sorted(links) == sorted(asked)


async def test_both_hear_of_one_device_and_neither_undoes_the_other(
    worlds: tuple[World, World],
) -> None:
    one, other = worlds
    device = await one.bound()
    said = [one.telemetry(device, volume=n, temp_c10=40) for n in range(1, 21)]

    await asyncio.gather(
        *(world.say(device, each) for n, each in enumerate(said) for world in [worlds[n % 2]])
    )
    await asyncio.gather(*(world.db.write(store.flush) for world in worlds))

    now = await other.now(device)
    assert (now.link, now.seq, now.reported["volume"]) == ("online", 20, 20)
    assert now.epoch == 1


async def test_a_process_that_starts_beside_one_that_looks_blinds_nobody(
    worlds: tuple[World, World],
) -> None:
    one, other = worlds
    device = await one.bound()
    await one.beat(device)
    await one.pass_time(minutes=3, beats=[device])

    await other.look()

    assert await other.link(device) == "online"
