"""Counts and moves: once a key, never money; and until when goods keep."""

import asyncio
from typing import Any

import pytest
from sqlalchemy import insert

from devices.fleet.model import DeviceNotFound, DoorNotFound
from devices.stock.model import Count, Counted, CountInvalid, NotRestocking, Shelf
from sql.idempotency import KeyReused
from sql.tables.devices import door_sessions
from sql.transaction import Tx
from tests.devices.stock.conftest import BOSS, CLERK, Depot, place


def counted(*each: Counted, door_no: int = 1, session_id: int = 0) -> Count:
    return Count(door_no=door_no, counted=each, session_id=session_id, reason="evening")


async def count(depot: Depot, *each: Counted, **more: Any) -> dict[str, Shelf]:
    said = counted(*each, **{k: v for k, v in more.items() if k in {"door_no", "session_id"}})
    by, key = more.get("by", BOSS), more.get("key", "")
    return {row.sku: row for row in await depot.stock.count(depot.device, said, by=by, key=key)}


def a_session(tx: Tx, number: int, device_id: int, purpose: str) -> None:
    row: dict[str, Any] = {column.name: 0 for column in door_sessions.columns}
    row |= {
        **dict.fromkeys(("once_key", "request_id", "no"), f"DS{number}"),
        **dict.fromkeys(("vendor", "pay_with", "score_no", "vendor_order_no", "fail_code"), ""),
        **dict.fromkeys(("door_key", "user_key", "due_at", "manual_at"), None),
        "id": number,
        "device_id": device_id,
        "door_no": 1,
        "purpose": purpose,
        "state": "paid",
        "prices": "{}",
    }
    tx.execute(insert(door_sessions), row)


# ---------------------------------------------------------------- moves


async def test_a_move_counts_once_a_key(depot: Depot) -> None:
    await depot.laid_out(place("cola"), place("tea", 2))
    for _ in range(2):
        await depot.move("sale", "A", {"cola": -2, "tea": -1, "milk": 0})
    await depot.move("sale", "B", {"cola": -4})
    await depot.move("correction", "A:2", {"cola": 1})
    await depot.move("return", "A:3", {})

    assert await depot.counts() == {"cola": 0, "tea": 4}
    _, moves = await depot.stock.moves(depot.device, by=BOSS, sku="cola", offset=0, most=9)
    assert [(m.kind, m.delta, m.after) for m in moves] == [
        ("correction", 1, 0),
        ("sale", -4, -1),
        ("sale", -2, 3),
        ("restock", 5, 5),
    ]
    assert sum(move.delta for move in moves) == 0


async def test_what_nobody_has_counted_is_not_counted_down(depot: Depot) -> None:
    await depot.move("sale", "A", {"cola": -2})
    await depot.move("restock", "R", {"tea": 3})

    assert await depot.counts() == {"tea": 3}


async def test_many_at_once_lose_nothing(depot: Depot) -> None:
    await depot.laid_out(place("cola", stock=8), place("tea", 2, stock=8))

    await asyncio.gather(
        *(depot.move("sale", f"A{number // 2}", {"tea": -1, "cola": -1}) for number in range(16))
    )

    assert await depot.counts() == {"cola": 0, "tea": 0}


# ---------------------------------------------------------------- counts


async def test_a_count_is_right_and_leaves_its_line(depot: Depot) -> None:
    await depot.laid_out(place("cola"), place("tea", 2))
    await depot.move("sale", "A", {"cola": -1})
    rows = await count(depot, Counted("cola", 7), Counted("milk", 2, 20261231), key="k")
    again = await count(depot, Counted("cola", 7), Counted("milk", 2, 20261231), key="k")

    assert {sku: row.quantity for sku, row in rows.items()} == {"cola": 7, "milk": 2, "tea": 5}
    assert rows == again
    assert (rows["milk"].expires_on, rows["cola"].expires_on) == (20261231, None)
    total, moves = await depot.stock.moves(depot.device, by=BOSS, offset=0, most=2)
    assert total == 5
    assert {(m.sku, m.kind, m.delta) for m in moves} == {("cola", "count", 3), ("milk", "count", 2)}
    line = (await depot.audit())[-1]
    assert (line.action, line.reason) == ("stock.count", "evening")
    assert '"cola":4' in line.before
    assert '"cola":7' in line.after
    with pytest.raises(KeyReused):
        await count(depot, Counted("cola", 8), key="k")


async def test_a_restocking_counts_as_such(depot: Depot) -> None:
    await depot.laid_out(place("cola"))
    await depot.db.write(a_session, 7, depot.device, "restock")
    await depot.db.write(a_session, 8, depot.device, "shop")
    await depot.db.write(a_session, 9, depot.other, "restock")
    await count(depot, Counted("cola", 8), session_id=7)

    _, moves = await depot.stock.moves(depot.device, by=BOSS, offset=0, most=1)
    assert (moves[0].kind, moves[0].ref, moves[0].delta) == ("restock", "DS7", 3)
    assert (await depot.audit())[-1].action == "stock.restock"
    for wrong in (8, 9, 10):
        with pytest.raises(NotRestocking):
            await count(depot, Counted("cola", 1), session_id=wrong)
    assert await depot.counts() == {"cola": 8}


async def test_a_count_that_cannot_be(one_depot: Depot) -> None:
    with pytest.raises(CountInvalid, match="unknown: gold"):
        await count(one_depot, Counted("gold", 1))
    with pytest.raises(CountInvalid, match="twice"):
        await count(one_depot, Counted("cola", 1), Counted("cola", 2))
    with pytest.raises(DoorNotFound):
        await count(one_depot, Counted("cola", 1), door_no=3)
    said = counted(Counted("cola", 1))
    for ask in (
        one_depot.stock.count(one_depot.other, said, by=CLERK),
        one_depot.stock.stock(one_depot.other, by=CLERK),
        one_depot.stock.moves(one_depot.other, by=CLERK, offset=0, most=9),
    ):
        with pytest.raises(DeviceNotFound):
            await ask
    assert [row.sku for row in await one_depot.stock.stock(one_depot.device, by=CLERK)] == []


# ---------------------------------------------------------------- until when they keep


async def test_what_is_past_its_day_is_not_for_sale_until_it_is_replaced(depot: Depot) -> None:
    await depot.laid_out(
        place("milk", expires_on=20261121, stock=2),
        place("milk", 2, expires_on=20261201),
        place("cola", 3),
    )
    depot.turn(days=1)
    assert await depot.stock.block_expired() == 0
    on_its_day = await depot.snapshot()
    depot.turn(days=1)
    blocked = [await depot.stock.block_expired() for _ in range(2)]
    past = await depot.snapshot()
    alerts = await depot.alerts()
    rows = await count(depot, Counted("milk", 5, 20261201))
    fresh = await depot.snapshot()

    assert on_its_day.blocked == frozenset()
    assert blocked == [1, 0]
    assert (past.blocked, past.prices) == (frozenset({"milk"}), {"cola": 300})
    assert past.stock[1, "milk"] == 7
    assert alerts == {"cabinet.expired": f"device:{depot.device}"}
    assert rows["milk"].blocked_at is None
    assert fresh.prices == {"cola": 300, "milk": 550}
    assert await depot.alerts() == {}


async def test_a_count_of_what_is_past_blocks_it_at_once_and_no_date_frees_it(
    depot: Depot,
) -> None:
    await depot.laid_out(place("milk"))
    past = await count(depot, Counted("milk", 1, 20261119))
    kept = await count(depot, Counted("milk", 2))
    free = await count(depot, Counted("milk", 2, None))

    assert past["milk"].blocked_at == kept["milk"].blocked_at == depot.clock.now()
    assert kept["milk"].expires_on == 20261119
    assert (free["milk"].blocked_at, free["milk"].expires_on) == (None, None)


async def test_what_expires_soon_is_listed_by_day(depot: Depot) -> None:
    await depot.laid_out(
        place("milk", expires_on=20261123),
        place("tea", 2, expires_on=20261122, door_no=2),
        place("cola", 3, expires_on=20261222),
    )
    await depot.move("sale", "A", {"milk": -5})
    gone = await depot.stock.expiring(20261130, by=BOSS, offset=0, most=9)
    await depot.move("restock", "B", {"milk": 1})
    _, found = await depot.stock.expiring(20261130, by=CLERK, offset=0, most=9)
    none = await depot.stock.expiring(20261130, by=CLERK, device_id=depot.other, offset=0, most=9)

    assert [each.sku for each in gone[1]] == ["tea"]
    assert [(e.sku, e.name, e.door_no, e.expires_on, e.quantity) for e in found] == [
        ("tea", "good tea", 2, 20261122, 5),
        ("milk", "good milk", 1, 20261123, 1),
    ]
    assert {each.device_code for each in found} == {"D1"}
    assert none == (0, [])
