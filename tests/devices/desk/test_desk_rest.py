"""The desk over REST, as the console and the mini-program ask for it."""

import base64
from typing import Any

from tests.devices.desk.test_complaints import bought, picture
from tests.devices.desk.test_exceptions import put, uncertain
from tests.devices.fleet.maker import Office
from tests.devices.orders.shop import Shop

WHY = {"reason": "看过录像"}


async def get(office: Office, path: str, token: str = "boss") -> Any:
    answer = await office.ask("GET", path, token=token)
    assert answer.status == 200, answer.body
    return answer.json


async def test_exceptions_are_listed_taken_and_approved(one_shop: Shop, office: Office) -> None:
    session, exception_id = await uncertain(one_shop)
    path = f"/admin/exceptions/{exception_id}"

    listed = await get(office, "/admin/exceptions?is_open=true&kind=uncertain")
    assert (listed["total"], listed["items"][0]["state"]) == (1, "open")
    assert listed["items"][0]["raised_at"] == "2026-11-20T04:00:00.000Z"
    assert (await office.ask("POST", f"{path}/take")).json["state"] == "taken"
    other = await office.ask("POST", f"{path}/take", token="support")
    assert (other.status, other.json["code"]) == (409, "exceptions.taken")
    unsure = await office.ask("POST", f"{path}/approve", WHY)
    assert (unsure.status, unsure.json["code"]) == (422, "cabinet_order.items_missing")
    body = {**WHY, "items": [{"sku": "cola", "quantity": 2}]}
    approved = await office.ask("POST", f"{path}/approve", body)
    assert (approved.status, approved.json["state"]) == (200, "approved")
    again = await office.ask("POST", f"{path}/reject", WHY)
    assert (again.status, again.json["code"]) == (409, "exceptions.decided")

    assert (await one_shop.order(session)).paid_fen == 700
    assert (await get(office, path))["decision"] == "看过录像"


async def test_who_may_let_an_exception_go(one_shop: Shop, office: Office) -> None:
    path = f"/admin/exceptions/{await put(one_shop)}"

    for taker, other in (("support", "operator"), ("operator", "support")):
        assert (await office.ask("POST", f"{path}/take", token=taker)).status == 200
        refused = await office.ask("POST", f"{path}/release", token=other)
        assert (refused.status, refused.json["code"]) == (409, "exceptions.taken")
        released = await office.ask("POST", f"{path}/release", token=taker)
        assert (released.status, released.json["state"]) == (200, "open")
    await office.ask("POST", f"{path}/take", token="support")

    assert (await office.ask("POST", f"{path}/release", token="finance")).status == 403
    assert (await office.ask("POST", f"{path}/release")).json["taken_by"] == 0


async def test_exceptions_are_rejected_and_closed(one_shop: Shop, office: Office) -> None:
    _, exception_id = await uncertain(one_shop)
    left = await office.ask("POST", f"/admin/exceptions/{exception_id}/close", WHY)
    assert (left.status, left.json["code"]) == (409, "exceptions.order_undecided")
    rejected = await office.ask("POST", f"/admin/exceptions/{exception_id}/reject", WHY)
    assert rejected.json["state"] == "rejected"
    other = await put(one_shop, "unheard_of")
    approve = await office.ask("POST", f"/admin/exceptions/{other}/approve", WHY)
    assert approve.json["code"] == "exceptions.nothing_to_approve"

    closed = await office.ask("POST", f"/admin/exceptions/{other}/close", WHY)

    assert closed.json["state"] == "closed"
    assert (await get(office, "/admin/exceptions?state=closed"))["total"] == 1
    assert (await office.ask("GET", "/admin/exceptions?severity=odd")).status == 400


async def test_a_decision_that_is_repeated_gets_its_first_answer_again(
    one_shop: Shop, office: Office
) -> None:
    """A clerk whose answer was lost must not read that somebody else was faster."""
    ids = [await put(one_shop, f"kind{n}", f"subject {n}") for n in range(2)]
    _, approved = await uncertain(one_shop)
    items = {**WHY, "items": [{"sku": "cola", "quantity": 2}]}
    for verb, exception_id, body in (
        ("take", approved, None),
        ("approve", approved, items),
        ("close", ids[0], WHY),
        ("take", ids[1], None),
    ):
        path = f"/admin/exceptions/{exception_id}/{verb}"
        first = await office.ask("POST", path, body, Idempotency_Key=verb + path[-9:])
        again = await office.ask("POST", path, body, Idempotency_Key=verb + path[-9:])
        assert (first.status, again.status, again.json) == (200, 200, first.json)


async def test_a_rejection_that_is_repeated_is_the_same_one(one_shop: Shop, office: Office) -> None:
    _, doubtful = await uncertain(one_shop)
    path = f"/admin/exceptions/{doubtful}/reject"
    first = await office.ask("POST", path, WHY, Idempotency_Key="r")
    again = await office.ask("POST", path, WHY, Idempotency_Key="r")
    other = await office.ask("POST", path, {"reason": "又看"}, Idempotency_Key="r")
    without = await office.ask("POST", path, WHY)

    assert (first.status, again.json) == (200, first.json)
    assert (other.status, other.json["code"]) == (422, "idempotency.key_reused")
    assert (without.status, without.json["code"]) == (409, "exceptions.decided")


async def test_a_resolution_that_is_repeated_sends_money_back_once(
    one_shop: Shop, office: Office
) -> None:
    order = await bought(one_shop)
    text = {"text": "坏的"}
    made = await office.ask("POST", f"/cabinet-orders/{order.id}/complaints", text, token="buyer")
    path, body = f"/admin/complaints/{made.json['id']}/resolve", {**WHY, "refund_fen": 100}

    first = await office.ask("POST", path, body, Idempotency_Key="k")
    again = await office.ask("POST", path, body, Idempotency_Key="k")
    other = await office.ask("POST", path, {**body, "refund_fen": 99}, Idempotency_Key="k")

    assert (first.status, again.status, again.json) == (200, 200, first.json)
    assert (other.status, other.json["code"]) == (422, "idempotency.key_reused")


async def test_who_may_decide(one_shop: Shop, office: Office) -> None:
    exception_id = await put(one_shop)
    path = f"/admin/exceptions/{exception_id}"

    for token in ("finance", "readonly"):
        assert (await office.ask("POST", f"{path}/close", WHY, token=token)).status == 403
        assert (await office.ask("GET", path, token=token)).status == 200
    assert (await office.ask("GET", path, token="buyer")).status == 403
    hidden = await office.ask("POST", f"{path}/take", token="foreigner")
    assert (hidden.status, hidden.json["code"]) == (404, "exceptions.not_found")
    assert (await office.ask("POST", f"{path}/close", {"reason": " "})).status == 400


async def test_a_complaint_from_the_phone_to_the_money(one_shop: Shop, office: Office) -> None:
    order = await bought(one_shop)
    path = f"/cabinet-orders/{order.id}/complaints"
    body = {"text": "坏的\n两瓶", "pictures": [base64.b64encode(picture()).decode()]}

    made = await office.ask("POST", path, body, token="buyer", Idempotency_Key="c")
    assert (made.status, made.json["pictures"], made.json["state"]) == (201, 1, "open")
    second = await office.ask("POST", path, {"text": "再次"}, token="buyer")
    assert (second.status, second.json["code"]) == (409, "complaints.open")
    other = await office.ask("POST", path, {"text": "我也"}, token="other")
    assert (other.status, other.json["code"]) == (404, "complaints.order_not_found")
    complaint_id = made.json["id"]
    shown = await office.ask("GET", f"/complaints/{complaint_id}/pictures/1", token="buyer")
    assert (shown.status, shown.header("content-type")) == (200, "image/jpeg")
    assert shown.header("cache-control") == "private"

    office_path = f"/admin/complaints/{complaint_id}"
    listed = await get(office, "/admin/complaints?state=open")
    assert (listed["total"], listed["items"][0]["account_id"]) == (1, 7)
    seen = await office.ask("GET", f"{office_path}/pictures/1", token="readonly")
    assert seen.body == shown.body
    forbidden = await office.ask(
        "POST", f"{office_path}/resolve", {**WHY, "refund_fen": 100}, token="support"
    )
    assert (forbidden.status, forbidden.json["code"]) == (403, "forbidden")
    done = await office.ask(
        "POST", f"{office_path}/resolve", {**WHY, "refund_fen": 100}, token="finance"
    )
    assert (done.status, done.json["state"], done.json["refund_fen"]) == (200, "refunded", 100)
    again = await office.ask("POST", f"{office_path}/resolve", WHY)
    assert (again.status, again.json["code"]) == (409, "complaints.resolved")
    (mine,) = (await office.ask("GET", path, token="buyer")).json
    assert (mine["state"], mine["resolution"]) == ("refunded", "看过录像")
    assert (await get(office, office_path))["resolved_by"] == 21


async def test_support_refuses_a_complaint(one_shop: Shop, office: Office) -> None:
    order = await bought(one_shop)
    path = f"/cabinet-orders/{order.id}/complaints"
    made = await office.ask("POST", path, {"text": "x"}, token="buyer")

    resolve = f"/admin/complaints/{made.json['id']}/resolve"
    hidden = await office.ask("POST", resolve, WHY, token="foreigner")
    assert (hidden.status, hidden.json["code"]) == (404, "complaints.not_found")
    done = await office.ask("POST", resolve, WHY, token="support")

    assert done.json["state"] == "refused"


async def test_complaints_that_are_none(one_shop: Shop, office: Office) -> None:
    order = await bought(one_shop)
    path = f"/cabinet-orders/{order.id}/complaints"
    png = base64.b64encode(picture()).decode()
    script = base64.b64encode(b"<svg onload=alert(1)>").decode()
    large = base64.b64encode(b"x" * (512 * 1024 + 1)).decode()

    for body, status, code in (
        ({"text": " "}, 400, "body.invalid"),
        ({"text": "x" * 1001}, 400, "body.invalid"),
        ({"text": "a\x00b"}, 400, "body.invalid"),
        ({"text": "x", "pictures": [png] * 7}, 400, "body.invalid"),
        ({"text": "x", "pictures": ["*"]}, 400, "body.invalid"),
        ({"text": "x", "pictures": [large]}, 400, "body.invalid"),
        ({"text": "x", "pictures": [script]}, 422, "stall.bad_picture"),
    ):
        refused = await office.ask("POST", path, body, token="buyer")
        assert (refused.status, refused.json["code"]) == (status, code)
    assert (await office.ask("GET", path, token="buyer")).json == []
