"""Goods with a result each, and layouts of which only the newest is taken."""

from typing import Any

import pytest

from simulators.xiaomai import Cabinet, Xiaomai
from tests.simulators.xiaomai.customer import Customer


def good(sku: str, **changes: Any) -> dict[str, Any]:
    return {
        "sku": sku,
        "barcode": "6900000000001",
        "name": "可乐",
        "price_fen": 300,
        "weight_g": 345,
        "image_urls": [],
        "status": 1,
    } | changes


def slot(sku: str, number: int = 1, **changes: Any) -> dict[str, Any]:
    return {
        "door_no": 1,
        "layer": 1,
        "slot": number,
        "sku": sku,
        "price_fen": 399,
        "stock": 6,
        "capacity": 10,
        "expires_on": 20270131,
    } | changes


async def test_each_of_the_goods_has_its_own_result(customer: Customer, sim: Xiaomai) -> None:
    sim.refused_skus = {"beer"}
    goods = [
        good("milk"),
        good("free", price_fen=0),
        good("", name="x"),
        good("long", name="长" * 61),
        good("odd", barcode="69-0"),
        good("beer"),
        good("gone", status=0),
    ]
    data = await customer.data("goods/upsert", goods=goods)
    await sim.idle()

    codes = {result["sku"]: result["code"] for result in data["results"]}
    assert codes == {
        "milk": 0,
        "free": 5001,
        "": 5001,
        "long": 5001,
        "odd": 5001,
        "beer": 5001,
        "gone": 0,
    }
    assert customer.only("goods.ack")["data"] == data
    assert customer.only("goods.ack")["device_code"] == ""
    assert {"milk", "gone"} <= sim.goods.keys()
    assert "beer" not in sim.goods
    many = [good(f"sku-{number}") for number in range(101)]
    assert await customer.code("goods/upsert", goods=many) == 1000


async def test_a_layout_is_put_repeated_and_conflicts(
    customer: Customer, sim: Xiaomai, cabinet: Cabinet
) -> None:
    body: dict[str, Any] = {
        "device_code": "D1",
        "version": 3,
        "base_version": 0,
        "slots": [slot("cola"), slot("tea", 3)],
    }
    put = await customer.data("planogram/put", **body)
    again = await customer.data("planogram/put", **body)
    other = await customer.ask("planogram/put", **(body | {"slots": []}))
    stale = await customer.ask("planogram/put", **(body | {"version": 4}))
    await sim.idle()

    assert put == again == {"version": 3}
    assert (other["code"], other["data"]) == (5002, {"version": 3})
    assert (stale["code"], stale["data"]) == (5002, {"version": 3})
    assert len(customer.all("planogram.changed")) == 1
    # What lay there stays; a new place is filled as planned.
    assert (cabinet.stock("cola"), cabinet.stock("tea")) == (5, 6)
    assert {s.price_fen for s in cabinet.slots} == {399}
    version = sim.change_planogram("D1", {"cola": 500})
    await sim.idle()
    repeated = await customer.ask("planogram/put", **body)
    assert version == 4
    assert customer.all("planogram.changed")[-1]["data"] == {"version": 4}
    assert repeated["code"] == 5002


@pytest.mark.parametrize(
    ("slots", "code"),
    [
        ([slot("gold")], 4005),
        ([slot("cola", door_no=3)], 2001),
        ([slot("cola"), slot("tea")], 1000),
        ([slot("cola", stock=-1)], 1000),
        ([slot("cola", expires_on=11)], 1000),
    ],
)
async def test_a_layout_that_cannot_be(
    customer: Customer, cabinet: Cabinet, slots: list[dict[str, Any]], code: int
) -> None:
    put = await customer.code(
        "planogram/put", device_code="D1", version=1, base_version=0, slots=slots
    )

    assert put == code
    assert cabinet.planogram_version == 0
