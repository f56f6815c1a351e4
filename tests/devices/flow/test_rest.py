"""Doors over REST, as a phone and a console ask for them."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from accounts.model import Session
from handlers import rest_cabinets
from tests.devices.fleet.maker import Office, serving, staff
from tests.devices.flow.town import ANNA, BEN, CLERK, CODES, FOREIGNER, OPENID, Town, set_device


def diner(account_id: int) -> Session:
    return Session(account_id, account_id, frozenset({"diner"}), "diner", 2**52)


PEOPLE = {
    "anna": diner(ANNA),
    "ben": diner(BEN),
    "clerk": staff(CLERK, "operator"),
    "foreigner": staff(FOREIGNER, "operator"),
    "reader": staff(14, "readonly"),
}


async def openid_of(account_id: int) -> str:
    return OPENID


@pytest.fixture
async def web(one_town: Town) -> AsyncIterator[Office]:
    await one_town.grant(20_000)
    routes = rest_cabinets.routes(one_town.cabinets, openid_of)
    async with serving(routes, PEOPLE, one_town.clock.now) as office:
        yield office


async def opened(web: Office, token: str = "anna", door_no: int = 1, **more: Any) -> Any:
    body = {"qr": CODES.door(1, door_no, 1), "pay_with": "ticket", **more}
    return await web.ask("POST", "/cabinets/open", body, token=token, Idempotency_Key="k1")


async def test_a_door_is_opened_and_followed(web: Office, one_town: Town) -> None:
    answer = await opened(web)

    assert answer.status == 202
    session = answer.json["session"]
    assert answer.json.keys() == {"session"}
    assert session == {
        "id": 1,
        "no": session["no"],
        "state": "opening",
        "is_over": False,
        "purpose": "shop",
        "pay_with": "ticket",
        "device_id": 1,
        "door_no": 1,
        "limit_fen": 20_000,
        "hold_tickets": 20_000,
        "fail_code": "",
        "requested_at": "2026-11-20T04:00:00.000Z",
        "unlocked_at": None,
        "opened_at": None,
        "closed_at": None,
        "ended_at": None,
    }
    assert (await opened(web)).json["session"]["id"] == 1

    await one_town.hear()
    one_town.shop("cola")
    await one_town.hear()
    await one_town.pass_by(20)
    over = (await web.ask("GET", "/door-sessions/1", token="anna")).json
    assert (over["state"], over["is_over"]) == ("paid", True)
    assert over["closed_at"] == "2026-11-20T04:00:00.000Z"


async def test_a_session_that_has_not_changed_is_not_sent_again(web: Office) -> None:
    await opened(web)

    first = await web.ask("GET", "/door-sessions/1", token="anna")
    seen = first.header("etag")
    again = await web.ask("GET", "/door-sessions/1", token="anna", If_None_Match=seen)

    assert (first.status, again.status) == (200, 304)


async def test_another_s_session_does_not_exist(web: Office) -> None:
    await opened(web)

    theirs = await web.ask("GET", "/door-sessions/1", token="ben")
    none = await web.ask("GET", "/door-sessions/99", token="ben")

    assert theirs.status == none.status == 404
    assert theirs.json["code"] == none.json["code"] == "door_session.not_found"
    assert (await web.ask("GET", "/door-sessions/current", token="ben")).status == 404
    assert (await web.ask("GET", "/door-sessions/current", token="anna")).json["id"] == 1


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"qr": "nonsense"}, 422, "cabinets.qr_invalid"),
        ({"pay_with": "wechat"}, 503, "payments.score_unavailable"),
        ({"pay_with": "cash"}, 400, "body.invalid"),
        ({"qr": ""}, 400, "body.invalid"),
        ({"qr": "C" * 201}, 400, "body.invalid"),
    ],
)
async def test_what_cannot_be_is_refused(
    web: Office, body: dict[str, Any], status: int, code: str
) -> None:
    answer = await opened(web, **body)

    assert (answer.status, answer.json["code"]) == (status, code)


async def test_a_busy_door_is_a_conflict_and_an_order_to_pay_says_how(
    web: Office, one_town: Town
) -> None:
    await one_town.grant(500, BEN)
    await opened(web, "ben")
    busy = await opened(web)
    assert (busy.status, busy.json["code"]) == (409, "door_session.door_busy")

    await one_town.hear()
    one_town.shop("tea", "tea")
    await one_town.hear()
    await one_town.pass_by(20)
    body = {"qr": CODES.door(1, 1, 1), "pay_with": "ticket"}
    unpaid = await web.ask("POST", "/cabinets/open", body, token="ben", Idempotency_Key="k2")
    assert (unpaid.status, unpaid.json["code"]) == (409, "cabinets.unpaid_order")
    assert "/api/v1/cabinet-orders/1/pay" in unpaid.json["detail"]


async def test_a_store_s_doors_are_offered_with_their_codes(web: Office, one_town: Town) -> None:
    await opened(web)
    await one_town.db.write(set_device, 2, service="maintenance")

    answer = await web.ask("GET", f"/cabinets/{CODES.store(1)}/doors", token="ben")

    assert answer.status == 200
    assert answer.json["name"] == "Store 1"
    found = [(door["device_id"], door["door_no"], door["state"]) for door in answer.json["doors"]]
    assert found == [(1, 1, "busy"), (1, 2, "free"), (2, 1, "closed"), (2, 2, "closed")]
    assert answer.json["doors"][1]["qr"] == CODES.door(1, 2, 1)
    own = await web.ask("GET", f"/cabinets/{CODES.door(1, 1, 1)}/doors", token="ben")
    assert [door["door_no"] for door in own.json["doors"]] == [1, 2]
    assert (await web.ask("GET", "/cabinets/C1.S.9.xx/doors", token="ben")).status == 422


async def test_staff_open_a_door_and_see_what_was_opened(web: Office) -> None:
    at = "/admin/devices/1/open"
    body = {"purpose": "restock", "door_no": 2, "reason": "monday"}
    answer = await web.ask("POST", at, body, token="clerk", Idempotency_Key="k")
    assert answer.status == 202
    assert (answer.json["purpose"], answer.json["account_id"]) == ("restock", CLERK)
    assert (await web.ask("POST", at, body, token="foreigner", Idempotency_Key="k")).status == 404
    assert (await web.ask("POST", at, body, token="reader", Idempotency_Key="k")).status == 403
    assert (await web.ask("POST", at, {"purpose": "shop"}, token="clerk")).status == 400

    listed = "/admin/door-sessions"
    mine = (await web.ask("GET", f"{listed}?purpose=restock&state=opening", token="reader")).json
    assert (mine["total"], mine["items"][0]["store_id"]) == (1, 1)
    assert (await web.ask("GET", listed, token="foreigner")).json["total"] == 0
    since = "from=2026-11-20T04:00:00Z&before=2026-11-20T04:00:01Z"
    assert (await web.ask("GET", f"{listed}?{since}", token="clerk")).json["total"] == 1
    assert (await web.ask("GET", f"{listed}?from=yesterday", token="clerk")).status == 400
