"""Notifications of version 3: verified as they came, opened, believed, told apart."""

import json
import logging
import random
from collections.abc import Callable
from typing import Any

import pytest

from payments.gateway import RefundState
from payments.wechat.errors import BadContent, BadSignature
from payments.wechat.keys import KeyRing, key_of
from payments.wechat.notices_v3 import (
    Echoed,
    NoticeReader,
    Other,
    PermissionChanged,
    RefundChanged,
    ServiceChanged,
    nack,
)
from payments.wechat.payscore_model import Phase
from payments.wechat.secrets import ApiV3Key
from payments.wechat.signing_v3 import Probe, Stale, UnknownKey
from tests.clock import Clock
from tests.payments.wechat import hostile
from tests.payments.wechat.v3.conftest import Pairs, public_key
from tests.payments.wechat.v3.orders import ORDER, PAID
from tests.payments.wechat.v3.platform import APPID, MCH_ID, Pair, seal

REFUND = {
    "mchid": MCH_ID,
    "transaction_id": "4200000009",
    "out_trade_no": "P1",
    "refund_id": "50000000382019052709732678859",
    "out_refund_no": "R1",
    "refund_status": "SUCCESS",
    "success_time": "2026-11-20T12:00:09+08:00",
    "user_received_account": "招商银行信用卡0403",
    "amount": {"total": 1_500, "refund": 500, "payer_total": 1_500, "payer_refund": 500},
}
PERMISSION = {
    "appid": APPID,
    "mchid": MCH_ID,
    "service_id": "500001",
    "openid": "o-1",
    "authorization_code": "A1",
    "user_service_status": "USER_OPEN_SERVICE",
}


@pytest.fixture
def reader(clock: Clock, pairs: Pairs, api_v3_key: ApiV3Key) -> NoticeReader:
    keys = [key_of(pairs.first.certificate), public_key(pairs.public)]
    ring = KeyRing(keys, now=clock.now)
    return NoticeReader(ring, api_v3_key, mch_id=MCH_ID, appids=frozenset({APPID}))


class Sender:
    """Writes and signs notifications as WeChat does."""

    def __init__(self, clock: Clock, pair: Pair) -> None:
        self.clock = clock
        self.pair = pair

    def post(self, event_type: str, content: Any, **changed: Any) -> tuple[dict[str, str], bytes]:
        envelope = {
            "id": "EV-2018022511223320873",
            "create_time": "2026-11-20T12:00:00+08:00",
            "resource_type": "encrypt-resource",
            "event_type": event_type,
            "summary": "摘要",
            "resource": seal(json.dumps(content).encode()) | {"original_type": "payscore"},
        } | changed
        return self.signed(json.dumps(envelope, ensure_ascii=False, indent=1).encode())

    def signed(self, body: bytes) -> tuple[dict[str, str], bytes]:
        return self.pair.headers(body, self.clock.now() // 1000), body


@pytest.fixture
def sender(clock: Clock, pairs: Pairs) -> Sender:
    return Sender(clock, pairs.first)


# ---------------------------------------------------------------- what is told


async def test_a_confirmed_order_is_told(
    reader: NoticeReader, sender: Sender, clock: Clock
) -> None:
    confirmed = ORDER | {"state": "DOING", "state_description": "USER_CONFIRM", "openid": "o-1"}

    notice = await reader.read(*sender.post("PAYSCORE.USER_CONFIRM", confirmed))

    assert isinstance(notice.event, ServiceChanged)
    assert notice.event.order.phase is Phase.RUNNING
    assert (notice.id, notice.created_at) == ("EV-2018022511223320873", clock.now())
    assert notice.key == "PAYSCORE.USER_CONFIRM:S1:running:0"


async def test_steps_of_one_payment_have_keys_of_their_own(
    reader: NoticeReader, sender: Sender
) -> None:
    paying = PAID | {"state": "DOING", "state_description": "MCH_COMPLETE"}

    first = await reader.read(*sender.post("PAYSCORE.USER_PAID", paying))
    last = await reader.read(*sender.post("PAYSCORE.USER_PAID", PAID, id="EV-2"))
    again = await reader.read(*sender.post("PAYSCORE.USER_PAID", PAID, id="EV-3"))

    assert isinstance(last.event, ServiceChanged)
    assert last.event.order.phase is Phase.PAID
    assert first.key != last.key == again.key


@pytest.mark.parametrize(
    ("event_type", "is_granted"),
    [("PAYSCORE.USER_OPEN_SERVICE", True), ("PAYSCORE.USER_CLOSE_SERVICE", False)],
)
async def test_a_permission_is_told(
    reader: NoticeReader, sender: Sender, event_type: str, is_granted: bool
) -> None:
    notice = await reader.read(*sender.post(event_type, PERMISSION))

    assert notice.event == PermissionChanged(
        is_granted=is_granted,
        openid="o-1",
        appid=APPID,
        service_id="500001",
        authorization_code="A1",
    )
    # It may be granted and taken back any number of times.
    assert notice.key == notice.id


async def test_a_refund_is_told(reader: NoticeReader, sender: Sender, clock: Clock) -> None:
    notice = await reader.read(*sender.post("REFUND.SUCCESS", REFUND))

    assert isinstance(notice.event, RefundChanged)
    refund = notice.event.refund
    assert (refund.state, refund.refund_fen) == (RefundState.SUCCESS, 500)
    assert refund.refunded_at == clock.now() + 9_000
    assert (notice.event.total_fen, notice.event.transaction_id) == (1_500, "4200000009")
    assert notice.key == "REFUND.SUCCESS:R1"


@pytest.mark.parametrize(
    ("status", "state"), [("ABNORMAL", RefundState.ABNORMAL), ("CLOSED", RefundState.CLOSED)]
)
async def test_a_refund_that_went_wrong_is_told(
    reader: NoticeReader, sender: Sender, status: str, state: RefundState
) -> None:
    refund = REFUND | {"refund_status": status, "success_time": ""}

    notice = await reader.read(*sender.post(f"REFUND.{status}", refund))

    assert isinstance(notice.event, RefundChanged)
    assert (notice.event.refund.state, notice.event.refund.refunded_at) == (state, None)


async def test_the_echo_and_what_is_of_no_use_are_told_apart(
    reader: NoticeReader, sender: Sender
) -> None:
    echo = await reader.read(*sender.post("SECURITY_ECHO.SUCCESS", {"echo_message": "hello"}))
    other = await reader.read(*sender.post("COMPLAINT.CREATE", {"complaint_id": "1"}))

    assert echo.event == Echoed()
    assert other.event == Other()
    assert other.key == other.id


async def test_a_notification_signed_with_the_public_key_is_as_good(
    reader: NoticeReader, clock: Clock, pairs: Pairs
) -> None:
    sender = Sender(clock, pairs.public)

    notice = await reader.read(*sender.post("REFUND.SUCCESS", REFUND))

    assert notice.event_type == "REFUND.SUCCESS"


# ---------------------------------------------------------------- what is refused


async def test_probes_are_refused_in_peace_and_counted(
    reader: NoticeReader, sender: Sender, caplog: pytest.LogCaptureFixture
) -> None:
    headers, body = sender.post("REFUND.SUCCESS", REFUND)
    probe = headers | {"Wechatpay-Signature": "WECHATPAY/SIGNTEST/" + "QUJD" * 80}

    with caplog.at_level(logging.DEBUG):
        for _ in range(3):
            with pytest.raises(Probe):
                await reader.read(probe, body)

    assert reader.probes == 3
    assert caplog.records == []
    await reader.read(headers, body)
    assert reader.probes == 3


async def test_old_notifications_and_unknown_serials_are_refused(
    reader: NoticeReader, sender: Sender, clock: Clock, pairs: Pairs
) -> None:
    headers, body = sender.post("REFUND.SUCCESS", REFUND)
    stranger = Sender(clock, pairs.second)

    with pytest.raises(UnknownKey):
        await reader.read(*stranger.post("REFUND.SUCCESS", REFUND))
    clock.advance(minutes=5)
    with pytest.raises(Stale):
        await reader.read(headers, body)


@pytest.mark.parametrize("nth", [0, 40, 200, -2])
async def test_a_changed_byte_is_refused(reader: NoticeReader, sender: Sender, nth: int) -> None:
    headers, body = sender.post("REFUND.SUCCESS", REFUND)
    changed = bytearray(body)
    changed[nth] ^= 1

    with pytest.raises(BadSignature):
        await reader.read(headers, bytes(changed))


# Twenty good notifications, to be spoilt.
GOOD: dict[str, tuple[str, dict[str, Any]]] = {
    **{
        f"refund {status}": (f"REFUND.{status}", REFUND | {"refund_status": status})
        for status in ("SUCCESS", "ABNORMAL", "CLOSED", "PROCESSING")
    },
    "large refund": ("REFUND.SUCCESS", REFUND | {"amount": {"total": 10**9, "refund": 10**9}}),
    "small refund": ("REFUND.SUCCESS", REFUND | {"amount": {"total": 1, "refund": 1}}),
    "no account": ("REFUND.SUCCESS", REFUND | {"user_received_account": ""}),
    "long account": ("REFUND.SUCCESS", REFUND | {"user_received_account": "招" * 60}),
    "no time": ("REFUND.CLOSED", REFUND | {"refund_status": "CLOSED", "success_time": ""}),
    "odd number": ("REFUND.SUCCESS", REFUND | {"out_refund_no": "a_-|*1"}),
    "granted": ("PAYSCORE.USER_OPEN_SERVICE", PERMISSION),
    "taken back": ("PAYSCORE.USER_CLOSE_SERVICE", PERMISSION),
    "confirmed": (
        "PAYSCORE.USER_CONFIRM",
        ORDER | {"state": "DOING", "state_description": "USER_CONFIRM", "openid": "o-1"},
    ),
    "paid": ("PAYSCORE.USER_PAID", PAID),
    "paying": (
        "PAYSCORE.USER_PAID",
        PAID | {"state": "DOING", "state_description": "MCH_COMPLETE"},
    ),
    "echo": ("SECURITY_ECHO.SUCCESS", {"echo_message": "hello"}),
    "echo of nothing": ("SECURITY_ECHO.SUCCESS", {}),
    "complaint": ("COMPLAINT.CREATE", {"complaint_id": "1"}),
    "unknown": ("NEW_IN_2030.X", {"new": [1, 2, {"a": None}]}),
    "markup": ("COMPLAINT.CREATE", {"text": "a<b>&\"'\\c\u2028"}),
}


@pytest.mark.torture
@pytest.mark.timeout(0)
@pytest.mark.parametrize("name", GOOD)
async def test_every_change_of_a_byte_is_refused(
    name: str,
    reader: NoticeReader,
    sender: Sender,
    dice: random.Random,
    torture_share: float,
    record_property: Callable[[str, object], None],
) -> None:
    """Of the body, and of what the headers say of it."""
    headers, body = sender.post(*GOOD[name])
    assert (await reader.read(headers, body)).event_type == GOOD[name][0]
    changes = 0

    for other in hostile.bent(body, dice, torture_share):
        assert await refuses(reader, headers, other), other
        changes += 1
    for header, value in headers.items():
        for bent in hostile.bent(value.encode(), dice, torture_share):
            text = bent.decode("latin-1")
            # A serial is a number, the same in small letters: it still names the same key.
            if header == "Wechatpay-Serial" and text.upper() == value:
                continue
            assert await refuses(reader, headers | {header: text}, body), (header, text)
            changes += 1
    record_property("changes", changes)


async def refuses(reader: NoticeReader, headers: dict[str, str], body: bytes) -> bool:
    """Whether it is refused for its signature, before anything of it is read."""
    try:
        await reader.read(headers, body)
    except BadSignature:
        return True
    return False


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{}", b'{"id":1}', b"\xff", b"[" * 50_000, b" " * ((64 << 10) + 1)]
)
async def test_what_is_signed_but_no_notification_is_bad_content(
    reader: NoticeReader, sender: Sender, body: bytes
) -> None:
    with pytest.raises(BadContent):
        await reader.read(*sender.signed(body))


@pytest.mark.parametrize(
    "changed",
    [
        {"create_time": "yesterday"},
        {"resource": seal(b"{}") | {"algorithm": "AEAD_SM4_GCM"}},
        {"resource": seal(b"{}", key="f" * 32)},
        {"resource": seal(b"{}") | {"associated_data": "refund"}},
        {"resource": seal(b"[]")},
        {"resource": seal(b"not JSON")},
    ],
)
async def test_an_envelope_that_does_not_open_is_bad_content(
    reader: NoticeReader, sender: Sender, changed: dict[str, Any]
) -> None:
    with pytest.raises(BadContent):
        await reader.read(*sender.post("COMPLAINT.CREATE", {}, **changed))


@pytest.mark.parametrize(
    ("event_type", "content"),
    [
        ("PAYSCORE.USER_PAID", PAID | {"mchid": "1"}),
        ("PAYSCORE.USER_PAID", PAID | {"appid": "wx-other"}),
        ("PAYSCORE.USER_PAID", PAID | {"state": "CLOSED"}),
        ("PAYSCORE.USER_OPEN_SERVICE", PERMISSION | {"mchid": "1"}),
        ("REFUND.SUCCESS", REFUND | {"mchid": "1"}),
        ("REFUND.SUCCESS", REFUND | {"refund_status": "WHO_KNOWS"}),
        ("REFUND.SUCCESS", REFUND | {"amount": {"total": 1, "refund": -1}}),
    ],
)
async def test_what_is_not_ours_or_cannot_be_is_bad_content(
    reader: NoticeReader, sender: Sender, event_type: str, content: dict[str, Any]
) -> None:
    with pytest.raises(BadContent):
        await reader.read(*sender.post(event_type, content))


def test_a_refusal_says_that_it_is_to_come_again() -> None:
    assert json.loads(nack("签名错误" * 30)) == {
        "code": "FAIL",
        "message": ("签名错误" * 30)[:64],
    }
