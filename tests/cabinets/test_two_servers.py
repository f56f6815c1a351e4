"""Two servers on one MariaDB, with Redis as their doorbell, serve the same cabinets."""

import asyncio
import itertools
from collections.abc import AsyncIterator
from pathlib import Path
from random import Random

import msgspec
import pytest

from tests.cabinets.city import City
from tests.cabinets.day import Day
from tests.cabinets.trouble import in_trouble
from tests.chaos.database import Books
from tests.logs import LogWatch
from tests.servers import Redis

pytestmark = pytest.mark.mariadb

CODES = ["XM-1", "XM-2"]


@pytest.fixture
async def city(tmp_path: Path, mariadb_url: str, redis_server: Redis) -> AsyncIterator[City]:
    redis_server.flush()
    made = City(tmp_path, mariadb_url, servers=2, redis=redis_server.url)
    async with made as city:
        await city.open(CODES)
        yield city


@pytest.mark.torture
@pytest.mark.timeout(7200)
async def test_doors_opened_at_one_are_told_of_at_the_other_and_all_books_agree(
    city: City, dice: Random, log_watch: LogWatch, torture_rounds: int
) -> None:
    in_trouble(log_watch)
    people = [await city.shopper(f"shopper-{n}", tickets=20_003) for n in range(4)]
    day = Day(city, people, dice, trips=max(2, torture_rounds // 2), trouble=0.2)

    await day.go_by()
    await day.go_home()

    assert (await city.settle(day))["sessions"] > 0


async def test_two_who_tap_at_two_servers_get_one_door(city: City) -> None:
    people = [await city.shopper(f"shopper-{n}", tickets=20_003) for n in range(6)]
    sticker = city.world.xiaomai.cabinet("XM-1").door(1).qr_token

    answers = await asyncio.gather(
        *(person.open(sticker) for person in people), return_exceptions=True
    )
    await city.turn(1)

    opened = [answer for answer in answers if isinstance(answer, dict)]
    refused = [answer for answer in answers if isinstance(answer, Exception)]
    assert len(opened) == 1
    assert {getattr(answer, "code", repr(answer)) for answer in refused} == {
        "door_session.door_busy"
    }
    (opening,) = city.world.xiaomai.openings.values()
    assert opening.asked.session_no == opened[0]["session"]["no"]


async def test_that_a_cabinet_is_away_is_judged_once(city: City) -> None:
    device_id = city.cabinets["XM-1"]
    city.world.xiaomai.cabinet("XM-1").disconnect()

    live = {"sale_lock": ""}
    for _ in range(200):
        # In steps that no server takes for a sleep of its own.
        await city.turn(25)
        live = await city.boss.ask("GET", f"/admin/devices/{device_id}/live")
        if live["sale_lock"]:
            break

    assert (live["link"], live["sale_lock"]) == ("offline", "offline")
    with Books.open(city.database_url) as books:
        told = books.rows(
            "SELECT e.data FROM events e JOIN streams s ON s.id = e.stream_id"
            " WHERE s.name = ? AND e.name = 'device.link' ORDER BY e.seq",
            f"cabinet:{device_id}",
        )
        alerts = books.value("SELECT COUNT(*) FROM alerts WHERE kind = 'cabinet.offline'")
    said = [msgspec.json.decode(data) for (data,) in told]
    states = [(each["link"], each["sale_lock"]) for each in said]
    assert states == [state for state, _ in itertools.groupby(states)], "told twice"
    assert states[-2:] == [("offline", ""), ("offline", "offline")]
    assert alerts == 1
