"""Our calls to Xiaomai: what is sent, and what is made of each answer."""

import gzip
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import msgspec
import pytest

from devices.vendors.link import ANSWER_MAX_BYTES
from devices.vendors.port import (
    CanOpen,
    OpenAck,
    OpenCommand,
    Outcome,
    Reason,
    SessionFact,
    VendorRefused,
    VendorUnknown,
)
from devices.vendors.xiaomai import Xiaomai
from devices.vendors.xiaomai.codes import CODES, outcome_of
from devices.vendors.xiaomai.signing import Key
from tests.devices.vendors import speech
from tests.payments.wechat.peer import Peer

NOW = 1_795_147_200_000
COMMAND = OpenCommand(
    request_id="R1",
    session_no="S1",
    device_code="XM-1",
    door_no=1,
    purpose="shop",
    user_ref="u1",
    pull_ttl_s=30,
    max_open_s=600,
    amount_limit_fen=20_000,
    expires_at=NOW + 1,
)


@pytest.fixture
async def peer() -> AsyncIterator[Peer]:
    peer = Peer()
    peer.start()
    yield peer
    await peer.stop()


@pytest.fixture
async def xiaomai(peer: Peer) -> AsyncIterator[Xiaomai]:
    vendor = Xiaomai(
        f"{peer.url}/base/",
        Key("app", "k1", speech.SECRET),
        endpoints={},
        now=lambda: NOW,
        nonce=lambda: "N0nceN0nceN0nce01",
        timeout_s=0.5,
    )
    yield vendor
    await vendor.close()


def says(
    peer: Peer, code: int, data: object = None, *, status: str = "200 OK", headers: str = ""
) -> None:
    body = {"code": code, "message": "so", "request_id": "q", "server_time": NOW, "data": data}
    peer.says_body(msgspec.json.encode(body), status=status, headers=headers)


# ---------------------------------------------------------------- what is sent


async def test_a_request_is_signed_as_it_is_sent(xiaomai: Xiaomai, peer: Peer) -> None:
    says(peer, 0, {"accepted": True, "wheat_order_no": "X1", "device_ack_deadline": NOW + 20_000})

    ack = await xiaomai.open_door(COMMAND)

    assert ack == OpenAck(outcome=Outcome.EXECUTED, vendor_order_no="X1", ack_deadline=NOW + 20_000)
    (request,) = peer.requests
    assert (request.method, request.path) == ("POST", "/base/openapi/v1/door/open")
    assert msgspec.json.decode(request.body) == msgspec.structs.asdict(COMMAND)
    assert request.headers["Content-Type"] == "application/json"
    assert {name: request.headers[name] for name in request.headers if "X-Xm" in name} == {
        "X-Xm-App-Id": "app",
        "X-Xm-Key-Id": "k1",
        "X-Xm-Timestamp": "1795147200",
        "X-Xm-Nonce": "N0nceN0nceN0nce01",
        "X-Xm-Sign": speech.signature(
            speech.SECRET,
            request.body,
            path="/base/openapi/v1/door/open",
            timestamp="1795147200",
            nonce="N0nceN0nceN0nce01",
        ),
    }


async def test_no_two_requests_have_the_same_nonce(peer: Peer) -> None:
    vendor = Xiaomai(peer.url, Key("a", "k", "s"), endpoints={}, now=lambda: NOW)
    for _ in range(20):
        says(peer, 0)
        await vendor.unbind("XM-1", reason="moved")
    await vendor.close()

    nonces = {request.headers["X-Xm-Nonce"] for request in peer.requests}

    assert len(nonces) == 20
    assert all(nonce.isalnum() and 16 <= len(nonce) <= 64 for nonce in nonces)


# ---------------------------------------------------------------- every number it has

NUMBERS = {
    0: (Outcome.EXECUTED, Reason.NONE),
    1001: (Outcome.NOT_EXECUTED, Reason.SIGNATURE),
    1002: (Outcome.NOT_EXECUTED, Reason.SKEW),
    1003: (Outcome.NOT_EXECUTED, Reason.REPLAY),
    1004: (Outcome.NOT_EXECUTED, Reason.APP_DISABLED),
    1005: (Outcome.NOT_EXECUTED, Reason.RATE),
    2001: (Outcome.NOT_EXECUTED, Reason.DEVICE_UNKNOWN),
    2002: (Outcome.NOT_EXECUTED, Reason.DEVICE_NOT_BOUND),
    2003: (Outcome.NOT_EXECUTED, Reason.OFFLINE),
    2004: (Outcome.NOT_EXECUTED, Reason.BUSY_SHOPPING),
    2005: (Outcome.NOT_EXECUTED, Reason.BUSY_RESTOCKING),
    2006: (Outcome.NOT_EXECUTED, Reason.MAINTENANCE),
    2007: (Outcome.NOT_EXECUTED, Reason.ON_UPS),
    2008: (Outcome.NOT_EXECUTED, Reason.HARDWARE),
    2009: (Outcome.NOT_EXECUTED, Reason.TEMPERATURE),
    3001: (Outcome.EXECUTED, Reason.NONE),
    3002: (Outcome.UNKNOWN, Reason.NO_ANSWER),
    3003: (Outcome.NOT_EXECUTED, Reason.NOT_PULLED),
    3004: (Outcome.NOT_EXECUTED, Reason.LOCK_FAILED),
    3005: (Outcome.UNKNOWN, Reason.NO_RESULT),
    3006: (Outcome.UNKNOWN, Reason.SESSION_UNKNOWN),
    3007: (Outcome.UNKNOWN, Reason.PENDING),
    4001: (Outcome.NOT_EXECUTED, Reason.ORDER_UNKNOWN),
    4002: (Outcome.NOT_EXECUTED, Reason.ORDER_CONFLICT),
    4003: (Outcome.NOT_EXECUTED, Reason.AMOUNT_MISMATCH),
    4004: (Outcome.NOT_EXECUTED, Reason.OVER_LIMIT),
    4005: (Outcome.NOT_EXECUTED, Reason.SKU_UNKNOWN),
    4006: (Outcome.NOT_EXECUTED, Reason.VIDEO_MISSING),
    4007: (Outcome.NOT_EXECUTED, Reason.VIDEO_PENDING),
    5001: (Outcome.NOT_EXECUTED, Reason.GOODS_REJECTED),
    5002: (Outcome.NOT_EXECUTED, Reason.VERSION_CONFLICT),
    9001: (Outcome.UNKNOWN, Reason.OTHER),
    9002: (Outcome.UNKNOWN, Reason.RATE),
}


def test_each_number_of_the_contract_has_an_outcome_and_a_reason() -> None:
    assert CODES == NUMBERS
    assert outcome_of(7777) == (Outcome.UNKNOWN, Reason.OTHER)


@pytest.mark.parametrize("number", [*NUMBERS, 7777])
async def test_what_a_number_means_for_an_opening(
    xiaomai: Xiaomai, peer: Peer, number: int
) -> None:
    says(peer, number, {"wheat_order_no": "X1"})

    ack = await xiaomai.open_door(COMMAND)

    assert (ack.outcome, ack.reason) == NUMBERS.get(number, (Outcome.UNKNOWN, Reason.OTHER))
    assert ack.vendor_order_no == ("X1" if ack.outcome is Outcome.EXECUTED else "")


@pytest.mark.parametrize("number", sorted(NUMBERS.keys() - {0, 3001}))
async def test_what_a_number_means_for_any_other_call(
    xiaomai: Xiaomai, peer: Peer, number: int
) -> None:
    says(peer, number)
    outcome, reason = NUMBERS[number]

    if outcome is Outcome.UNKNOWN:
        with pytest.raises(VendorUnknown):
            await xiaomai.reboot("XM-1", reason="stuck")
    else:
        with pytest.raises(VendorRefused) as refused:
            await xiaomai.reboot("XM-1", reason="stuck")
        assert (refused.value.reason, refused.value.number) == (reason, number)
        assert refused.value.detail == "so"


async def test_the_first_answer_comes_again_for_the_same_command(
    xiaomai: Xiaomai, peer: Peer
) -> None:
    says(peer, 3001, {"accepted": True, "wheat_order_no": "X1"})

    ack = await xiaomai.open_door(COMMAND)

    assert (ack.outcome, ack.vendor_order_no) == (Outcome.EXECUTED, "X1")


async def test_one_that_was_not_accepted_was_not_executed(xiaomai: Xiaomai, peer: Peer) -> None:
    says(peer, 0, {"accepted": False})

    assert await xiaomai.open_door(COMMAND) == OpenAck(
        outcome=Outcome.NOT_EXECUTED, reason=Reason.OTHER
    )


# ---------------------------------------------------------------- answers that are none


@pytest.mark.parametrize(
    ("status", "number", "outcome"),
    [
        ("500 Oh", 2003, Outcome.UNKNOWN),
        ("503 Busy", 0, Outcome.UNKNOWN),
        ("302 Elsewhere", 0, Outcome.UNKNOWN),
        ("408 Late", 2003, Outcome.UNKNOWN),
        ("401 No", 1001, Outcome.NOT_EXECUTED),
        ("400 What", 1000, Outcome.NOT_EXECUTED),
        ("400 What", 0, Outcome.UNKNOWN),
        ("404 Nothing", 9001, Outcome.UNKNOWN),
        ("201 Made", 0, Outcome.EXECUTED),
    ],
)
async def test_the_status_can_make_a_clear_answer_unclear_but_not_the_reverse(
    xiaomai: Xiaomai, peer: Peer, status: str, number: int, outcome: Outcome
) -> None:
    says(peer, number, {}, status=status)

    assert (await xiaomai.open_door(COMMAND)).outcome is outcome


async def test_how_long_to_wait_is_passed_on(xiaomai: Xiaomai, peer: Peer) -> None:
    says(peer, 1005, status="429 Slow", headers="Retry-After: 7\r\n")

    with pytest.raises(VendorRefused, match=r"rate \(1005\) retry after 7 s"):
        await xiaomai.reboot("XM-1", reason="stuck")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b"\xff",
        b"[]",
        b'{"message":"ok"}',
        b'{"code":"0"}',
        b'{"code":0}',
        b'{"code":0,"data":7}',
        b'{"code":0,"data":{"wheat_order_no":7}}',
    ],
)
async def test_what_cannot_be_read_says_nothing(xiaomai: Xiaomai, peer: Peer, body: bytes) -> None:
    peer.says_body(body)

    assert await xiaomai.open_door(COMMAND) == OpenAck(
        outcome=Outcome.UNKNOWN, reason=Reason.NO_ANSWER
    )


async def test_silence_hanging_up_and_nobody_there_say_nothing(
    xiaomai: Xiaomai, peer: Peer
) -> None:
    peer.keeps_silent()
    peer.hangs_up()

    acks = [await xiaomai.open_door(COMMAND) for _ in range(2)]
    await peer.stop()
    acks.append(await xiaomai.open_door(COMMAND))

    assert {ack.outcome for ack in acks} == {Outcome.UNKNOWN}
    with pytest.raises(VendorUnknown, match="/device/reboot: ConnectError") as unknown:
        await xiaomai.reboot("XM-1", reason="stuck")
    assert unknown.value.__context__ is None


async def test_an_answer_has_a_greatest_length_and_is_not_unpacked(
    xiaomai: Xiaomai, peer: Peer
) -> None:
    peer.says_body(b" " * (ANSWER_MAX_BYTES + 1))
    peer.says_body(gzip.compress(b"{}"), headers="Content-Encoding: gzip\r\n")

    with pytest.raises(VendorUnknown, match="longer than"):
        await xiaomai.reboot("XM-1", reason="stuck")
    with pytest.raises(VendorUnknown, match="compressed"):
        await xiaomai.reboot("XM-1", reason="stuck")


# ---------------------------------------------------------------- what becomes of a session


@pytest.mark.parametrize(
    ("data", "fact"),
    [
        ({"state": "pending"}, {"outcome": "unknown", "state": "pending"}),
        (
            {"state": "unlocked", "unlocked_at": NOW},
            {"outcome": "executed", "state": "unlocked", "unlocked_at": NOW},
        ),
        (
            {"state": "open", "opened_at": 5},
            {"outcome": "executed", "state": "open", "opened_at": 5},
        ),
        ({"state": "opened"}, {"outcome": "executed", "state": "open"}),
        (
            {"state": "closed", "closed_at": 6, "wheat_order_no": "X1"},
            {"outcome": "executed", "state": "closed", "closed_at": 6, "vendor_order_no": "X1"},
        ),
        (
            {"state": "locked", "locked_at": 7},
            {"outcome": "executed", "state": "closed", "locked_at": 7},
        ),
        (
            {"state": "failed", "fail_code": 3004},
            {"outcome": "not_executed", "state": "failed", "reason": "lock_failed"},
        ),
        (
            {"state": "not_pulled", "fail_code": 0},
            {"outcome": "not_executed", "state": "failed", "reason": "not_pulled"},
        ),
        ({"state": "dancing"}, {"outcome": "unknown", "state": "unknown"}),
    ],
)
async def test_each_state_of_a_session(
    xiaomai: Xiaomai, peer: Peer, data: dict[str, Any], fact: dict[str, Any]
) -> None:
    says(peer, 0, data)

    assert await xiaomai.query_session("R1") == msgspec.convert(fact, SessionFact)


@pytest.mark.parametrize(
    ("number", "outcome", "state", "reason"),
    [
        (3007, Outcome.UNKNOWN, "pending", Reason.PENDING),
        (3002, Outcome.UNKNOWN, "unknown", Reason.NO_ANSWER),
        (3005, Outcome.UNKNOWN, "unknown", Reason.NO_RESULT),
        (3006, Outcome.UNKNOWN, "unknown", Reason.SESSION_UNKNOWN),
        (3003, Outcome.NOT_EXECUTED, "failed", Reason.NOT_PULLED),
        (3004, Outcome.NOT_EXECUTED, "failed", Reason.LOCK_FAILED),
    ],
)
async def test_a_number_in_the_place_of_a_session(
    xiaomai: Xiaomai, peer: Peer, number: int, outcome: Outcome, state: Any, reason: Reason
) -> None:
    says(peer, number)

    fact = await xiaomai.query_session("R1")

    assert fact == SessionFact(outcome=outcome, state=state, reason=reason)


@pytest.mark.parametrize(("number", "error"), [(9001, VendorUnknown), (1001, VendorRefused)])
async def test_any_other_number_says_nothing_of_the_session(
    xiaomai: Xiaomai, peer: Peer, number: int, error: type[Exception]
) -> None:
    says(peer, number)

    with pytest.raises(error):
        await xiaomai.query_session("R1")


async def test_one_that_has_not_unlocked_is_cancelled(xiaomai: Xiaomai, peer: Peer) -> None:
    says(peer, 0, {"result": "cancelled"})
    says(peer, 0, {"result": "already_unlocked"})

    assert [await xiaomai.cancel_open("R1") for _ in range(2)] == [True, False]


async def test_a_door_that_may_not_be_opened_without_a_reason_has_another(
    xiaomai: Xiaomai, peer: Peer
) -> None:
    says(peer, 0, {"can_open": False})

    assert await xiaomai.can_open("XM-1", 1, "shop") == CanOpen(can_open=False, reason=Reason.OTHER)


async def test_a_refusal_that_is_no_answer_is_raised(xiaomai: Xiaomai, peer: Peer) -> None:
    calls: list[Callable[[], Awaitable[object]]] = [
        lambda: xiaomai.status(["XM-1"]),
        lambda: xiaomai.query_order(session_no="S1"),
        lambda: xiaomai.put_planogram("XM-1", version=1, base_version=0, slots=[]),
    ]

    for call in calls:
        says(peer, 1004)
        with pytest.raises(VendorRefused, match="app_disabled"):
            await call()


async def test_no_address_is_logged(
    xiaomai: Xiaomai, peer: Peer, caplog: pytest.LogCaptureFixture
) -> None:
    says(peer, 0)

    with caplog.at_level(logging.INFO, logger="httpx"):
        await xiaomai.reboot("XM-1", reason="stuck")

    assert caplog.records == []


@pytest.mark.parametrize(("data", "detail"), [({"version": 7}, "7"), (None, ""), ({}, "")])
async def test_a_conflict_of_layouts_names_the_one_that_is_there(
    xiaomai: Xiaomai, peer: Peer, data: object, detail: str
) -> None:
    says(peer, 5002, data)

    with pytest.raises(VendorRefused) as refused:
        await xiaomai.put_planogram("XM-1", version=1, base_version=0, slots=[])

    assert (refused.value.reason, refused.value.detail) == (Reason.VERSION_CONFLICT, detail)


async def test_an_order_whose_number_is_too_long_is_passed_over(
    xiaomai: Xiaomai, peer: Peer
) -> None:
    """Its callback is kept for a person; the orders beside it are taken all the same."""
    orders = [
        {"wheat_order_no": no, "rev": 1, "certainty": "certain", "total_fen": 0}
        for no in ("x" * 51, "x" * 50)
    ]
    says(peer, 0, {"orders": orders, "next_cursor": ""})
    says(peer, 0, orders[0])

    page = await xiaomai.list_orders(0, NOW)
    found = await xiaomai.query_order(session_no="S1")

    assert [each.vendor_order_no for each in page.orders] == ["x" * 50]
    assert found is None
