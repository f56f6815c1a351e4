"""Notifications that are genuine, and what becomes of those that are not quite."""

import subprocess

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from payments.gateway import PaymentFact, RefundState
from payments.wechat.errors import BadContent, BadSignature, BadXml
from payments.wechat.notices_v2 import (
    ACK,
    RefundHint,
    Scan,
    accept_scan,
    nack,
    read_payment,
    read_refund,
    read_scan,
    refuse_scan,
)
from payments.wechat.signing import SignType
from tests.clock import Clock
from tests.payments.wechat import speech
from tests.payments.wechat.speech import MERCHANT

NOON = Clock().now()
SCAN = {
    "appid": speech.APPID,
    "openid": "o8GeHuLAsgefS_80exEr1cTqekUs",
    "mch_id": speech.MCH_ID,
    "is_subscribe": "Y",
    "nonce_str": "5K8264ILTKCH16CQ2502SI8ZNMTM67VS",
    "product_id": "stall-7",
}


def notification(**changes: str) -> bytes:
    fields = {name: value for name, value in speech.payment(**changes).items() if value}
    return speech.xml(speech.signed(fields))


# ---------------------------------------------------------------- a payment


def test_a_payment_is_a_fact() -> None:
    body = notification(coupon_fee="0", coupon_id_0="10000", settlement_total_fee="1")

    assert read_payment(body, MERCHANT) == PaymentFact(
        out_trade_no="1409811653",
        transaction_id="1004400740201409030005092168",
        amount_fen=1,
        currency="CNY",
        appid=speech.APPID,
        mch_id=speech.MCH_ID,
        openid="oUpF8uMEb4qRXf22hE3X68TekukE",
        paid_at=NOON + 306_000,
        source="notify",
    )


def test_an_order_is_checked_by_its_own_way_of_signing() -> None:
    """The settings may have changed since it was made."""
    body = speech.xml(speech.signed(speech.payment(), md5=True))

    assert read_payment(body, MERCHANT, sign_type=SignType.MD5).amount_fen == 1
    with pytest.raises(BadSignature):
        read_payment(body, MERCHANT)
    with pytest.raises(BadSignature):
        read_payment(notification(), MERCHANT, sign_type=SignType.MD5)


def test_a_currency_left_out_is_the_countrys() -> None:
    assert read_payment(notification(fee_type=""), MERCHANT).currency == "CNY"
    assert read_payment(notification(fee_type="HKD"), MERCHANT).currency == "HKD"


def test_blanks_are_part_of_what_is_signed() -> None:
    assert read_payment(notification(attach=" a "), MERCHANT).amount_fen == 1


@pytest.mark.parametrize(
    "changes",
    [
        {"return_code": "FAIL"},
        {"return_code": "success"},
        {"result_code": "FAIL"},
        {"result_code": ""},
        {"appid": "wx-another"},
        {"appid": ""},
        {"mch_id": "10000101"},
        {"mch_id": ""},
        {"out_trade_no": ""},
        {"out_trade_no": "a b"},
        {"out_trade_no": "档口"},
        {"transaction_id": ""},
        {"transaction_id": "x" * 65},
        {"total_fee": ""},
        {"fee_type": "cny"},
        {"openid": "o o"},
        {"openid": "o" * 129},
        {"time_end": ""},
        {"time_end": "2026112012050"},
        {"time_end": "20261120 12050"},
        {"time_end": "20261320120506"},
        {"time_end": "2026-02-30 12:05:06"},
        {"time_end": "２０２６１１２０１２０５０６"},
    ],
)
def test_signed_is_not_yet_right(changes: dict[str, str]) -> None:
    with pytest.raises(BadContent):
        read_payment(notification(**changes), MERCHANT)


# ---------------------------------------------------------------- a refund


def test_a_refund_is_a_hint() -> None:
    body = speech.envelope(speech.sealed(speech.xml(speech.refund(), root="root")))

    assert read_refund(body, MERCHANT) == RefundHint(
        out_refund_no="R-1",
        refund_id="50000408942018111907145868882",
        out_trade_no="1409811653",
        transaction_id="4200000215201811190261405420",
        state=RefundState.SUCCESS,
        refund_fen=3,
        total_fen=10,
        refunded_at=NOON + 306_000,
    )


@pytest.mark.parametrize(
    ("status", "state"),
    [("CHANGE", RefundState.ABNORMAL), ("REFUNDCLOSE", RefundState.CLOSED)],
)
def test_a_refund_that_did_not_succeed_has_no_time(status: str, state: RefundState) -> None:
    plain = speech.xml(speech.refund(refund_status=status, success_time=""), root="root")

    hint = read_refund(speech.envelope(speech.sealed(plain)), MERCHANT)

    assert (hint.state, hint.refunded_at) == (state, None)


def test_the_cipher_is_the_published_one() -> None:
    """wechatpay-php, tests/Crypto/AesEcbTest.php."""
    done = subprocess.run(
        ["openssl", "enc", "-aes-256-ecb", "-a", "-K", b"0123456789abcdef0123456789abcdef".hex()],
        input=b"hello",
        capture_output=True,
        check=True,
    )

    assert done.stdout.strip() == b"pZwJZBLuy3mDACEQT4YTBw=="
    cipher = Cipher(algorithms.AES(b"0123456789abcdef0123456789abcdef"), modes.ECB())  # noqa: S305
    assert cipher.encryptor().update(b"hello" + b"\x0b" * 11).hex() == (
        "a59c096412eecb7983002110" + "4f861307"
    )


def test_a_digest_keeps_its_leading_zero() -> None:
    """The key is text: 32 hexadecimal digits, whatever number they make."""
    key = next(f"{n:032d}" for n in range(1000) if speech.digest(f"{n:032d}").startswith("00"))
    plain = speech.xml(speech.refund(), root="root")
    merchant = speech.merchant(key=key)

    assert read_refund(speech.envelope(speech.sealed(plain, key=key)), merchant).refund_fen == 3


@pytest.mark.parametrize(
    "req_info",
    [
        "",
        "=",
        "not base64!",
        "QUJD",
        "QUJD\n",
        "５" * 32,
        "A" * 31 + "=",
        speech.sealed(speech.xml(speech.refund(), root="root"), key="k" * 32),
        speech.sealed(b"x" * 15 + b"\x00", padded=False),
        speech.sealed(b"x" * 15 + b"\x11", padded=False),
        speech.sealed(b"x" * 14 + b"\x01\x02", padded=False),
    ],
)
def test_a_refund_that_does_not_open_is_refused(req_info: str) -> None:
    with pytest.raises((BadSignature, BadXml)):
        read_refund(speech.envelope(req_info), MERCHANT)


@pytest.mark.parametrize(
    "plain",
    [
        b"",
        b"hello",
        speech.xml(speech.refund()),
        b"<!DOCTYPE root [<!ENTITY x '1'>]>" + speech.xml(speech.refund(), root="root"),
    ],
)
def test_what_is_inside_is_read_as_strictly(plain: bytes) -> None:
    with pytest.raises(BadXml):
        read_refund(speech.envelope(speech.sealed(plain)), MERCHANT)


@pytest.mark.parametrize(
    "changes",
    [
        {"refund_status": ""},
        {"refund_status": "NEW_IN_2030"},
        {"refund_fee": "3.0"},
        {"refund_fee": "-3"},
        {"total_fee": ""},
        {"out_refund_no": ""},
        {"refund_id": "a b"},
        {"success_time": "2026-13-20 12:05:06"},
        {"success_time": "20/11/2026"},
    ],
)
def test_a_refund_says_what_it_must(changes: dict[str, str]) -> None:
    plain = speech.xml(speech.refund(**changes), root="root")

    with pytest.raises(BadContent):
        read_refund(speech.envelope(speech.sealed(plain)), MERCHANT)


@pytest.mark.parametrize(
    "changes", [{"appid": "wx-another"}, {"mch_id": "1"}, {"appid": ""}, {"mch_id": ""}]
)
def test_a_refund_of_another_merchant_is_refused(changes: dict[str, str]) -> None:
    sealed = speech.sealed(speech.xml(speech.refund(), root="root"))

    with pytest.raises(BadContent):
        read_refund(speech.envelope(sealed, **changes), MERCHANT)


def test_a_refund_that_tells_of_failure_is_refused() -> None:
    sealed = speech.sealed(speech.xml(speech.refund(), root="root"))

    with pytest.raises(BadSignature):
        read_refund(speech.envelope(sealed, return_code="FAIL"), MERCHANT)


# ---------------------------------------------------------------- a scan


def test_a_scan_is_answered_with_an_order() -> None:
    scan = read_scan(speech.xml(speech.signed(SCAN, md5=True)), MERCHANT)

    answer = speech.fields_of(accept_scan(scan, MERCHANT, prepay_id="wx1"))

    assert scan == Scan(product_id="stall-7", openid=SCAN["openid"], nonce_str=SCAN["nonce_str"])
    assert answer.pop("sign") == speech.sign(answer, md5=True)
    assert answer == {
        "return_code": "SUCCESS",
        "appid": speech.APPID,
        "mch_id": speech.MCH_ID,
        "nonce_str": SCAN["nonce_str"],
        "prepay_id": "wx1",
        "result_code": "SUCCESS",
    }


def test_a_scan_is_refused_in_words_for_the_user() -> None:
    scan = read_scan(speech.xml(speech.signed(SCAN, md5=True)), MERCHANT)

    answer = speech.fields_of(refuse_scan(scan, MERCHANT, reason="卖完了 <&>"))

    assert answer.pop("sign") == speech.sign(answer, md5=True)
    assert (answer["result_code"], answer["err_code_des"]) == ("FAIL", "卖完了 <&>")
    assert answer["return_code"] == "SUCCESS"


def test_a_scan_may_be_signed_the_other_way_where_that_is_agreed() -> None:
    hmac = SignType.HMAC_SHA256
    body = speech.xml(speech.signed(SCAN))

    scan = read_scan(body, MERCHANT, sign_type=hmac)

    answer = speech.fields_of(accept_scan(scan, MERCHANT, prepay_id="wx1", sign_type=hmac))
    assert answer.pop("sign") == speech.sign(answer)
    with pytest.raises(BadSignature):
        read_scan(body, MERCHANT)


@pytest.mark.parametrize("name", ["appid", "mch_id", "openid", "product_id", "nonce_str"])
@pytest.mark.parametrize("value", ["", "a b"])
def test_a_scan_says_what_it_must(name: str, value: str) -> None:
    with pytest.raises(BadContent):
        read_scan(speech.xml(speech.signed(SCAN | {name: value}, md5=True)), MERCHANT)


# ---------------------------------------------------------------- our answers


def test_the_answers_are_what_wechat_waits_for() -> None:
    assert speech.fields_of(ACK) == {"return_code": "SUCCESS", "return_msg": "OK"}
    assert speech.fields_of(nack("later <1>")) == {
        "return_code": "FAIL",
        "return_msg": "later <1>",
    }
