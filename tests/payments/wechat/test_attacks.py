"""Forged, bent and poisoned notifications: refused, each with one of two words."""

import random
from collections.abc import Callable
from typing import Any

import pytest

from payments.wechat.errors import BadContent, BadMessage, BadSignature
from payments.wechat.notices_v2 import Scan, claimed_number, read_payment, read_refund, read_scan
from payments.wechat.signing import Merchant, SignType
from tests.payments.wechat import hostile, speech
from tests.payments.wechat.hostile import bent
from tests.payments.wechat.speech import MERCHANT

Reader = Callable[..., Any]


def read_scan_of_hmac(body: bytes, merchant: Merchant) -> Scan:
    return read_scan(body, merchant, sign_type=SignType.HMAC_SHA256)


READERS: list[Reader] = [read_payment, read_refund, read_scan_of_hmac]
TABLE = hostile.table()
# What the torture sends of them when it is done in full.
MUTATED = 200_000

# Twenty good notifications, to be spoilt.
FIGURES: dict[str, dict[str, str]] = {
    "plain": {},
    "large": {"total_fee": "10000000"},
    "chinese": {"attach": "档口一号，番茄鸡蛋面"},
    "markup": {"attach": "a<b>&\"'c"},
    "no attach": {"attach": ""},
    "native": {"trade_type": "NATIVE"},
    "coupons": {"coupon_fee": "1", "coupon_count": "1", "coupon_id_0": "10000"},
    "zero": {"coupon_fee": "0"},
    "other currency": {"fee_type": "HKD"},
    "no currency": {"fee_type": ""},
    "no openid": {"openid": ""},
    "unknown field": {"new_in_2030": "x"},
    "longest number": {"out_trade_no": "A" * 32},
    "odd number": {"out_trade_no": "a_-|*1"},
    "new year": {"time_end": "20261231235959"},
    "leap day": {"time_end": "20280229000000"},
    "blanks": {"attach": "  a  "},
    "json": {"attach": '{"a":[1,2]}'},
    "settled less": {"settlement_total_fee": "1", "cash_fee": "0"},
    "long": {"attach": "x" * 127},
}


def refused_as(reader: Reader, body: bytes) -> str:
    try:
        reader(body, MERCHANT)
    except BadMessage as error:
        return type(error).__name__
    return "taken"


def test_the_table_is_long() -> None:
    assert len(TABLE) >= 120
    assert read_payment(hostile.GOOD, MERCHANT).amount_fen == 1


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("name", TABLE)
def test_a_hostile_message_is_refused(reader: Reader, name: str) -> None:
    assert refused_as(reader, TABLE[name]) in {"BadXml", "BadSignature"}


@pytest.mark.parametrize("name", [n for n in TABLE if n.startswith(("doctype", "before"))])
def test_what_stands_before_a_message_never_gets_to_its_signature(name: str) -> None:
    assert refused_as(read_payment, TABLE[name]) == "BadXml"


def test_mutated_messages_are_refused() -> None:
    refused = {
        refused_as(reader, body)
        for body in hostile.mutated(random.Random(1), 3000)
        for reader in READERS
        if meaning(body) != meaning(hostile.GOOD)
    }

    assert refused == {"BadXml", "BadSignature"}


@pytest.mark.torture
@pytest.mark.timeout(0)
def test_very_many_mutated_messages_are_refused(
    dice: random.Random, torture_share: float, record_property: Callable[[str, object], None]
) -> None:
    bodies = round(MUTATED * torture_share)
    record_property("bodies", bodies)

    for body in hostile.mutated(dice, bodies):
        for reader in READERS:
            # A payment that is believed may still be no scan.
            if refused_as(reader, body) in {"taken", "BadContent"}:
                assert meaning(body) == meaning(hostile.GOOD), body


def meaning(body: bytes) -> object:
    """A mutation between the elements may leave a message that says the same: a blank, an
    empty field. It is no forgery."""
    try:
        return read_payment(body, MERCHANT)
    except BadMessage:
        return None


@pytest.mark.parametrize("name", FIGURES)
def test_a_changed_byte_is_refused(name: str) -> None:
    body = speech.xml(speech.signed(speech.payment(**FIGURES[name])))
    assert read_payment(body, MERCHANT).transaction_id

    for at in random.Random(name).sample(range(len(body)), 120):
        other = body[:at] + bytes([body[at] ^ 1]) + body[at + 1 :]
        assert refused_as(read_payment, other) in {"BadXml", "BadSignature"}, other


@pytest.mark.torture
@pytest.mark.timeout(0)
@pytest.mark.parametrize("name", FIGURES)
def test_every_change_of_a_byte_is_refused(
    name: str,
    dice: random.Random,
    torture_share: float,
    record_property: Callable[[str, object], None],
) -> None:
    body = speech.xml(speech.signed(speech.payment(**FIGURES[name])))
    changes = 0

    for other in bent(body, dice, torture_share):
        assert refused_as(read_payment, other) in {"BadXml", "BadSignature"}, other
        changes += 1

    record_property("changes", changes)


@pytest.mark.parametrize("missing", ["sign", "return_code", "result_code"])
def test_what_is_left_out_is_a_failure(missing: str) -> None:
    fields = {k: v for k, v in speech.payment().items() if k != missing}
    body = speech.xml(fields if missing == "sign" else speech.signed(fields))

    with pytest.raises((BadSignature, BadContent)):
        read_payment(body, MERCHANT)


@pytest.mark.parametrize(
    "amount",
    ["", "0", "-1", "+1", " 1", "1 ", "1.0", "1.00", "1e2", "0x1", "01", "1,000", "１", "一", "1\t",
     "NaN", "null", "true", "1_0", "9" * 13, "1;", "1\u200b"],
)  # fmt: skip
def test_an_amount_is_digits(amount: str) -> None:
    """Signed, so it is WeChat that says so; taken for no amount all the same."""
    body = speech.xml(speech.signed(speech.payment(total_fee=amount)))

    with pytest.raises(BadContent):
        read_payment(body, MERCHANT)


def test_our_own_messages_do_not_come_back_as_notifications() -> None:
    """All of them are signed with the one key."""
    order = speech.signed(
        {"appid": speech.APPID, "mch_id": speech.MCH_ID, "out_trade_no": "1", "total_fee": "1"}
    )
    code = speech.signed(
        {
            "appid": speech.APPID,
            "mch_id": speech.MCH_ID,
            "product_id": "1",
            "time_stamp": "1700000000",
            "nonce_str": "n",
        },
        md5=True,
    )

    with pytest.raises(BadContent):
        read_payment(speech.xml(order), MERCHANT)
    with pytest.raises(BadContent):
        read_scan(speech.xml(code), MERCHANT)


@pytest.mark.parametrize("body", [b"", b"<xml/>", b"\xff", speech.xml({"out_trade_no": "a b"})])
def test_a_message_may_claim_no_number(body: bytes) -> None:
    assert claimed_number(body) == ""


def test_a_message_may_claim_a_number_before_it_is_believed() -> None:
    assert claimed_number(speech.xml(speech.payment())) == "1409811653"
