"""Payscore: the whole state table, the deductions, and permissions, over real HTTP."""

from typing import Any

import pytest

from simulators.wechat import DINER_APPID, SELLER_APPID, WeChat
from simulators.wechat.pay.merchant import MCH_ID, SERVICE_ID, STRANGE_APPID
from tests.simulators.pay.merchant import Shop, hand, hmac_sign, look, place, refused_hand
from tests.simulators.pay.v3 import Client

ORDERS = "/v3/payscore/serviceorder"
NAMED = {"appid": DINER_APPID, "service_id": SERVICE_ID}


def creation(**changes: object) -> dict[str, object]:
    return {
        **NAMED,
        "out_order_no": "S-0001",
        "service_introduction": "自助柜",
        "time_range": {"start_time": "OnAccept"},
        "risk_fund": {"name": "ESTIMATE_ORDER_COST", "amount": 5000},
        "notify_url": "http://127.0.0.1:9/notify",
    } | changes


def completion(fen: int = 880, **changes: object) -> dict[str, object]:
    return {
        **NAMED,
        "post_payments": [{"name": "可乐", "amount": fen, "count": 2}],
        "total_amount": fen,
        "time_range": {"end_time": "20261120120100"},
    } | changes


def uri(verb: str, number: str = "S-0001") -> str:
    return f"{ORDERS}/{number}/{verb}"


async def found(client: Client, number: str = "S-0001") -> dict[str, Any]:
    query_text = f"service_id={SERVICE_ID}&appid={DINER_APPID}&out_order_no={number}"
    answer = await client.ask("GET", f"{ORDERS}?{query_text}")
    assert isinstance(answer, dict)
    return answer


async def states(client: Client, number: str = "S-0001") -> tuple[str, str, str]:
    order = await found(client, number)
    collection = order.get("collection", {}).get("state", "")
    return order["state"], order.get("state_description", ""), collection


async def running(client: Client, **changes: object) -> None:
    """An order the user has confirmed, a minute ago."""
    await client.ask("POST", ORDERS, creation(**changes))
    number = str(changes.get("out_order_no", "S-0001"))
    await hand(client.caller, "score/confirm", out_order_no=number, openid="o-alice")
    client.wechat.clock.advance(60)


async def number_of(client: Client, verb: str, body: object, order: str = "S-0001") -> int:
    return (await client.refused("POST", uri(verb, order), body))[2]


CANCEL = {**NAMED, "reason": "柜门未开"}
MODIFY = {
    **NAMED,
    "post_payments": [{"name": "可乐", "amount": 440}],
    "total_amount": 440,
    "reason": "多算了一瓶",
}
SYNC = {**NAMED, "type": "Order_Paid", "detail": {"paid_time": "20261120120200"}}


async def test_an_order_goes_from_created_to_paid(client: Client, shop: Shop) -> None:
    created = await client.ask("POST", ORDERS, creation(notify_url=shop.url, attach="cabinet:1"))
    extra = {
        "mch_id": MCH_ID,
        "package": created["package"],
        "timestamp": "1795147200",
        "nonce_str": "abc",
        "sign_type": "HMAC-SHA256",
    }
    extra |= {"sign": hmac_sign(extra)}
    confirmed = await hand(
        client.caller, "score/confirm", out_order_no="S-0001", openid="o-alice", extra_data=extra
    )
    client.wechat.clock.advance(60)
    asked = await client.ask("POST", uri("complete"), completion())
    await hand(client.caller, "idle")
    done = await found(client)

    assert created["state"] == "CREATED"
    assert (confirmed["state"], confirmed["openid"]) == ("DOING", "o-alice")
    assert confirmed["time_range"]["start_time"] == "20261120120000"
    assert (asked["state"], asked["state_description"]) == ("DOING", "MCH_COMPLETE")
    assert asked["collection"]["paying_amount"] == 880
    assert asked["need_collection"] is True
    assert (done["state"], done["collection"]["state"]) == ("DONE", "USER_PAID")
    assert done["collection"]["details"][0]["amount"] == 880
    events = {client.opened(told)[0]: client.opened(told)[1] for told in shop.told}
    assert set(events) == {"PAYSCORE.USER_CONFIRM", "PAYSCORE.USER_PAID"}
    assert events["PAYSCORE.USER_CONFIRM"]["state_description"] == "USER_CONFIRM"
    paid = events["PAYSCORE.USER_PAID"]
    assert paid["collection"]["details"][0]["transaction_id"]
    assert (await look(client.caller, "ledger"))["orders"]["S-0001"]["left_fen"] == 880


async def test_extra_data_that_is_not_signed_right_opens_nothing(client: Client) -> None:
    package = (await client.ask("POST", ORDERS, creation()))["package"]
    good = {
        "mch_id": MCH_ID,
        "package": package,
        "timestamp": "1795147200",
        "nonce_str": "abc",
        "sign_type": "HMAC-SHA256",
    }
    wrong: list[dict[str, str]] = [
        good,
        good | {"sign": "0" * 64},
        good | {"mch_id": "1", "sign": hmac_sign(good | {"mch_id": "1"})},
        good | {"package": "none", "sign": "0"},
    ]

    errors = [await refused_hand(client.caller, "score/confirm", extra_data=e) for e in wrong]

    assert len(set(errors)) == 4
    assert await states(client) == ("CREATED", "", "")


@pytest.mark.parametrize(
    ("changes", "number"),
    [
        ({"service_id": "1"}, 268503786),
        ({"appid": STRANGE_APPID}, 271302149),
        ({"risk_fund": {"name": "DEPOSIT", "amount": 20001}}, 271316656),
        ({"risk_fund": {"name": "GIFT", "amount": 1}}, 268435464),
        ({"time_range": {}}, 268435464),
        ({"time_range": {"start_time": "2026-11-20"}}, 268435464),
        ({"time_range": {"start_time": "20261120", "end_time": "20261119"}}, 268435464),
        ({"service_introduction": "自" * 21}, 268435464),
        ({"out_order_no": "S 1"}, 268435464),
        ({"notify_url": "http://127.0.0.1/?a"}, 268435464),
        ({"need_user_confirm": False}, 268435464),
        ({"need_user_confirm": False, "openid": "o-alice"}, 268503786),
        ({"post_payments": [{"name": "水", "amount": -1}]}, 268435464),
        ({"post_payments": [{"name": "水", "amount": 1, "count": 101}]}, 268435464),
        ({"post_discounts": [{"name": "券", "amount": 1}] * 31}, 268435464),
    ],
)
async def test_a_creation_is_refused_by_number(
    client: Client, changes: dict[str, object], number: int
) -> None:
    assert (await client.refused("POST", ORDERS, creation(**changes)))[2] == number


async def test_the_same_creation_is_the_same_order_and_another_is_refused(client: Client) -> None:
    first = await client.ask("POST", ORDERS, creation())
    again = await client.ask("POST", ORDERS, creation())
    other = await client.refused("POST", ORDERS, creation(service_introduction="充电"))

    assert again["order_id"] == first["order_id"]
    assert other == (400, "INVALID_REQUEST", 271316598)


async def test_a_query_wants_one_number_of_the_right_service(client: Client) -> None:
    await running(client)
    query_id = client.wechat.pay.score.all["S-0001"].query_id
    common = f"service_id={SERVICE_ID}&appid={DINER_APPID}"

    by_query = await client.ask("GET", f"{ORDERS}?{common}&query_id={query_id}")
    wrong = [
        (await client.refused("GET", f"{ORDERS}?{query_text}"))[2]
        for query_text in (
            common,
            f"{common}&out_order_no=S-0001&query_id={query_id}",
            f"{common}&out_order_no=S-none",
            f"{common}&query_id=none",
            f"service_id=1&appid={DINER_APPID}&out_order_no=S-0001",
            f"service_id={SERVICE_ID}&appid={SELLER_APPID}&out_order_no=S-0001",
            f"appid={DINER_APPID}&out_order_no=S-0001",
        )
    ]

    assert by_query["out_order_no"] == "S-0001"
    assert wrong == [
        *(268435464, 268435464, 271317510, 271317510, 271317510, 4108, 268435464),
    ]


async def test_while_created_only_cancelling_is_open(client: Client) -> None:
    await client.ask("POST", ORDERS, creation())

    refused = [
        await number_of(client, verb, body)
        for verb, body in (
            *(("complete", completion()), ("modify", MODIFY), ("sync", SYNC), ("pay", NAMED)),
        )
    ]
    await hand(client.caller, "settings", created_cannot_cancel=True)
    other_reading = await number_of(client, "cancel", CANCEL)
    await hand(client.caller, "settings", created_cannot_cancel=False)
    cancelled = await client.ask("POST", uri("cancel"), CANCEL)

    assert refused == [271302332, 271316657, 271316657, 271316657]
    assert other_reading == 271302332
    assert cancelled["order_id"]
    assert await states(client) == ("REVOKED", "MCH_CANCEL", "")


async def test_a_running_order_can_be_cancelled_and_then_nothing_more(client: Client) -> None:
    await running(client)

    early = [
        await number_of(client, verb, body)
        for verb, body in (("modify", MODIFY), ("sync", SYNC), ("pay", NAMED))
    ]
    await client.ask("POST", uri("cancel"), CANCEL)
    await client.ask("POST", uri("cancel"), CANCEL)
    late = [
        await number_of(client, verb, body)
        for verb, body in (
            ("cancel", CANCEL | {"reason": "other"}),
            ("complete", completion()),
            ("modify", MODIFY),
        )
    ]
    confirmed = await refused_hand(client.caller, "score/confirm", out_order_no="S-0001")

    assert early == [271316657] * 3
    assert late == [271302333, 271302333, 271316657]
    assert "已取消" in confirmed


async def test_a_completion_is_done_once(client: Client) -> None:
    await hand(client.caller, "settings", deduct_takes_s=60)
    await running(client)

    first = await client.ask("POST", uri("complete"), completion())
    again = await client.ask("POST", uri("complete"), completion())
    other = await number_of(client, "complete", completion(881))
    cancelled = await number_of(client, "cancel", CANCEL)

    assert first == again
    assert (other, cancelled) == (271316598, 271316592)
    assert await states(client) == ("DOING", "MCH_COMPLETE", "USER_PAYING")


@pytest.mark.parametrize(
    ("body", "number"),
    [
        (completion(total_amount=881), 268435464),
        (completion(20001), 271316656),
        (completion(time_range={}), 268435464),
        (completion(time_range={"end_time": "20261120115900"}), 271316637),
        (completion(time_range={"end_time": "20261120120000"}), 271316637),
        (completion(time_range={"end_time": "20261120120101"}), 268435464),
        (completion(time_range={"end_time": "20261120"}), 268435464),
        (completion(time_range={"end_time": "soon"}), 268435464),
        (completion(post_payments=[]), 268435464),
        (completion(appid=SELLER_APPID), 4108),
    ],
)
async def test_a_completion_is_refused_by_number(
    client: Client, body: dict[str, object], number: int
) -> None:
    await running(client)

    assert await number_of(client, "complete", body) == number
    assert await states(client) == ("DOING", "USER_CONFIRM", "")


async def test_a_deposit_limits_the_end_and_days_are_enough(client: Client) -> None:
    deposit = {"name": "DEPOSIT", "amount": 500}
    days = {"start_time": "20261120", "end_time": "20261120"}
    await running(client, risk_fund=deposit, time_range=days)

    too_much = await number_of(client, "complete", completion(501, time_range={}))
    await client.ask("POST", uri("complete"), completion(500, time_range={}))

    assert too_much == 271316656


async def test_nothing_to_pay_ends_at_once(client: Client, shop: Shop) -> None:
    await running(client, notify_url=shop.url)
    done = await client.ask(
        "POST",
        uri("complete"),
        completion(
            post_payments=[{"name": "水", "amount": 300}],
            post_discounts=[{"name": "券", "amount": 300}],
            total_amount=0,
        ),
    )
    await hand(client.caller, "idle")

    assert (done["state"], done["need_collection"]) == ("DONE", False)
    assert "collection" not in done
    assert len(shop.told) == 1
    assert await number_of(client, "cancel", CANCEL) == 271316592
    assert (await look(client.caller, "ledger"))["entries"] == []


async def test_a_deduction_fails_as_often_as_planned(client: Client, wechat: WeChat) -> None:
    await hand(client.caller, "score/deduct", fails=3)
    await running(client)
    await client.ask("POST", uri("complete"), completion())
    await hand(client.caller, "idle")

    after_first = await states(client)
    urged = await number_of(client, "pay", NAMED)
    wechat.clock.advance(3600)
    await hand(client.caller, "idle")
    after_third = await states(client)
    await client.ask("POST", uri("pay"), NAMED)
    paid = await states(client)
    wechat.clock.advance(3600)
    await hand(client.caller, "idle")

    assert after_first == after_third == ("DOING", "MCH_COMPLETE", "USER_PAYING")
    assert urged == 271316574
    assert paid == ("DONE", "MCH_COMPLETE", "USER_PAID")
    assert len((await look(client.caller, "ledger"))["entries"]) == 1
    assert await number_of(client, "pay", NAMED) == 271316657


async def test_what_is_asked_can_only_be_lowered(client: Client) -> None:
    await hand(client.caller, "score/deduct", fails=1000)
    await running(client)
    await client.ask("POST", uri("complete"), completion())

    higher = await number_of(client, "modify", MODIFY | {"total_amount": 441})
    same = completion()
    same |= {"reason": "same"}
    equal = await number_of(client, "modify", same)
    lowered = await client.ask("POST", uri("modify"), MODIFY)
    free = MODIFY | {"post_payments": [{"name": "可乐", "amount": 0}], "total_amount": 0}
    ended = await client.ask("POST", uri("modify"), free)

    assert (higher, equal) == (268435464, 268435464)
    assert lowered["collection"]["paying_amount"] == 440
    assert (ended["state"], ended["collection"]["state"]) == ("DONE", "USER_PAID")


async def test_an_order_paid_elsewhere_ends_without_money_here(client: Client) -> None:
    await running(client)
    await hand(client.caller, "score/deduct", fails=1)
    await client.ask("POST", uri("complete"), completion())
    await hand(client.caller, "score/deduct", fails=9, out_order_no="S-0001")

    synced = await client.ask("POST", uri("sync"), SYNC)

    assert (synced["state"], synced["collection"]["state"]) == ("DONE", "USER_PAID")
    assert synced["collection"]["details"][0]["paid_type"] == "MCH"
    assert (await look(client.caller, "ledger"))["entries"] == []


async def test_who_does_not_confirm_for_thirty_days_never_will(
    client: Client, wechat: WeChat
) -> None:
    await client.ask("POST", ORDERS, creation())

    await hand(client.caller, "score/refuse", out_order_no="S-0001")
    before = await states(client)
    wechat.clock.advance(30 * 86400)

    assert before == ("CREATED", "", "")
    assert await states(client) == ("EXPIRED", "", "")
    assert await refused_hand(client.caller, "score/confirm", out_order_no="S-0001")
    assert await number_of(client, "cancel", CANCEL) == 271316592
    assert await number_of(client, "complete", completion()) == 271302262


async def test_a_user_has_three_running_orders_at_most_and_must_be_fit(client: Client) -> None:
    for n in range(4):
        await client.ask("POST", ORDERS, creation(out_order_no=f"S-{n}"))
    for n in range(3):
        await hand(client.caller, "score/confirm", out_order_no=f"S-{n}", openid="o-alice")

    async def confirm(openid: str) -> str:
        return await refused_hand(client.caller, "score/confirm", out_order_no="S-3", openid=openid)

    fourth = await confirm("o-alice")
    await hand(client.caller, "score/people", openid="o-bob", is_unfit=True)
    await hand(client.caller, "score/people", openid="o-carol", is_overdue=True)
    unfit, overdue = await confirm("o-bob"), await confirm("o-carol")
    await hand(client.caller, "score/people", openid="o-bob")
    await hand(client.caller, "score/confirm", out_order_no="S-3", openid="o-bob")

    token = (await client.ask("POST", PERMISSIONS, APPLY))["apply_permissions_token"]
    await hand(client.caller, "score/permit", token=token, openid="o-alice")
    unasked = creation(out_order_no="S-9", need_user_confirm=False, openid="o-alice")
    fifth = await client.refused("POST", ORDERS, unasked)
    await client.ask("POST", ORDERS, creation(out_order_no="S-8", openid="o-dora"))
    foreign = await refused_hand(
        client.caller, "score/confirm", out_order_no="S-8", openid="o-alice"
    )

    assert fifth == (403, "INVALID_REQUEST", 271300099)
    assert "其他用户" in foreign
    assert fourth == unfit == "综合评估未通过"
    assert "超时未支付" in overdue


async def test_a_deduction_is_refunded_by_its_transaction_only_and_stands_in_the_bill(
    client: Client, wechat: WeChat
) -> None:
    await running(client)
    await client.ask("POST", uri("complete"), completion())
    await hand(client.caller, "idle")
    detail = (await found(client))["collection"]["details"][0]
    hidden = (await look(client.caller, "state"))["orders"][0]["out_trade_no"]
    amount = {"refund": 880, "total": 880, "currency": "CNY"}
    body = {"out_refund_no": "R-1", "amount": amount}

    path = "/v3/refund/domestic/refunds"
    by_ours = await client.refused("POST", path, body | {"out_trade_no": "S-0001"})
    by_theirs = await client.refused("POST", path, body | {"out_trade_no": hidden})
    transaction_id = detail["transaction_id"]
    await client.ask("POST", path, body | {"transaction_id": transaction_id})
    await hand(client.caller, "idle")
    wechat.clock.advance(86400)
    link = await client.ask("GET", "/v3/bill/tradebill?bill_date=2026-11-20&bill_type=SUCCESS")
    file = await client.send("GET", link["download_url"].removeprefix(wechat.url))

    assert (by_ours[0], by_theirs[0]) == (404, 404)
    assert (await look(client.caller, "ledger"))["orders"]["S-0001"]["left_fen"] == 0
    order_id = (await found(client))["order_id"]
    assert ",`AUTH,`" in file.text
    assert f"`wxzff|{order_id}|S-0001" in file.text


# ---------------------------------------------------------------- permissions

PERMISSIONS = "/v3/payscore/permissions"
APPLY = {**NAMED, "authorization_code": "A-0001"}
BY_CODE = f"{PERMISSIONS}/authorization-code/A-0001"
BY_OPENID = f"{PERMISSIONS}/openid/o-alice"
END = {"service_id": SERVICE_ID, "appid": DINER_APPID, "reason": "用户要求"}


async def test_a_user_lets_the_merchant_open_orders_and_takes_it_back(
    client: Client, shop: Shop
) -> None:
    asked = APPLY | {"notify_url": shop.url}
    token = (await client.ask("POST", PERMISSIONS, asked))["apply_permissions_token"]
    same = (await client.ask("POST", PERMISSIONS, asked))["apply_permissions_token"]
    before = await client.refused("GET", f"{BY_CODE}?service_id={SERVICE_ID}")
    await hand(client.caller, "score/permit", token=token, openid="o-alice")
    by_code = await client.ask("GET", f"{BY_CODE}?service_id={SERVICE_ID}")
    by_openid = await client.ask("GET", f"{BY_OPENID}?service_id={SERVICE_ID}&appid={DINER_APPID}")
    order = await client.ask("POST", ORDERS, creation(need_user_confirm=False, openid="o-alice"))
    busy = await client.refused("POST", f"{BY_CODE}/terminate", END)
    await client.ask("POST", uri("cancel"), CANCEL)
    ended = await client.ask("POST", f"{BY_OPENID}/terminate", END)
    twice = await client.refused("POST", f"{BY_CODE}/terminate", END)
    closed = await client.ask("GET", f"{BY_CODE}?service_id={SERVICE_ID}")

    assert token == same
    assert before[:2] == (404, "RESOURCE_NOT_EXISTS")
    assert by_code == by_openid
    assert (by_code["authorization_state"], by_code["openid"]) == ("AVAILABLE", "o-alice")
    assert (order["state"], order["state_description"]) == ("DOING", "USER_CONFIRM")
    assert "package" not in order
    assert (busy[0], ended, twice[0]) == (400, None, 400)
    assert closed["authorization_state"] == "UNAVAILABLE"
    await hand(client.caller, "idle")
    assert client.opened(shop.told[0])[1]["user_service_status"] == "USER_OPEN_SERVICE"


async def test_a_user_may_close_the_service_on_the_phone(client: Client, shop: Shop) -> None:
    asked = APPLY | {"notify_url": shop.url}
    token = (await client.ask("POST", PERMISSIONS, asked))["apply_permissions_token"]
    closed_early = await refused_hand(client.caller, "score/permit", token=token, is_closed=True)
    await hand(client.caller, "score/permit", token=token, openid="o-alice")
    await hand(client.caller, "idle")
    await hand(client.caller, "score/permit", token=token, is_closed=True)
    await hand(client.caller, "idle")

    events = [client.opened(told)[0] for told in shop.told]
    assert closed_early
    assert events == ["PAYSCORE.USER_OPEN_SERVICE", "PAYSCORE.USER_CLOSE_SERVICE"]
    assert await refused_hand(client.caller, "score/permit", token="none")


async def test_a_permission_is_refused_by_number(client: Client) -> None:
    token = (await client.ask("POST", PERMISSIONS, APPLY))["apply_permissions_token"]
    await hand(client.caller, "score/permit", token=token, openid="o-alice")
    refused = [
        await client.refused(method, path, body)
        for method, path, body in (
            ("POST", PERMISSIONS, APPLY),
            ("POST", PERMISSIONS, APPLY | {"service_id": "1"}),
            ("POST", PERMISSIONS, APPLY | {"appid": STRANGE_APPID}),
            ("POST", PERMISSIONS, APPLY | {"notify_url": "no"}),
            ("GET", BY_CODE, None),
            ("GET", f"{BY_OPENID}?service_id={SERVICE_ID}", None),
            ("GET", f"{BY_CODE}?service_id=1", None),
            ("POST", f"{BY_OPENID}/terminate", {k: END[k] for k in ("service_id", "reason")}),
        )
    ]

    assert [number for _, _, number in refused] == [
        *(0, 268503786, 271302149, 268435464, 268435464, 268435464, 268503786, 268435464),
    ]


async def test_a_fault_may_strike_payscore_alone(client: Client) -> None:
    await hand(client.caller, "faults", endpoint="v3.score.complete", kind="drop", is_done=True)
    await running(client)

    with pytest.raises(Exception, match="disconnected"):
        await client.ask("POST", uri("complete"), completion())
    await hand(client.caller, "idle")

    assert (await states(client))[0] == "DONE"
    assert (await place(client.caller))["result_code"] == "SUCCESS"
