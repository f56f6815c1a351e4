"""Cabinet orders over REST, as the mini-program and the console ask for them."""

import csv
import io
from collections.abc import AsyncIterator
from typing import Any

import pytest

from accounts.model import Session
from devices.orders.export import BOM, COLUMNS, guarded
from devices.orders.model import OrderState
from devices.sessions.model import DoorSession
from devices.vendors.port import Item
from handlers import rest_cabinet_orders
from tests.devices.fleet.maker import Office, serving, staff
from tests.devices.orders.shop import BUYER, CLERK, FOREIGNER, OTHER, Shop, decoded

COLAS = {"cola": 2}


def diner(account_id: int) -> Session:
    return Session(account_id, account_id, frozenset({"diner"}), "diner", 2**52)


PEOPLE = {
    "boss": staff(CLERK, "owner"),
    "finance": staff(21, "finance"),
    "support": staff(22, "support"),
    "readonly": staff(23, "readonly"),
    "foreigner": staff(FOREIGNER, "owner"),
    "buyer": diner(BUYER),
    "other": diner(OTHER),
}


@pytest.fixture
async def office(one_shop: Shop) -> AsyncIterator[Office]:
    async def openid_of(account_id: int) -> str:
        return f"openid-{account_id}"

    routes = rest_cabinet_orders.routes(one_shop.orders, openid_of)
    async with serving(routes, PEOPLE, one_shop.clock.now) as office:
        yield office


async def unpaid(shop: Shop) -> DoorSession:
    """100 of 700 fen are paid in tickets."""
    await shop.grant(500)
    session = await shop.visit()
    await shop.told(session, COLAS)
    return session


async def get(office: Office, path: str, token: str = "boss") -> Any:
    answer = await office.ask("GET", path, token=token)
    assert answer.status == 200, answer.body
    return answer.json


async def test_a_buyer_sees_what_was_taken_and_what_is_open(one_shop: Shop, office: Office) -> None:
    session = await unpaid(one_shop)
    order = await one_shop.order(session)

    listed = await get(office, "/cabinet-orders", "buyer")

    (shown,) = listed["items"]
    assert shown == {
        "id": order.id,
        "no": order.no,
        "kind": "normal",
        "related_no": "",
        "session_id": session.id,
        "device_id": 1,
        "store_id": 1,
        "pay_with": "ticket",
        "state": "unpaid",
        "due_fen": 700,
        "paid_fen": 100,
        "refunded_fen": 0,
        "to_pay_fen": 600,
        "to_pay_tickets": 3_000,
        "lines": [
            {"sku": "cola", "name": "Cola", "quantity": 2, "price_fen": 350, "amount_fen": 700}
        ],
        "ordered_at": "2026-11-20T04:00:00.000Z",
        "paid_at": None,
    }
    own = await get(office, f"/cabinet-orders/{order.id}", "buyer")
    assert own == {**shown, "related": []}
    assert (await get(office, "/cabinet-orders", "other"))["items"] == []
    stranger = await office.ask("GET", f"/cabinet-orders/{order.id}", token="other")
    assert (stranger.status, stranger.json["code"]) == (404, "cabinet_order.not_found")


async def test_it_is_paid_in_tickets_or_by_wechat(one_shop: Shop, office: Office) -> None:
    order = await one_shop.order(await unpaid(one_shop))
    path = f"/cabinet-orders/{order.id}/pay"

    keyless = await office.ask("POST", path, {"with": "ticket"}, token="buyer")
    assert (keyless.status, keyless.json["code"]) == (400, "idempotency_key.missing")
    short = await office.ask("POST", path, {"with": "ticket"}, token="buyer", Idempotency_Key="k1")
    assert (short.status, short.json["code"]) == (409, "cabinet_order.tickets_short")
    wrong = await office.ask("POST", path, {"with": "cash"}, token="buyer", Idempotency_Key="k1")
    assert wrong.status == 400

    begun = await office.ask("POST", path, {"with": "wechat"}, token="buyer", Idempotency_Key="k2")
    assert begun.status == 200
    assert begun.json["wx_request_payment"]["package"].startswith("prepay_id=")
    await one_shop.confirms(begun.json["out_trade_no"])
    assert (await get(office, f"/cabinet-orders/{order.id}", "buyer"))["state"] == "paid"


async def test_tickets_are_taken_at_once(one_shop: Shop, office: Office) -> None:
    order = await one_shop.order(await unpaid(one_shop))
    await one_shop.grant(3_000, key="2")

    paid = await office.ask(
        "POST",
        f"/cabinet-orders/{order.id}/pay",
        {"with": "ticket"},
        token="buyer",
        Idempotency_Key="k",
    )

    assert paid.json["order"]["state"] == "paid"
    assert "wx_request_payment" not in paid.json


async def test_staff_see_the_whole_chain(one_shop: Shop, office: Office) -> None:
    await one_shop.grant(3_500)
    session = await one_shop.visit()
    await one_shop.told(session, COLAS)
    await one_shop.told(session, {"cola": 2, "tea": 1}, 2)
    main, more = await one_shop.chain(session)

    detail = await get(office, f"/admin/cabinet-orders/{more.id}")

    assert (detail["no"], detail["related_no"]) == (more.no, main.no)
    assert [each["no"] for each in detail["chain"]] == [main.no, more.no]
    assert detail["present_fen"] == 1_200
    assert [each["total_fen"] for each in detail["revisions"]] == [700, 1_200]
    assert detail["revisions"][1]["items"][0]["sku"] == "cola"
    (charge,) = detail["charges"]
    assert (charge["no"], charge["tickets"]) == (f"CO{main.id}C1", 3_500)
    own = await get(office, f"/cabinet-orders/{main.id}", "buyer")
    assert [each["no"] for each in own["related"]] == [more.no]


async def test_the_list_is_filtered(one_shop: Shop, office: Office) -> None:
    session = await unpaid(one_shop)
    order = await one_shop.order(session)
    at = "/admin/cabinet-orders"

    for query in (
        "store_id=1",
        "device_id=1",
        f"account_id={BUYER}",
        "kind=normal",
        "state=unpaid",
        "pay_with=ticket",
        f"no={order.no}",
        "from=2026-11-20T04:00:00Z",
        "before=2026-11-20T04:00:01Z",
    ):
        assert (await get(office, f"{at}?{query}"))["total"] == 1, query
    for query in (
        "store_id=2",
        "device_id=2",
        "account_id=99",
        "kind=supplement",
        "state=paid",
        "pay_with=wechat",
        "no=x",
        "from=2026-11-20T04:00:01Z",
        "before=2026-11-20T04:00:00Z",
    ):
        assert (await get(office, f"{at}?{query}"))["total"] == 0, query
    assert (await get(office, at, "foreigner"))["total"] == 0
    for query in ("state=gone", "from=yesterday"):
        assert (await office.ask("GET", f"{at}?{query}")).status == 400


async def test_staff_correct_refund_and_waive(one_shop: Shop, office: Office) -> None:
    await one_shop.grant(3_500)
    session = await one_shop.visit()
    await one_shop.told(session, COLAS)
    order = await one_shop.order(session)
    one = f"/admin/cabinet-orders/{order.id}"
    wish = {"items": [{"sku": "cola", "quantity": 1}], "version": order.version, "reason": "film"}

    corrected = await office.ask("POST", f"{one}/corrections", wish, token="support")
    assert (corrected.status, corrected.json["due_fen"]) == (200, 350)
    again = await office.ask("POST", f"{one}/corrections", wish, token="support")
    assert (again.status, again.json["code"]) == (409, "cabinet_order.changed")

    back = {"amount_fen": 50, "reason": "warm"}
    keyless = await office.ask("POST", f"{one}/refunds", back, token="finance")
    assert keyless.status == 400
    refunded = await office.ask(
        "POST", f"{one}/refunds", back, token="finance", Idempotency_Key="r1"
    )
    assert (refunded.status, refunded.json["refunded_fen"]) == (201, 400)
    rest = await office.ask(
        "POST", f"{one}/refunds", {"reason": "all"}, token="finance", Idempotency_Key="r2"
    )
    assert (rest.json["refunded_fen"], rest.json["due_fen"]) == (700, 0)

    version = rest.json["version"]
    dearer = {"items": [{"sku": "tea", "quantity": 5}], "version": version, "reason": "film"}
    raised = await office.ask("POST", f"{one}/corrections", dearer)
    more = raised.json["chain"][-1]
    assert (more["kind"], more["state"]) == ("supplement", "unpaid")
    # Whichever order of the chain is looked at: a correction is about all of them.
    assert more["version"] != raised.json["version"]
    seen = await office.ask("GET", f"/admin/cabinet-orders/{more['id']}")
    assert seen.json["version"] == raised.json["version"]
    waived = await office.ask(
        "POST", f"/admin/cabinet-orders/{more['id']}/waive", {"reason": "ours"}
    )
    assert waived.json["state"] == OrderState.WAIVED


@pytest.mark.parametrize(
    ("verb", "body", "who"),
    [
        ("corrections", {"items": [], "version": 1, "reason": "x"}, "readonly"),
        ("corrections", {"items": [], "version": 1, "reason": "x"}, "buyer"),
        ("refunds", {"reason": "x"}, "support"),
        ("waive", {"reason": "x"}, "support"),
    ],
)
async def test_who_may_not_does_not(
    one_shop: Shop, office: Office, verb: str, body: object, who: str
) -> None:
    order = await one_shop.order(await unpaid(one_shop))

    refused = await office.ask("POST", f"/admin/cabinet-orders/{order.id}/{verb}", body, token=who)

    assert refused.status == 403
    assert (await one_shop.rows("staff_audit")) == []


async def test_another_stores_orders_are_not_there(one_shop: Shop, office: Office) -> None:
    order = await one_shop.order(await unpaid(one_shop))
    one = f"/admin/cabinet-orders/{order.id}"
    bodies: dict[str, Any] = {
        "corrections": {"items": [], "version": order.version, "reason": "x"},
        "refunds": {"reason": "x"},
        "waive": {"reason": "x"},
    }

    assert (await office.ask("GET", one, token="foreigner")).status == 404
    for verb, body in bodies.items():
        answer = await office.ask(
            "POST", f"{one}/{verb}", body, token="foreigner", Idempotency_Key=verb
        )
        assert (answer.status, answer.json["code"]) == (404, "cabinet_order.not_found")
    assert await one_shop.order(await one_shop.session_of(order)) == order


@pytest.mark.parametrize("reason", ["", "  ", "a\nb", "x" * 81, 5])
async def test_a_reason_is_one_line(one_shop: Shop, office: Office, reason: object) -> None:
    order = await one_shop.order(await unpaid(one_shop))

    path = f"/admin/cabinet-orders/{order.id}/waive"
    assert (await office.ask("POST", path, {"reason": reason})).status == 400


async def test_a_table_for_a_spreadsheet(one_shop: Shop, office: Office) -> None:
    await one_shop.grant(500)
    evil = (Item(sku="cola", quantity=2, name="=1+1"),)
    for number in range(3):
        session = await one_shop.visit(key=f"k{number}")
        await one_shop.told(session, COLAS, items=evil)
    await one_shop.execute(
        "INSERT INTO members VALUES (7, 'n', 'box', 'hash', '5678', NULL, '', 0, 0)"
    )

    answer = await office.ask("GET", "/admin/cabinet-orders/export.csv?state=unpaid")

    assert answer.status == 200
    text = answer.body.decode()
    assert text.startswith(BOM)
    head, *rows = csv.reader(io.StringIO(text.removeprefix(BOM)))
    assert tuple(head) == COLUMNS
    assert len(rows) == 3
    assert rows[0][13] == "'=1+1 ×2"
    assert rows[0][7] == "•••• 5678"
    assert rows[0][9:13] == ["7.00", "0.00", "500", "0.00"]
    none = await office.ask("GET", "/admin/cabinet-orders/export.csv", token="foreigner")
    assert none.body.decode().count("\r\n") == 1
    lines = await one_shop.rows("staff_audit")
    assert [(row["action"], row["actor_id"]) for row in lines] == [
        ("cabinet_orders.export", CLERK),
        ("cabinet_orders.export", FOREIGNER),
    ]
    assert [decoded(row["after"]) for row in lines] == [
        {"state": "unpaid", "orders": 3},
        {"orders": 0},
    ]


async def test_a_table_is_read_in_parts(
    one_shop: Shop, office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(5):
        await one_shop.told(await one_shop.visit(key=f"k{number}", hold=0), COLAS)
    monkeypatch.setattr("devices.orders.service._AT_ONCE", 2)
    monkeypatch.setattr("devices.orders.service.EXPORT_MAX", 4)

    answer = await office.ask("GET", "/admin/cabinet-orders/export.csv")

    assert answer.body.decode().count("\r\n") == 5


@pytest.mark.parametrize("cell", ["=1", "+1", "-1", "@x", "\tx", "\rx"])
def test_a_formula_is_a_text(cell: str) -> None:
    assert guarded(cell) == f"'{cell}"
    assert guarded("cola") == "cola"
