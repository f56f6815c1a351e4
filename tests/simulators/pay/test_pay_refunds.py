"""Refunds of V2, their plans, their query, and the ledger, over real HTTP and TLS."""

import ssl

import httpx
import pytest

from simulators.wechat import WeChat
from tests.simulators.pay import merchant
from tests.simulators.pay.merchant import (
    ask,
    hand,
    look,
    place,
    query,
    question,
    refund,
    refund_query,
    refused_hand,
)


@pytest.fixture
async def paid(caller: httpx.AsyncClient) -> str:
    await place(caller)
    await hand(caller, "pay", out_trade_no="T-0001")
    return "T-0001"


async def left(caller: httpx.AsyncClient) -> int:
    fen: int = (await look(caller, "ledger"))["orders"]["T-0001"]["left_fen"]
    return fen


@pytest.mark.usefixtures("paid")
async def test_a_refund_is_accepted_first_and_money_moves_after(caller: httpx.AsyncClient) -> None:
    await hand(caller, "refunds", result="SUCCESS", after_s=60)

    accepted = await refund(caller)
    under_way = await refund_query(caller, out_refund_no="R-0001")
    before = await left(caller)
    await hand(caller, "refunds", result="SUCCESS", out_refund_no="R-0001")
    arrived = await refund_query(caller, refund_id=accepted["refund_id"])

    assert (accepted["result_code"], accepted["refund_fee"]) == ("SUCCESS", "1880")
    assert (under_way["refund_status_0"], before) == ("PROCESSING", 1880)
    assert (arrived["refund_status_0"], await left(caller)) == ("SUCCESS", 0)
    assert arrived["refund_success_time_0"] == "2026-11-20 12:00:00"
    assert (await query(caller))["trade_state"] == "REFUND"


@pytest.mark.usefixtures("paid")
async def test_a_planned_refund_arrives_when_the_clock_gets_there(
    caller: httpx.AsyncClient, wechat: WeChat
) -> None:
    await hand(caller, "refunds", result="SUCCESS", after_s=60)
    await refund(caller)

    wechat.clock.advance(59)
    await hand(caller, "idle")
    early = await left(caller)
    wechat.clock.advance(1)
    await hand(caller, "idle")

    assert (early, await left(caller)) == (1880, 0)


@pytest.mark.usefixtures("paid")
async def test_the_same_number_is_the_same_refund(caller: httpx.AsyncClient) -> None:
    first = await refund(caller, refund_fee="1000")
    again = await refund(caller, refund_fee="1000")
    other = await refund(caller, refund_fee="1001")
    await hand(caller, "idle")

    assert again["refund_id"] == first["refund_id"]
    assert other["err_code"] == "REFUND_FEE_MISMATCH"
    assert await left(caller) == 880


@pytest.mark.usefixtures("paid")
async def test_more_than_was_paid_never_goes_back(caller: httpx.AsyncClient) -> None:
    await refund(caller, refund_fee="1000")
    too_much = await refund(caller, refund_fee="881", out_refund_no="R-2")
    rest = await refund(caller, refund_fee="880", out_refund_no="R-3")
    await hand(caller, "idle")

    assert (too_much["err_code"], too_much["err_code_des"]) == ("ERROR", "累计退款金额大于支付金额")
    assert rest["result_code"] == "SUCCESS"
    assert await left(caller) == 0


@pytest.mark.usefixtures("paid")
async def test_a_refund_that_was_closed_frees_its_amount(caller: httpx.AsyncClient) -> None:
    await hand(caller, "settings", refund_result="REFUNDCLOSE")
    await refund(caller)
    await hand(caller, "idle")
    await hand(caller, "settings", refund_result="CHANGE")
    changed = await refund(caller, out_refund_no="R-2")
    await hand(caller, "idle")

    state = await refund_query(caller, out_refund_no="R-2")
    again = await refund(caller, out_refund_no="R-3")
    await hand(caller, "refunds", result="SUCCESS", out_refund_no="R-2")
    settled = await refused_hand(caller, "refunds", result="CHANGE", out_refund_no="R-2")

    assert changed["result_code"] == "SUCCESS"
    assert state["refund_status_0"] == "CHANGE"
    assert again["err_code"] == "ERROR"
    assert await left(caller) == 0
    assert "back already" in settled


async def test_what_cannot_be_refunded_is_refused_by_name(
    caller: httpx.AsyncClient, wechat: WeChat
) -> None:
    await place(caller)
    unpaid = await refund(caller)
    await hand(caller, "pay", out_trade_no="T-0001")

    wrong = [
        (await refund(caller, **fields))["err_code"]
        for fields in (
            {"out_trade_no": "T-none"},
            {"total_fee": "1881"},
            {"refund_fee": "0"},
            {"out_refund_no": "R 1"},
            {"out_refund_no": "R" * 65},
            {"notify_url": "notify"},
            {"appid": "wx5a1e000000005e11"},
            {"out_trade_no": ""},
        )
    ]
    wechat.clock.advance(366 * 86400)

    assert unpaid["err_code"] == "TRADE_STATE_ERROR"
    assert wrong == [
        *("ORDERNOTEXIST", "REFUND_FEE_MISMATCH", "PARAM_ERROR", "PARAM_ERROR", "PARAM_ERROR"),
        *("PARAM_ERROR", "PARAM_ERROR", "LACK_PARAMS"),
    ]
    assert (await refund(caller))["err_code"] == "TRADE_OVERDUE"


@pytest.mark.usefixtures("paid")
async def test_without_the_certificate_there_is_a_page_and_no_refund(
    caller: httpx.AsyncClient,
) -> None:
    async def status(**headers: str) -> int:
        fields = question(
            out_trade_no="T-0001", out_refund_no="R-0001", total_fee="1880", refund_fee="1"
        )
        body = merchant.xml_of({**fields, "sign": merchant.hmac_sign(fields)})
        return (await caller.post("/secapi/pay/refund", content=body, headers=headers)).status_code

    none = await status(**{"X-Simulated-Client-Certificate": "no"})
    await hand(caller, "settings", certificate_shown=False)
    unset = await status()
    nothing = await refund_query(caller, out_refund_no="R-0001")
    shown = await status(**{"X-Simulated-Client-Certificate": "yes"})

    assert (none, unset, shown) == (400, 400, 200)
    assert nothing["err_code"] == "REFUNDNOTEXIST"


@pytest.mark.usefixtures("paid")
async def test_over_tls_the_merchants_own_certificate_is_wanted(wechat: WeChat) -> None:
    url = await wechat.start_tls()
    pair = wechat.pay.keys.pair("merchant")
    trusting = ssl.create_default_context(cafile=wechat.pay.tls_certificate_file)
    showing = ssl.create_default_context(cafile=wechat.pay.tls_certificate_file)
    showing.load_cert_chain(pair.cert_file, pair.key_file)

    async with httpx.AsyncClient(base_url=url, verify=trusting, trust_env=False) as nobody:
        open_to_all = await query(nobody)
        refused = await nobody.post("/secapi/pay/refund", content=b"<xml/>")
    async with httpx.AsyncClient(base_url=url, verify=showing, trust_env=False) as client:
        accepted = await refund(client)

    assert open_to_all["trade_state"] == "SUCCESS"
    assert (refused.status_code, "No required SSL certificate" in refused.text) == (400, True)
    assert accepted["result_code"] == "SUCCESS"


@pytest.mark.usefixtures("paid")
async def test_many_refunds_come_in_pages(caller: httpx.AsyncClient) -> None:
    for n in range(12):
        await refund(caller, refund_fee="1", out_refund_no=f"R-{n}")

    first = await refund_query(caller, out_trade_no="T-0001")
    second = await refund_query(caller, out_trade_no="T-0001", offset="10")
    beyond = await refund_query(caller, out_trade_no="T-0001", offset="12")
    wrong = await refund_query(caller, out_trade_no="T-0001", offset="x")
    for n in range(12, 21):
        await refund(caller, refund_fee="1", out_refund_no=f"R-{n}")
    too_many = await refund_query(caller, out_trade_no="T-0001")

    assert (first["refund_count"], first["total_refund_count"]) == ("10", "12")
    assert (second["refund_count"], second["out_refund_no_11"]) == ("2", "R-11")
    assert "out_refund_no_0" not in second
    assert [a["err_code"] for a in (beyond, wrong, too_many)] == [
        *("REFUNDNOTEXIST", "PARAM_ERROR", "INVALID_REQUEST"),
    ]


@pytest.mark.usefixtures("paid")
async def test_an_order_has_fifty_refunds_at_most(caller: httpx.AsyncClient) -> None:
    accepted = [
        await refund(caller, refund_fee="1", out_refund_no=f"R-{n}", sign_type="MD5")
        for n in range(51)
    ]

    assert {a["result_code"] for a in accepted[:50]} == {"SUCCESS"}
    assert accepted[50]["err_code"] == "ERROR"


@pytest.mark.usefixtures("paid")
async def test_a_bad_word_to_the_hand_is_refused(caller: httpx.AsyncClient) -> None:
    for path, body in (
        ("refunds", {"result": "GONE"}),
        ("refunds", {"result": "SUCCESS", "out_refund_no": "R-none"}),
        ("settings", {"colour": "red"}),
        ("settings", {"public_key_share": 101}),
        ("faults", {"endpoint": "nowhere", "kind": "drop"}),
        ("faults", {"endpoint": "refund", "kind": "xxe"}),
        ("faults", {"endpoint": "notify.pay", "kind": "http_502"}),
        ("pay", {}),
    ):
        assert await refused_hand(caller, path, **body)

    assert (await caller.post("/sim/pay/settings", content=b"[]")).status_code == 400
    assert (await ask(caller, "/pay/orderquery", question(out_trade_no="T-0001")))["openid"]
