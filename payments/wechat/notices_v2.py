"""What WeChat tells us unasked: a payment, a refund, a scan of a standing code; and our answers.

Order of work: read, verify, compare appid and mch_id, then believe. Every reader raises only
BadXml, BadSignature and BadContent.

Sources: wiki 9_7 (payment), 9_16 (refund), native 6_4 (scan).
"""

import base64
import binascii
import hashlib
from typing import Final

import msgspec
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.padding import PKCS7

from payments.gateway import PaymentFact, RefundState
from payments.wechat.errors import BadContent, BadMessage, BadSignature
from payments.wechat.facts import NUMBER, fen, matching, millis, payment_fact, present, see_ours
from payments.wechat.secrets import ApiV2Key
from payments.wechat.signing import Merchant, SignType, signed, verify
from payments.wechat.xml import read, write
from sql.types import Millis

# The very text of the documents: whatever differs counts as not delivered, and is sent again.
ACK: Final = (
    b"<xml><return_code><![CDATA[SUCCESS]]></return_code>"
    b"<return_msg><![CDATA[OK]]></return_msg></xml>"
)

REFUND_STATES: Final = {
    "SUCCESS": RefundState.SUCCESS,
    "PROCESSING": RefundState.PROCESSING,
    "REFUNDCLOSE": RefundState.CLOSED,
    # The money could not go back, and waits for a person.
    "CHANGE": RefundState.ABNORMAL,
}


class RefundHint(msgspec.Struct, frozen=True, kw_only=True):
    """A refund has ended, says a message that is encrypted but not signed.

    The blocks of ECB can be cut and spliced: ask query_refund before believing any of it.
    """

    out_refund_no: str
    refund_id: str
    out_trade_no: str
    transaction_id: str
    state: RefundState
    refund_fen: int
    total_fen: int
    refunded_at: Millis | None


class Scan(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody holds a phone before a standing code (native mode one), and waits."""

    product_id: str
    openid: str
    nonce_str: str


def nack(reason: str) -> bytes:
    """Ask for the notification to come again. reason: for WeChat's logs."""
    return write({"return_code": "FAIL", "return_msg": reason})


def read_payment(
    body: bytes, merchant: Merchant, *, sign_type: SignType | None = None
) -> PaymentFact:
    """sign_type: of the order told of (`claimed_number`), where it is not the merchant's."""
    fields = _verified(body, merchant, sign_type or merchant.sign_type)
    if fields.get("return_code") != "SUCCESS" or fields.get("result_code") != "SUCCESS":
        raise BadContent("it tells of no success")
    return payment_fact(fields, source="notify")


def claimed_number(body: bytes) -> str:
    """The out_trade_no that an unverified notification bears; "" where there is none.

    Good for looking up how that order was signed, for nothing else.
    """
    try:
        return matching(read(body), "out_trade_no", NUMBER)
    except BadMessage:
        return ""


def read_refund(body: bytes, merchant: Merchant) -> RefundHint:
    """BadSignature also when req_info does not open with our key: nothing else vouches for it."""
    envelope = read(body)
    if envelope.get("return_code") != "SUCCESS":
        raise BadSignature("it tells of no success, and nobody signed it")
    fields = read(_opened(envelope.get("req_info", ""), merchant.key), root="root")
    see_ours(envelope, merchant)
    state = REFUND_STATES.get(fields.get("refund_status", ""))
    if state is None:
        raise BadContent("refund_status is not known")
    return RefundHint(
        out_refund_no=matching(fields, "out_refund_no", NUMBER),
        refund_id=matching(fields, "refund_id", NUMBER),
        out_trade_no=matching(fields, "out_trade_no", NUMBER),
        transaction_id=matching(fields, "transaction_id", NUMBER),
        state=state,
        refund_fen=fen(fields, "refund_fee"),
        total_fen=fen(fields, "total_fee"),
        refunded_at=millis(fields, "success_time") if fields.get("success_time") else None,
    )


def read_scan(body: bytes, merchant: Merchant, *, sign_type: SignType = SignType.MD5) -> Scan:
    """sign_type: MD5, as in the code that is scanned, which has no place to say otherwise."""
    fields = _verified(body, merchant, sign_type)
    return Scan(
        product_id=matching(fields, "product_id", NUMBER),
        openid=matching(fields, "openid", NUMBER),
        nonce_str=matching(fields, "nonce_str", NUMBER),
    )


def accept_scan(
    scan: Scan, merchant: Merchant, *, prepay_id: str, sign_type: SignType = SignType.MD5
) -> bytes:
    """The order that the phone goes on to pay."""
    return _scan_answer(scan, merchant, sign_type, prepay_id=prepay_id, result_code="SUCCESS")


def refuse_scan(
    scan: Scan, merchant: Merchant, *, reason: str, sign_type: SignType = SignType.MD5
) -> bytes:
    """reason: shown to the user: sold out, paid already."""
    return _scan_answer(scan, merchant, sign_type, result_code="FAIL", err_code_des=reason)


def _scan_answer(scan: Scan, merchant: Merchant, sign_type: SignType, **fields: str) -> bytes:
    common = {
        "return_code": "SUCCESS",
        "appid": merchant.appid,
        "mch_id": merchant.mch_id,
        "nonce_str": scan.nonce_str,
    }
    return write(signed(common | fields, merchant.key, sign_type))


def _verified(body: bytes, merchant: Merchant, sign_type: SignType) -> dict[str, str]:
    fields = read(body)
    verify(fields, merchant.key, sign_type)
    see_ours(fields, merchant)
    return present(fields)


def _opened(req_info: str, key: ApiV2Key) -> bytes:
    """AES-256-ECB under the 32 lower-case hex digits of the key's MD5, as WeChat has it."""
    digest = hashlib.md5(key.reveal(), usedforsecurity=False).hexdigest().encode()
    try:
        sealed = base64.b64decode(req_info.encode("ascii"), validate=True)
        decryptor = Cipher(algorithms.AES(digest), modes.ECB()).decryptor()  # noqa: S305  # nosec B305
        unpadder = PKCS7(128).unpadder()
        padded = decryptor.update(sealed) + decryptor.finalize()
        return unpadder.update(padded) + unpadder.finalize()
    except (binascii.Error, ValueError):
        pass
    # One word for every way it can fail, and none of the parser's own.
    raise BadSignature("req_info does not open with our key")
