"""Cabinets that were cut off come back all at once, while somebody opens a door."""

import asyncio
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from simulators.xiaomai import Cabinet
from tests.cabinets.city import City
from tests.cabinets.world import Person
from tests.chaos.database import Books

pytestmark = pytest.mark.torture

EACH = 10
DEVICES = 500
OPENS = 100


def speak(cabinet: Cabinet) -> None:
    """What it has to tell after a while without a line: EACH things, in this order."""
    for _ in range(EACH // 2):
        cabinet.raise_alarm("power")
        cabinet.clear_alarm("power")


async def open_a_door(person: Person, sticker: str) -> float:
    began = time.monotonic()
    opened = await person.open(sticker)
    assert opened["session"]["state"] in {"opening", "open"}
    return time.monotonic() - began


@pytest.mark.timeout(7200)
async def test_a_storm_is_kept_whole_and_in_order_and_doors_open_meanwhile(
    tmp_path: Path,
    sqlite_url: str,
    torture_share: float,
    record_property: Callable[[str, object], None],
) -> None:
    count = max(20, round(DEVICES * torture_share))
    opens = min(count, max(10, round(OPENS * torture_share)))
    async with City(tmp_path, sqlite_url) as city:
        await city.open([f"XM-{number}" for number in range(count)])
        people = [await city.shopper(f"shopper-{n}", tickets=1_000) for n in range(opens)]
        courier = city.world.xiaomai.courier
        before = len(courier.all)

        cabinets = [city.world.xiaomai.cabinet(code) for code in city.cabinets]
        courier.pause()
        for cabinet in cabinets:
            speak(cabinet)
        began = time.monotonic()
        assert courier.release() == count * EACH
        taken = []
        for person, cabinet in zip(people, cabinets, strict=False):
            taken.append(await open_a_door(person, cabinet.door(1).qr_token))
            await asyncio.sleep(0.02)
        await courier.idle()
        lasted = time.monotonic() - began
        while any(one.state == "waiting" for one in courier.all):
            await city.turn(5)
        await city.turn(5)

        storm = list(courier.all)[before:]
        thanked = {one.event_id for one in storm if any(each.is_thanked for each in one.attempts)}
        statuses = {each.status for one in storm for each in one.attempts}
        assert {one.state for one in storm} == {"delivered"}
        assert statuses <= {200, 503}
        assert await city.nodes[0].stop() == 0
        with Books.open(city.database_url) as books:
            rows = books.rows(
                "SELECT event_id, device_code, body, state, ended_at FROM callback_inbox"
                " WHERE event_type = 'Alarm' ORDER BY id"
            )

    kept = {event_id for event_id, *_ in rows}
    alarms = {one.event_id for one in storm if one.event_type.startswith("device.alarm")}
    assert alarms == kept & thanked
    assert len(alarms) == count * EACH
    assert {state for *_, state, _ in rows} == {"done"}
    seqs: dict[str, list[int]] = defaultdict(list)
    ends: dict[str, list[int]] = defaultdict(list)
    for _, code, body, _, ended_at in rows:
        seqs[code].append(msgspec.json.decode(body)["seq"])
        ends[code].append(ended_at)
    assert all(each == sorted(each) for each in (*seqs.values(), *ends.values()))
    taken.sort()
    record_property("callbacks", count * EACH)
    record_property("callbacks_per_s", round(count * EACH / lasted))
    record_property("open_p50_ms", round(taken[len(taken) // 2] * 1000))
    record_property("open_p99_ms", round(taken[int(len(taken) * 0.99)] * 1000))
