"""kill -9 in the middle of shopping: doors are followed, money is taken once, nothing is lost."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest

from tests.cabinets.city import City
from tests.cabinets.day import Day
from tests.cabinets.trouble import in_trouble
from tests.chaos.cluster import Node
from tests.logs import LogWatch

pytestmark = pytest.mark.torture

CODES = ["XM-1", "XM-2"]
PEOPLE = 4


async def reap(node: Node, dice: Random, times: int) -> int:
    """Kill it, again and again, wherever it is; how often."""
    for _ in range(times):
        await asyncio.sleep(dice.uniform(0.05, 0.6))
        node.kill()
        await asyncio.sleep(dice.uniform(0, 0.2))
        await node.start()
    return times


@pytest.mark.timeout(7200)
async def test_whenever_it_is_killed_all_books_agree_in_the_end(
    tmp_path: Path,
    sqlite_url: str,
    dice: Random,
    log_watch: LogWatch,
    torture_rounds: int,
    record_property: Callable[[str, object], None],
) -> None:
    in_trouble(log_watch)
    async with City(tmp_path, sqlite_url) as city:
        await city.open(CODES)
        people = [await city.shopper(f"shopper-{n}", tickets=20_003) for n in range(PEOPLE)]
        day = Day(city, people, dice, trips=max(2, torture_rounds), trouble=0.2)

        reaping = asyncio.create_task(reap(city.nodes[0], dice, torture_rounds))
        await day.go_by()
        kills = await reaping
        await day.go_home()
        figures = await city.settle(day)

        for name, value in (figures | {"kills": kills}).items():
            record_property(name, value)
