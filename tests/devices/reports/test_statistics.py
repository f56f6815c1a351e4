"""Sales by day, store, device and payment type, held against the orders one by one."""

import itertools
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import pytest

from devices.reports.model import GROUPS, Group, Sales, SalesRow
from devices.reports.service import Reports
from devices.reports.statistics.store import Wanted
from payments.model import beijing_day, day_bounds
from tests.devices.orders.shop import CLERK, FOREIGNER, Shop, by
from tests.devices.reports.conftest import busy_day

ALWAYS = Wanted(from_at=0, before_at=2**52)


def counted(orders: Sequence[dict[str, Any]], groups: Sequence[Group]) -> list[SalesRow]:
    """The same by hand, order by order."""
    found: defaultdict[tuple[Any, ...], list[dict[str, Any]]] = defaultdict(list)
    for order in orders:
        if order["state"] == "empty" and not order["paid_fen"]:
            continue
        key = {
            "day": beijing_day(order["ordered_at"]),
            "store": order["store_id"],
            "device": order["device_id"],
            "payment": order["pay_with"],
        }
        found[tuple(key[group] for group in groups)].append(order)
    names = {"day": "day", "store": "store_id", "device": "device_id", "payment": "pay_with"}
    return [
        SalesRow(
            **dict(zip((names[group] for group in groups), key, strict=True)),
            orders=sum(o["kind"] != "supplement" for o in mine),
            supplements=sum(o["kind"] == "supplement" for o in mine),
            unpaid=sum(o["state"] == "unpaid" for o in mine),
            due_fen=sum(o["due_fen"] for o in mine),
            paid_fen=sum(o["paid_fen"] for o in mine),
            wechat_fen=sum(o["wechat_fen"] for o in mine),
            tickets=sum(o["tickets"] for o in mine),
            refunded_fen=sum(o["refunded_fen"] for o in mine),
            net_fen=sum(o["paid_fen"] - o["refunded_fen"] for o in mine),
            open_fen=sum(
                o["due_fen"] - o["paid_fen"] + o["refunded_fen"]
                for o in mine
                if o["state"] == "unpaid"
            ),
        )
        for key, mine in sorted(found.items())
    ]


async def sales(shop: Shop, groups: Sequence[Group], who: int = CLERK, **wanted: Any) -> Sales:
    given = {"from_at": 0, "before_at": 2**52, **wanted}
    return await Reports(shop.db).sales(Wanted(**given), groups, by=by(who))


async def test_equal_to_the_orders_however_grouped(shop: Shop) -> None:
    await busy_day(shop)
    orders = await shop.rows("cabinet_orders")
    choices = [
        group
        for length in range(len(GROUPS) + 1)
        for group in itertools.combinations(GROUPS, length)
    ]

    for groups in choices:
        found = await sales(shop, groups)
        assert found.rows == (counted(orders, groups) if groups else []), groups
        assert [found.total] == counted(orders, ())
        if groups:
            assert sum(row.net_fen for row in found.rows) == found.total.net_fen

    total = (await sales(shop, ())).total
    assert (total.orders, total.unpaid, total.refunded_fen) == (6, 1, 350)
    assert total.paid_fen == total.wechat_fen + total.tickets // 5


async def test_of_a_day_a_store_a_device_a_payment_type(shop: Shop) -> None:
    await busy_day(shop)
    orders = await shop.rows("cabinet_orders")
    begins, ends = day_bounds(20261120)
    that_day = [order for order in orders if begins <= order["ordered_at"] < ends]

    found = await sales(shop, ("day",), from_at=begins, before_at=ends)

    assert found.rows == counted(that_day, ("day",))
    assert [row.day for row in found.rows] == [20261120]
    mine: list[dict[str, Any]] = [{"store_id": 1}, {"device_id": 1}, {"pay_with": "wechat"}]
    for chosen in mine:
        some = [order for order in orders if chosen.items() <= order.items()]
        assert [(await sales(shop, (), **chosen)).total] == counted(some, ())
    assert (await sales(shop, ("store",), store_id=2)).rows == []
    assert (await sales(shop, (), store_id=2)).total == SalesRow()


async def test_at_midnight_in_beijing_a_new_day_begins(one_shop: Shop) -> None:
    await one_shop.grant(10_000)
    one_shop.clock.set("2026-11-20T23:59:59.999+08:00")
    await one_shop.told(await one_shop.visit(), {"cola": 1})
    one_shop.clock.advance(seconds=0.001)
    await one_shop.told(await one_shop.visit(), {"nuts": 1})

    found = await sales(one_shop, ("day",))

    assert [(row.day, row.due_fen) for row in found.rows] == [(20261120, 350), (20261121, 100)]


async def test_by_the_stores_one_sees(shop: Shop) -> None:
    await busy_day(shop)

    found = await sales(shop, ("store",), who=FOREIGNER)

    assert (found.rows, found.total) == ([], SalesRow())


@pytest.mark.parametrize("groups", [(), ("day", "store", "device", "payment")])
async def test_without_orders_all_is_nothing(one_shop: Shop, groups: Sequence[Group]) -> None:
    assert await sales(one_shop, groups) == Sales([], SalesRow())
