"""What notifications say, when they come again, what counts as thanks, and what goes wrong."""

import asyncio
import base64
import hashlib

import httpx
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from tornado.httputil import HTTPServerRequest

from simulators.wechat import WeChat
from simulators.wechat.pay.merchant import API_V2_KEY, MCH_ID
from simulators.wechat.pay.notifier import RETRIES_S
from tests.simulators.pay.merchant import (
    THANKS,
    Shop,
    fields_of,
    hand,
    hmac_sign,
    look,
    md5_sign,
    place,
    refund,
)


async def pay(caller: httpx.AsyncClient, shop: Shop, number: str = "T-0001", **order: str) -> None:
    await place(caller, out_trade_no=number, notify_url=shop.url, **order)
    await hand(caller, "pay", out_trade_no=number)
    await hand(caller, "idle")


async def notice(caller: httpx.AsyncClient, subject: str = "T-0001") -> dict[str, object]:
    (only,) = (await look(caller, f"notices?subject={subject}"))["notices"]
    assert isinstance(only, dict)
    return only


@pytest.mark.parametrize("sign_type", ["MD5", "HMAC-SHA256"])
async def test_a_payment_is_told_under_the_orders_kind_of_signature(
    caller: httpx.AsyncClient, shop: Shop, sign_type: str
) -> None:
    await pay(caller, shop, sign_type=sign_type, attach="stall:7")

    (said,) = shop.fields
    sign = md5_sign if sign_type == "MD5" else hmac_sign
    assert said["sign"] == sign(said)
    assert "sign_type" not in said
    assert (said["return_code"], said["result_code"]) == ("SUCCESS", "SUCCESS")
    assert (said["mch_id"], said["out_trade_no"], said["attach"]) == (MCH_ID, "T-0001", "stall:7")
    assert (said["total_fee"], said["fee_type"], said["is_subscribe"]) == ("1880", "CNY", "N")
    assert (await notice(caller))["state"] == "delivered"


async def test_it_comes_again_for_a_day_and_four_minutes(
    caller: httpx.AsyncClient, shop: Shop, wechat: WeChat
) -> None:
    shop.usual = (200, "success")
    await pay(caller, shop)

    counts = []
    for wait_s in RETRIES_S:
        wechat.clock.advance(wait_s - 1)
        await hand(caller, "idle")
        counts.append(len(shop.told))
        wechat.clock.advance(1)
        await hand(caller, "idle")
    wechat.clock.advance(86400)
    await hand(caller, "idle")

    assert sum(RETRIES_S) == 24 * 3600 + 4 * 60
    assert counts == list(range(1, 16))
    assert len(shop.told) == 16
    assert (await notice(caller))["state"] == "given_up"
    assert len({said["nonce_str"] for said in shop.fields}) == 16


@pytest.mark.parametrize(
    ("status", "answer", "is_thanks"),
    [
        (200, THANKS, True),
        (200, THANKS.replace("SUCCESS", "success"), False),
        (200, THANKS.replace("OK", ""), False),
        (200, '{"code": "SUCCESS"}', False),
        (200, "<html>OK</html>", False),
        (200, "", False),
        (500, THANKS, False),
        (200, THANKS.replace("SUCCESS", "FAIL"), False),
    ],
)
async def test_only_the_exact_words_are_thanks(
    caller: httpx.AsyncClient, shop: Shop, status: int, answer: str, is_thanks: bool
) -> None:
    shop.usual = (status, answer)

    await pay(caller, shop)

    told = await notice(caller)
    assert told["state"] == ("delivered" if is_thanks else "waiting")
    assert told["attempts"][0]["status"] == status  # type: ignore[index]


async def test_thanks_that_come_late_do_not_count(caller: httpx.AsyncClient, shop: Shop) -> None:
    never = asyncio.Event()

    async def wait(_request: HTTPServerRequest) -> None:
        await never.wait()

    shop.before_answer = wait
    await hand(caller, "settings", ack_timeout_s=0.05)

    await pay(caller, shop)
    never.set()

    told = await notice(caller)
    assert told["state"] == "waiting"
    assert told["attempts"][0]["status"] == 0  # type: ignore[index]


async def test_nobody_there_is_a_failed_attempt(caller: httpx.AsyncClient, shop: Shop) -> None:
    await shop.close()
    await pay(caller, shop)

    assert (await notice(caller))["state"] == "waiting"


async def test_play_money_is_not_told_to_the_world(caller: httpx.AsyncClient, shop: Shop) -> None:
    shop.url = "http://8.8.8.8/notify"
    await pay(caller, shop)
    shop.url = "http://no-such-host.invalid/notify"
    await pay(caller, shop, "T-2")

    answers = [
        (await notice(caller, number))["attempts"][0]["answer"]  # type: ignore[index]
        for number in ("T-0001", "T-2")
    ]
    assert "not sent" in answers[0]
    assert "no such host" in answers[1]


async def test_it_can_be_sent_again_by_hand(caller: httpx.AsyncClient, shop: Shop) -> None:
    await pay(caller, shop)
    shop.usual = (500, "")
    await pay(caller, shop, "T-2")
    shop.usual = (200, THANKS)

    by_subject = await hand(caller, "notify/again", subject="T-0001")
    by_id = await hand(caller, "notify/again", id=by_subject["notices"][0]["id"])
    open_ones = await hand(caller, "notify/again")
    no_more = await hand(caller, "notify/again")

    assert [n["subject"] for n in by_id["notices"]] == ["T-0001"]
    assert [n["subject"] for n in open_ones["notices"]] == ["T-2"]
    assert no_more["notices"] == []
    assert len(shop.told) == 5


async def test_blocked_notifications_reach_nobody_until_they_are_let_through(
    caller: httpx.AsyncClient, shop: Shop
) -> None:
    await hand(caller, "notify/block", blocked=True)
    await pay(caller, shop)
    silent = len(shop.told)
    await hand(caller, "notify/block", blocked=False)
    await hand(caller, "notify/again")

    assert (silent, len(shop.told)) == (0, 1)
    assert (await notice(caller))["attempts"][0]["fault"] == "blocked"  # type: ignore[index]


async def test_a_dropped_one_comes_with_the_next_try(
    caller: httpx.AsyncClient, shop: Shop, wechat: WeChat
) -> None:
    await hand(caller, "faults", endpoint="notify.pay", kind="drop")
    await pay(caller, shop)
    silent = len(shop.told)
    wechat.clock.advance(15)
    await hand(caller, "idle")

    assert (silent, len(shop.told)) == (0, 1)


async def test_one_may_come_many_times_at_once(caller: httpx.AsyncClient, shop: Shop) -> None:
    arrived = asyncio.Barrier(4)

    async def together(_request: HTTPServerRequest) -> None:
        await arrived.wait()

    shop.before_answer = together
    await hand(caller, "faults", endpoint="notify.*", kind="duplicate", copies=4)

    await pay(caller, shop)

    assert len(shop.told) == 4
    assert len({said["transaction_id"] for said in shop.fields}) == 1


async def test_one_may_be_late_or_let_another_pass(
    caller: httpx.AsyncClient, shop: Shop, wechat: WeChat
) -> None:
    await hand(caller, "faults", endpoint="notify.pay", kind="delay", seconds=30)
    await hand(caller, "faults", endpoint="notify.pay", kind="reorder", seconds=600)
    await pay(caller, shop, "T-late")
    await pay(caller, shop, "T-polite")
    await pay(caller, shop, "T-first")
    wechat.clock.advance(30)
    await hand(caller, "idle")
    wechat.clock.advance(600)
    await hand(caller, "idle")

    assert [said["out_trade_no"] for said in shop.fields] == ["T-first", "T-polite", "T-late"]


@pytest.mark.parametrize("kind", ["forged_sign", "missing_sign", "no_return_code", "signtest"])
async def test_a_forgery_does_not_verify_and_the_truth_follows(
    caller: httpx.AsyncClient, shop: Shop, wechat: WeChat, kind: str
) -> None:
    shop.answers = [(200, THANKS.replace("SUCCESS", "FAIL"))]
    await hand(caller, "faults", endpoint="notify.pay", kind=kind)
    await pay(caller, shop)
    wechat.clock.advance(15)
    await hand(caller, "idle")

    forged, true = shop.fields
    assert forged.get("sign") != hmac_sign(forged)
    assert true["sign"] == hmac_sign(true)


async def test_an_amount_can_be_wrong_under_a_right_signature(
    caller: httpx.AsyncClient, shop: Shop
) -> None:
    await hand(caller, "faults", endpoint="notify.pay", kind="tampered_amount")
    await pay(caller, shop)

    (said,) = shop.fields
    assert said["sign"] == hmac_sign(said)
    assert said["total_fee"] == "1881"


async def test_a_body_can_be_an_attack_or_nonsense(caller: httpx.AsyncClient, shop: Shop) -> None:
    await hand(caller, "faults", endpoint="notify.pay", kind="xxe")
    await hand(caller, "faults", endpoint="notify.pay", kind="nonsense")
    await pay(caller, shop)
    await pay(caller, shop, "T-2")

    assert b"<!ENTITY stolen SYSTEM" in shop.told[0].body
    assert b"&stolen;" in shop.told[0].body
    with pytest.raises(UnicodeDecodeError):
        shop.told[1].body.decode()


def opened(req_info: str) -> dict[str, str]:
    key = hashlib.md5(API_V2_KEY.encode(), usedforsecurity=False).hexdigest().encode()
    opener = Cipher(algorithms.AES(key), modes.ECB()).decryptor()  # noqa: S305
    padded = opener.update(base64.b64decode(req_info)) + opener.finalize()
    text = padded[: -padded[-1]].decode()
    assert text.startswith("<root>")
    return fields_of(text.replace("<root>", "<xml>").replace("</root>", "</xml>").encode())


async def test_a_refund_is_told_in_a_sealed_letter(caller: httpx.AsyncClient, shop: Shop) -> None:
    await pay(caller, shop)
    await refund(caller, notify_url=shop.url, refund_fee="880")
    await hand(caller, "idle")

    said = shop.fields[1]
    inside = opened(said["req_info"])
    assert set(said) == {"return_code", "appid", "mch_id", "nonce_str", "req_info"}
    assert (inside["out_refund_no"], inside["refund_status"]) == ("R-0001", "SUCCESS")
    assert (inside["refund_fee"], inside["total_fee"]) == ("880", "1880")
    assert inside["success_time"] == "2026-11-20 12:00:00"


async def test_a_sealed_letter_can_lie_or_not_open(caller: httpx.AsyncClient, shop: Shop) -> None:
    await pay(caller, shop)
    for kind in ("tampered_amount", "forged_sign", "missing_sign"):
        await hand(caller, "faults", endpoint="notify.refund", kind=kind)
    await hand(caller, "settings", refund_result="CHANGE")
    for number in ("R-1", "R-2", "R-3"):
        await refund(caller, notify_url=shop.url, refund_fee="1", out_refund_no=number)
        await hand(caller, "idle")

    lie, locked, empty = shop.fields[1:]
    inside = opened(lie["req_info"])
    assert (inside["refund_fee"], inside["refund_status"]) == ("2", "CHANGE")
    assert "success_time" not in inside
    with pytest.raises((AssertionError, UnicodeDecodeError)):
        opened(locked["req_info"])
    assert "req_info" not in empty


async def test_a_stopped_simulator_lets_go_of_who_does_not_answer(shop: Shop) -> None:
    never = asyncio.Event()

    arrived = asyncio.Event()

    async def wait(_request: HTTPServerRequest) -> None:
        arrived.set()
        await never.wait()

    shop.before_answer = wait
    sim = WeChat(start_s=1_795_147_200.0)
    await sim.start(port=0)
    async with httpx.AsyncClient(base_url=sim.url, timeout=5, trust_env=False) as caller:
        await place(caller, notify_url=shop.url)
        await hand(caller, "pay", out_trade_no="T-0001")
        await arrived.wait()

    await sim.stop()
    never.set()


async def test_the_running_clock_brings_the_next_try(caller: httpx.AsyncClient, shop: Shop) -> None:
    shop.answers = [(500, "")]
    await pay(caller, shop)
    again = asyncio.Event()

    async def note(_request: HTTPServerRequest) -> None:
        again.set()

    shop.before_answer = note
    await caller.post("/sim/clock", json={"advance_s": 14.95, "running": True})

    await asyncio.wait_for(again.wait(), 10)

    assert len(shop.told) == 2
