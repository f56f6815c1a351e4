"""What a notification says, written and signed anew for every attempt, or spoilt on purpose."""

from __future__ import annotations

import base64
import json
import secrets
from typing import Any, Protocol

import msgspec

from simulators.clock import VirtualClock
from simulators.faults import NONSENSE
from simulators.wechat.pay import signing, times, xmltext
from simulators.wechat.pay.faults import PayFault
from simulators.wechat.pay.keys import Pair
from simulators.wechat.pay.merchant import API_V2_KEY, API_V3_KEY, MCH_ID
from simulators.wechat.pay.platform import Platform, now_text
from simulators.wechat.pay.signing import SignType

XML_TYPE = "text/xml; charset=utf-8"
OLD_S = 600.0
XXE = (
    b'<?xml version="1.0" encoding="UTF-8"?>\n'
    b'<!DOCTYPE xml [<!ENTITY stolen SYSTEM "file:///etc/passwd">]>\n'
)
# How the vendor probes whether a merchant verifies at all.
SIGNTEST = "WECHATPAY/SIGNTEST/"


class Post(msgspec.Struct, frozen=True):
    headers: dict[str, str]
    body: bytes


class Writer(Protocol):
    """Writes one attempt; `fault` is what to do wrong in it."""

    def __call__(self, fault: PayFault | None) -> Post: ...


def kind_of(fault: PayFault | None) -> str:
    return fault.kind if fault else ""


def v2_pay(fields: dict[str, str], sign_type: SignType) -> Writer:
    """A payment's result: flat XML under the order's own kind of signature."""

    def write(fault: PayFault | None) -> Post:
        kind = kind_of(fault)
        said = {"return_code": "SUCCESS", "result_code": "SUCCESS", **fields}
        if kind == "tampered_amount":
            said |= {name: str(int(said[name]) + 1) for name in ("total_fee", "cash_fee")}
        said["nonce_str"] = secrets.token_hex(16)
        said["sign"] = signing.sign_v2(said, API_V2_KEY, sign_type)
        return _xml(_spoilt(said, kind), kind)

    return write


def v2_scan(fields: dict[str, str]) -> Writer:
    """A mode-one scan: no return_code, signed with MD5."""

    def write(fault: PayFault | None) -> Post:
        kind = kind_of(fault)
        said = {**fields, "nonce_str": secrets.token_hex(16)}
        said["sign"] = signing.sign_v2(said, API_V2_KEY, "MD5")
        return _xml(_spoilt(said, kind), kind)

    return write


def v2_refund(fields: dict[str, str], appid: str) -> Writer:
    """A refund's result: nothing signed, and the facts inside req_info."""

    def write(fault: PayFault | None) -> Post:
        kind = kind_of(fault)
        inside = dict(fields)
        if kind == "tampered_amount":
            inside["refund_fee"] = str(int(inside["refund_fee"]) + 1)
        text = xmltext.written(inside, root="root")
        said = {
            "return_code": "SUCCESS",
            "appid": appid,
            "mch_id": MCH_ID,
            "nonce_str": secrets.token_hex(16),
            "req_info": signing.encrypt_req_info(text, API_V2_KEY),
        }
        if kind == "forged_sign":
            said["req_info"] = base64.b64encode(secrets.token_bytes(len(text))).decode()
        if kind == "missing_sign":
            del said["req_info"]
        return _xml(_spoilt(said, kind), kind)

    return write


def _spoilt(said: dict[str, str], kind: str) -> dict[str, str]:
    if kind in ("forged_sign", "signtest") and "sign" in said:
        return said | {"sign": secrets.token_hex(len(said["sign"]) // 2).upper()}
    gone = {
        "missing_sign": {"sign"},
        "no_return_code": {"return_code", "result_code", "sign"},
    }.get(kind, set())
    return {name: value for name, value in said.items() if name not in gone}


def _xml(said: dict[str, str], kind: str) -> Post:
    body = xmltext.written({name: value for name, value in said.items() if value})
    if kind == "xxe":
        body = XXE + body.replace(b"</xml>", b"<detail>&stolen;</detail></xml>")
    return Post({"Content-Type": XML_TYPE}, NONSENSE if kind == "nonsense" else body)


class Event(msgspec.Struct, frozen=True):
    """A V3 notification before it is sealed; it tells what was so when it happened."""

    event_type: str
    summary: str
    original_type: str
    associated_data: str
    resource: dict[str, Any]


def v3(event: Event, notice_id: str, platform: Platform, pair: Pair, clock: VirtualClock) -> Writer:
    """An event of V3: its resource sealed with the APIv3 key, the whole signed in the headers."""
    created_s = clock.now_s()

    def write(fault: PayFault | None) -> Post:
        kind = kind_of(fault)
        resource = event.resource
        if kind == "tampered_amount":
            resource = dearer(resource)
        body = NONSENSE if kind == "nonsense" else _sealed(event, notice_id, created_s, resource)
        return Post(_v3_headers(body, kind, platform, pair, clock), body)

    return write


def _sealed(event: Event, notice_id: str, at_s: float, resource: dict[str, Any]) -> bytes:
    nonce = secrets.token_hex(6)
    text = json.dumps(resource, ensure_ascii=False).encode()
    whole = {
        "id": notice_id,
        "create_time": times.rfc3339(at_s),
        "resource_type": "encrypt-resource",
        "event_type": event.event_type,
        "summary": event.summary,
        "resource": {
            "original_type": event.original_type,
            "algorithm": "AEAD_AES_256_GCM",
            "ciphertext": signing.encrypt_gcm(text, API_V3_KEY, nonce, event.associated_data),
            "associated_data": event.associated_data,
            "nonce": nonce,
        },
    }
    return json.dumps(whole, ensure_ascii=False).encode()


def _v3_headers(
    body: bytes, kind: str, platform: Platform, pair: Pair, clock: VirtualClock
) -> dict[str, str]:
    pair = platform.stranger if kind == "unknown_serial" else pair
    stamp = now_text(clock, ago_s=OLD_S if kind == "old_timestamp" else 0.0)
    nonce = secrets.token_hex(16)
    signature = signing.sign_v3(signing.lines(stamp, nonce, body), pair.private)
    if kind == "forged_sign":
        signature = base64.b64encode(secrets.token_bytes(256)).decode()
    if kind == "signtest":
        signature = SIGNTEST + signature
    headers = {
        "Content-Type": "application/json",
        "Wechatpay-Timestamp": stamp,
        "Wechatpay-Nonce": nonce,
        "Wechatpay-Serial": platform.name_of(pair),
        "Wechatpay-Signature": signature,
        "Wechatpay-Signature-Type": "WECHATPAY2-SHA256-RSA2048",
        "Request-ID": secrets.token_hex(16).upper(),
    }
    if kind == "missing_sign":
        del headers["Wechatpay-Signature"]
    return headers


AMOUNTS = frozenset({"total", "refund", "payer_total", "payer_refund", "amount"}) | {
    "total_amount",
    "paid_amount",
}


def dearer(value: Any) -> Any:
    """Every amount one fen more."""
    if isinstance(value, list):
        return [dearer(item) for item in value]
    if not isinstance(value, dict):
        return value
    return {
        name: item + 1 if name in AMOUNTS and isinstance(item, int) else dearer(item)
        for name, item in value.items()
    }
