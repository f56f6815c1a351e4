"""Goods at the vendor: each told once as it is, each with its own answer."""

from typing import Any, cast

import pytest

from devices.stock.offers import store as offers
from devices.stock.service import Stock
from devices.vendors.port import CabinetVendor, GoodResult, GoodsAck, Reason
from simulators.xiaomai import Fault
from tests.devices.stock.conftest import BOSS, Depot


async def states(depot: Depot) -> dict[str, str]:
    found = await depot.stock.goods_states(["cola", "tea", "milk", "beer"])
    return {sku: each[0].state for sku, each in found.items()}


async def test_each_of_the_goods_is_told_once_as_it_is(depot: Depot) -> None:
    before = len(depot.platform.calls)
    again = await depot.stock.push_goods()
    await depot.sell(cola=320)
    await depot.sell(tea=0)
    changed = await depot.stock.push_goods()

    assert (again, changed) == (0, 2)
    assert depot.platform.goods["cola"].price_fen == 320
    assert depot.platform.goods["cola"].image_urls == ["https://example.test/a.png"]
    assert depot.platform.goods["tea"].status == 0
    assert depot.platform.goods["milk"].image_urls == []
    assert len(depot.platform.calls) == before + 1
    assert await states(depot) == dict.fromkeys(("cola", "tea", "milk"), "done")


async def test_a_refused_one_holds_up_no_other(depot: Depot) -> None:
    depot.platform.refused_skus = {"beer"}
    await depot.sell(beer=500, cola=310)
    await depot.stock.push_goods()
    refused = await states(depot)
    alerts = await depot.alerts()
    silent = await depot.stock.push_goods()
    depot.platform.refused_skus = set()
    asked = [await depot.stock.push_again("beer", by=BOSS) for _ in range(2)]
    told = await depot.stock.push_goods()

    assert refused == {"beer": "refused", "cola": "done", "milk": "done", "tea": "done"}
    assert alerts == {"goods.refused": "xiaomai:beer"}
    assert silent == 0
    assert asked == [1, 0]
    assert told == 1
    assert (await states(depot))["beer"] == "done"
    assert await depot.alerts() == {}
    assert [line.action for line in await depot.audit()] == ["goods.push"]


async def test_many_goods_go_by_hundreds(one_depot: Depot) -> None:
    await one_depot.sell(**{f"good-{number:03d}": 100 for number in range(250)})
    before = len(one_depot.platform.calls)
    one_depot.platform.dial.add(Fault(at="goods/upsert", kind="http_502", times=1))
    broken = await one_depot.stock.push_goods()
    told = await one_depot.stock.push_goods()

    assert (broken, told) == (0, 250)
    assert len(one_depot.platform.calls) == before + 4
    assert "good-249" in one_depot.platform.goods


async def test_a_vendor_that_is_silent_about_one_is_told_of_it_again(one_depot: Depot) -> None:
    class Forgetful:
        asked: list[list[str]] = []  # noqa: RUF012 -- one of these

        async def put_goods(self, goods: Any) -> list[GoodResult]:
            self.asked.append([good.sku for good in goods])
            return [GoodResult("cola"), GoodResult("strange")]

    stock = Stock(one_depot.db, {"forgetful": cast("CabinetVendor", Forgetful())})
    await stock.push_goods()
    await stock.push_goods()

    assert Forgetful.asked == [["cola", "milk", "tea"], ["milk", "tea"]]


async def test_what_was_changed_while_it_was_told_is_told_again(one_depot: Depot) -> None:
    await one_depot.sell(cola=320)
    await one_depot.db.write(offers.mark_goods, "xiaomai")
    batch = await one_depot.db.read(offers.goods_to_push, "xiaomai", after="")
    await one_depot.sell(cola=330)
    await one_depot.db.write(offers.mark_goods, "xiaomai")
    marks = {good.sku: mark for good, mark in batch}
    await one_depot.db.write(offers.note_results, "xiaomai", marks, [GoodResult("cola")])

    assert (await states(one_depot))["cola"] == "waiting"


@pytest.mark.parametrize(
    ("reason", "state"), [(Reason.NONE, "done"), (Reason.GOODS_REJECTED, "refused")]
)
async def test_a_vendors_own_word_can_only_refuse(
    one_depot: Depot, reason: Reason, state: str
) -> None:
    results = (GoodResult("cola", reason, "no room"), GoodResult("unheard", reason))
    event = GoodsAck(event_id="e", device_code="", occurred_at=0, results=results)
    await one_depot.db.write(one_depot.stock.heed, "xiaomai", event)

    (found,) = (await one_depot.stock.goods_states(["cola"]))["cola"]
    assert found.state == state
    assert found.error == ("" if state == "done" else "goods_rejected: no room")
