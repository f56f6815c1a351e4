"""A day of shopping with faults on; then four books say the same, to the fen and the ticket."""

from collections.abc import Callable
from random import Random

import pytest

from tests.cabinets.agreement import agree
from tests.cabinets.day import Day
from tests.cabinets.town import Town
from tests.cabinets.trouble import in_trouble
from tests.logs import LogWatch


async def day_of(town: Town, dice: Random, *, people: int, trips: int, trouble: float) -> Day:
    shoppers = [
        await town.shopper(f"shopper-{number}", tickets=dice.choice((500, 20_003, 60_000)))
        for number in range(people)
    ]
    return Day(town, shoppers, dice, trips=trips, trouble=trouble)


async def test_after_a_quiet_day_all_books_agree(one_town: Town, dice: Random) -> None:
    day = await day_of(one_town, dice, people=3, trips=2, trouble=0)

    await day.go_by()
    await day.go_home()
    await day.end()

    assert (await agree(one_town, day))["orders"] > 0


@pytest.mark.torture
@pytest.mark.timeout(7200)
async def test_after_a_day_of_trouble_all_books_agree(
    town: Town,
    dice: Random,
    log_watch: LogWatch,
    torture_share: float,
    record_property: Callable[[str, object], None],
) -> None:
    in_trouble(log_watch)
    trips = max(3, round(200 * torture_share))
    day = await day_of(town, dice, people=4, trips=trips, trouble=0.5)

    await day.go_by()
    await day.go_home()
    await day.end()

    for name, value in (await agree(town, day)).items():
        record_property(name, value)
