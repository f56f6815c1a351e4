"""Goods, layouts, stock and sales over REST, as a console asks for them."""

from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest

from accounts.model import Session
from accounts.staff.permissions import ROLES
from commerce.erp import Erp
from commerce.goods.service import Goods
from commerce.sales.model import SaleLine
from commerce.sales.service import Sales
from commerce.sales.store import record_sale
from handlers import rest_goods
from simulators.erp import TOKEN, ErpFault
from simulators.erp import Erp as ErpSimulator
from simulators.groceries import GROCERIES
from tests.clock import Clock
from tests.devices.fleet.maker import Office, serving, staff
from tests.devices.stock.conftest import Depot

PEOPLE = {
    "boss": staff(1, "owner"),
    "clerk": staff(2, "operator"),
    **{role: staff(10 + n, role) for n, role in enumerate(ROLES)},
    "admin": Session(20, 20, frozenset({"admin", "seller"}), "seller", 2**52),
    "diner": Session(30, 30, frozenset({"diner"}), "diner", 2**52),
}
SLOT = {"door_no": 1, "layer": 1, "slot": 1, "sku": "cola", "stock": 5, "capacity": 8}


class Desk:
    """The office with what is behind it."""

    def __init__(self, office: Office, depot: Depot, erp: ErpSimulator, sales: Sales) -> None:
        self.office, self.depot, self.erp, self.sales = office, depot, erp, sales
        self.at = f"/admin/devices/{depot.device}"

    async def ask(self, method: str, path: str, body: object = None, **more: str) -> Any:
        return await self.office.ask(method, path, body, **more)

    async def get(self, path: str, token: str = "boss") -> Any:
        answer = await self.ask("GET", path, token=token)
        assert answer.status == 200, answer.body
        return answer.json


@pytest.fixture
async def desk(one_depot: Depot, clock: Clock) -> AsyncIterator[Desk]:
    sim = ErpSimulator(start_s=clock.now() / 1000)
    await sim.start(port=0)
    erp = Erp(sim.url, TOKEN, timeout_s=2)
    goods, sales = Goods(one_depot.db, erp), Sales(one_depot.db, erp)
    routes = rest_goods.routes(goods, one_depot.stock, sales, now=clock.now)
    try:
        async with serving(routes, PEOPLE, clock.now) as office:
            yield Desk(office, one_depot, sim, sales)
    finally:
        await erp.close()
        await sim.stop()


# ---------------------------------------------------------------- goods


async def test_goods_are_synchronised_listed_and_shown(desk: Desk) -> None:
    desk.erp.faults.add(ErpFault("goods", "bad_items"))
    synced = await desk.ask("POST", "/admin/goods/sync", {})
    listed = await desk.get("/admin/goods?status=1&keyword=SKU&sort=-price_fen&page_size=2")
    by_sku = await desk.get("/admin/goods?page_size=1")
    (cola,) = (await desk.get("/admin/goods?keyword=cola"))["items"]
    shown = await desk.get(f"/admin/goods/{cola['id']}")

    assert synced.status == 200, synced.body
    assert (synced.json["added"], len(synced.json["unfit"])) == (len(GROCERIES) - 4, 5)
    assert listed["total"] == len(GROCERIES) - 4
    assert [each["sku"] for each in listed["items"]] == ["SKU-1009", "SKU-1011"]
    assert by_sku["items"][0]["sku"] == "SKU-1005"
    assert shown == {
        **cola,
        "vendors": [
            {
                "vendor": "xiaomai",
                "state": "done",
                "error": "",
                "changed_at": "2026-11-20T04:00:00.000Z",
            }
        ],
    }
    assert set(cola) == {
        *("id", "sku", "barcode", "name", "price_fen", "weight_g", "image_url", "status"),
        *("created_at", "updated_at"),
    }
    (line,) = await desk.depot.audit()
    assert (line.action, line.subject, line.actor_id) == ("goods.sync", "goods", 1)
    assert msgspec.json.decode(line.after) == {
        "pages": 1,
        "added": len(GROCERIES) - 4,
        "changed": 0,
        "unchanged": 0,
        "stale": 0,
        "unfit": 5,
    }
    assert (await desk.ask("GET", "/admin/goods/999")).json["code"] == "goods.not_found"
    assert (await desk.ask("GET", "/admin/goods?sort=colour")).status == 400


async def test_an_erp_that_is_away_is_said_so(desk: Desk) -> None:
    desk.erp.faults.add(ErpFault("goods", "http_502"))

    answer = await desk.ask("POST", "/admin/goods/sync", {})

    assert (answer.status, answer.json["code"]) == (502, "goods.sync_failed")
    (line,) = await desk.depot.audit()
    assert line.action == "goods.sync"
    assert set(msgspec.json.decode(line.after)) == {"error"}


async def test_a_refused_good_is_told_of_again(desk: Desk) -> None:
    desk.depot.platform.refused_skus = {"beer"}
    await desk.depot.sell(beer=500)
    await desk.depot.stock.push_goods()
    (beer,) = (await desk.get("/admin/goods?keyword=beer"))["items"]
    refused = (await desk.get(f"/admin/goods/{beer['id']}"))["vendors"]
    again = await desk.ask("POST", f"/admin/goods/{beer['id']}/push", {})

    assert (refused[0]["state"], refused[0]["error"][:15]) == ("refused", "goods_rejected:")
    assert again.json["vendors"][0]["state"] == "waiting"


# ---------------------------------------------------------------- layouts and stock


async def test_a_layout_is_put_and_shown(desk: Desk) -> None:
    milk = SLOT | {"slot": 2, "sku": "milk", "expires_on": "2026-11-25", "price_fen": 500}
    body = {"slots": [SLOT, milk], "reason": "winter"}
    put = await desk.ask("PUT", f"{desk.at}/planogram", body, Idempotency_Key="k-123")
    again = await desk.ask("PUT", f"{desk.at}/planogram", body, Idempotency_Key="k-123")
    coming = await desk.get(f"{desk.at}/planogram")
    await desk.depot.outbox.deliver_due()
    there = await desk.get(f"{desk.at}/planogram")
    stock = await desk.get(f"{desk.at}/stock")

    assert (put.status, put.json["state"]) == (202, "waiting"), put.body
    assert again.json == put.json
    assert coming == {"current": None, "coming": put.json}
    assert there["coming"] is None
    assert (there["current"]["version"], there["current"]["state"]) == (1, "put")
    assert there["current"]["put_at"] == "2026-11-20T04:00:00.000Z"
    assert there["current"]["slots"] == [
        SLOT | {"price_fen": 300, "expires_on": None},
        milk,
    ]
    assert stock["items"][1] == {
        "door_no": 1,
        "sku": "milk",
        "quantity": 5,
        "capacity": 8,
        "expires_on": "2026-11-25",
        "blocked_at": None,
        "changed_at": "2026-11-20T04:00:00.000Z",
    }


@pytest.mark.parametrize(
    ("slots", "status", "code"),
    [
        ([], 400, "body.invalid"),
        ([SLOT | {"price_fen": 0}], 400, "body.invalid"),
        ([SLOT | {"expires_on": "20261125"}], 400, "body.invalid"),
        ([SLOT | {"door_no": 9}], 422, "planogram.invalid"),
        ([SLOT | {"sku": "gold"}], 422, "planogram.goods_unknown"),
    ],
)
async def test_a_layout_that_cannot_be(
    desk: Desk, slots: list[Any], status: int, code: str
) -> None:
    answer = await desk.ask("PUT", f"{desk.at}/planogram", {"slots": slots})

    assert (answer.status, answer.json["code"]) == (status, code)


async def test_a_count_and_its_moves(desk: Desk) -> None:
    await desk.ask("PUT", f"{desk.at}/planogram", {"slots": [SLOT]})
    await desk.depot.outbox.deliver_due()
    counts = [
        {"sku": "cola", "quantity": 7, "expires_on": "2026-11-19"},
        {"sku": "tea", "quantity": 2, "expires_on": None},
    ]
    body = {"door_no": 1, "counts": counts, "reason": "evening"}
    counted = await desk.ask("POST", f"{desk.at}/stock-count", body, Idempotency_Key="k-123")
    again = await desk.ask("POST", f"{desk.at}/stock-count", body, Idempotency_Key="k-123")
    later = {"door_no": 1, "counts": [{"sku": "cola", "quantity": 6}]}
    kept = await desk.ask("POST", f"{desk.at}/stock-count", later)
    moves = await desk.get(f"{desk.at}/stock-moves?sku=cola&page_size=2")
    refused = [
        await desk.ask("POST", f"{desk.at}/stock-count", body | change)
        for change in ({"door_no": 3}, {"session_id": 5}, {"counts": [counts[0]] * 2})
    ]

    assert counted.status == 200, counted.body
    assert counted.json == again.json
    assert [(i["sku"], i["quantity"], i["expires_on"]) for i in counted.json["items"]] == [
        ("cola", 7, "2026-11-19"),
        ("tea", 2, None),
    ]
    assert counted.json["items"][0]["blocked_at"] == "2026-11-20T04:00:00.000Z"
    assert kept.json["items"][0]["expires_on"] == "2026-11-19"
    assert moves["total"] == 3
    assert [(m["kind"], m["delta"], m["after"]) for m in moves["items"]] == [
        ("count", -1, 6),
        ("count", 2, 7),
    ]
    assert [each.json["code"] for each in refused] == [
        *("devices.door_not_found", "stock.not_restocking", "stock.count_invalid")
    ]


async def test_what_expires_soon(desk: Desk) -> None:
    slots = [
        SLOT | {"sku": sku, "slot": number, "expires_on": f"2026-11-{20 + number}"}
        for number, sku in enumerate(("cola", "tea", "milk"), start=1)
    ]
    await desk.ask("PUT", f"{desk.at}/planogram", {"slots": slots})
    await desk.depot.outbox.deliver_due()
    soon = await desk.get("/admin/expiring?days=2")
    none = await desk.get(f"/admin/expiring?device_id={desk.depot.other}", token="clerk")

    assert [each["sku"] for each in soon["items"]] == ["cola", "tea"]
    assert soon["items"][0] == {
        "device_id": desk.depot.device,
        "device_code": "D1",
        "store_id": desk.depot.device_store,
        "door_no": 1,
        "sku": "cola",
        "name": "good cola",
        "quantity": 5,
        "expires_on": "2026-11-21",
        "blocked_at": None,
    }
    assert none["items"] == []


# ---------------------------------------------------------------- sales


async def test_batches_are_listed_with_what_was_sold(desk: Desk) -> None:
    await desk.depot.db.write(
        record_sale,
        biz="cabinet",
        biz_no="CO-1",
        step="pay",
        store_code="S1",
        device_code="D1",
        paid_by="ticket",
        lines=[SaleLine("cola", "good cola", 2, 600, 3000)],
    )
    desk.depot.turn(days=1)
    (batch,) = await desk.sales.cut()
    waiting = await desk.get("/admin/sales-batches?state=waiting&day=2026-11-20")
    before = await desk.get("/admin/sales-totals?day=2026-11-20")
    await desk.sales.send({"batch_id": batch.id})
    shown = await desk.get(f"/admin/sales-batches/{batch.id}")
    after = await desk.get("/admin/sales-totals?day=2026-11-20")

    assert waiting["total"] == 1
    assert waiting["items"][0] == {
        "id": batch.id,
        "batch_no": "S20261120-0001",
        "day": "2026-11-20",
        "lines": 1,
        "amount_fen": 600,
        "tickets": 3000,
        "state": "waiting",
        "erp_no": "",
        "created_at": "2026-11-21T04:00:00.000Z",
        "sent_at": None,
    }
    assert (shown["state"], shown["erp_no"]) == ("sent", "E00000001")
    assert shown["sent_at"] == "2026-11-21T04:00:00.000Z"
    assert shown["sales"] == [
        {
            "biz": "cabinet",
            "biz_no": "CO-1",
            "step": "pay",
            "line": 0,
            "store_code": "S1",
            "device_code": "D1",
            "sku": "cola",
            "name": "good cola",
            "quantity": 2,
            "amount_fen": 600,
            "tickets": 3000,
            "paid_by": "ticket",
            "at": "2026-11-20T04:00:00.000Z",
        }
    ]
    assert before == {
        "day": "2026-11-20",
        "lines": 1,
        "amount_fen": 600,
        "tickets": 3000,
        "sent_lines": 0,
        "sent_fen": 0,
        "sent_tickets": 0,
    }
    assert (after["sent_lines"], after["sent_fen"], after["sent_tickets"]) == (1, 600, 3000)
    missing = await desk.ask("GET", "/admin/sales-batches/99")
    assert missing.json["code"] == "sales.batch_not_found"


# ---------------------------------------------------------------- who may


async def test_who_is_kept_to_a_store_sees_nothing_of_another(desk: Desk) -> None:
    other = f"/admin/devices/{desk.depot.other}"
    body: dict[str, Any] = {"slots": [SLOT]}
    count = {"door_no": 1, "counts": [{"sku": "cola", "quantity": 1}]}
    answers = [
        await desk.ask("GET", f"{other}/planogram", token="clerk"),
        await desk.ask("PUT", f"{other}/planogram", body, token="clerk"),
        await desk.ask("GET", f"{other}/stock", token="clerk"),
        await desk.ask("GET", f"{other}/stock-moves", token="clerk"),
        await desk.ask("POST", f"{other}/stock-count", count, token="clerk"),
    ]
    of_all = [
        await desk.ask("POST", "/admin/goods/sync", {}, token="clerk"),
        await desk.ask("POST", "/admin/goods/1/push", {}, token="clerk"),
        await desk.ask("GET", "/admin/sales-batches", token="clerk"),
        await desk.ask("GET", "/admin/sales-batches/1", token="clerk"),
        await desk.ask("GET", "/admin/sales-totals?day=2026-11-20", token="clerk"),
    ]

    assert {(a.status, a.json["code"]) for a in answers} == {(404, "devices.not_found")}
    assert {(a.status, a.json["code"]) for a in of_all} == {(403, "stores.out_of_scope")}
    assert (await desk.ask("GET", f"{desk.at}/stock", token="clerk")).status == 200


EVERYONE = {*ROLES, "admin"}
CHANGERS = {"owner", "operator", "admin"}
SELLERS = {"owner", "operator", "finance", "readonly", "admin"}
ALLOWED = {
    "GET /admin/goods": EVERYONE,
    "POST /admin/goods/sync": CHANGERS,
    "GET /admin/goods/1": EVERYONE,
    "POST /admin/goods/1/push": CHANGERS,
    "GET /admin/devices/1/planogram": EVERYONE,
    "PUT /admin/devices/1/planogram": CHANGERS,
    "GET /admin/devices/1/stock": EVERYONE,
    "GET /admin/devices/1/stock-moves": EVERYONE,
    "POST /admin/devices/1/stock-count": CHANGERS,
    "GET /admin/expiring": EVERYONE,
    "GET /admin/sales-batches": SELLERS,
    "GET /admin/sales-batches/1": SELLERS,
    "GET /admin/sales-totals?day=2026-11-20": SELLERS,
}


async def test_each_role_may_what_its_permissions_say(desk: Desk) -> None:
    may: dict[str, set[str]] = {}
    for route in ALLOWED:
        method, path = route.split()
        body: object = None if method == "GET" else {}
        for token in (*ROLES, "admin", "diner"):
            answer = await desk.ask(method, path, body, token=token)
            if answer.status != 403:
                may.setdefault(route, set()).add(token)

    assert may == ALLOWED
