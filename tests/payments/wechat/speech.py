"""How WeChat Pay signs and writes, told by other means than the product's own."""

import base64
import hashlib
import hmac
import subprocess
from collections.abc import Mapping
from xml.etree import ElementTree as ET

from payments.wechat.secrets import ApiV2Key
from payments.wechat.signing import Merchant, SignType

APPID = "wxd930ea5d5a258f4f"
MCH_ID = "10000100"
KEY = "192006250b4c09247ec02edce69f6a2d"
MERCHANT = Merchant(appid=APPID, mch_id=MCH_ID, key=ApiV2Key(KEY))
MD5_MERCHANT = Merchant(appid=APPID, mch_id=MCH_ID, key=ApiV2Key(KEY), sign_type=SignType.MD5)


def sign(fields: Mapping[str, str], *, key: str = KEY, md5: bool = False) -> str:
    text = ""
    for name in sorted(fields):
        if fields[name] != "" and name != "sign":
            text += f"{name}={fields[name]}&"
    text += f"key={key}"
    if md5:
        return hashlib.md5(text.encode()).hexdigest().upper()  # noqa: S324
    return hmac.digest(key.encode(), text.encode(), "sha256").hex().upper()


def signed(fields: Mapping[str, str], *, key: str = KEY, md5: bool = False) -> dict[str, str]:
    return {**fields, "sign": sign(fields, key=key, md5=md5)}


def xml(fields: Mapping[str, str], *, root: str = "xml") -> bytes:
    """As WeChat writes: everything in CDATA, but for the numbers."""
    said = "".join(
        f"<{name}>{value}</{name}>"
        if value.isdecimal()
        else f"<{name}><![CDATA[{value}]]></{name}>"
        for name, value in fields.items()
    )
    return f"<{root}>{said}</{root}>".encode()


def fields_of(body: bytes) -> dict[str, str]:
    return {element.tag: element.text or "" for element in ET.fromstring(body)}  # noqa: S314


def payment(**changes: str) -> dict[str, str]:
    """A notification of the documents' kind, not signed yet."""
    return {
        "appid": APPID,
        "attach": "支付测试",
        "bank_type": "CFT",
        "cash_fee": "1",
        "fee_type": "CNY",
        "is_subscribe": "Y",
        "mch_id": MCH_ID,
        "nonce_str": "5d2b6c2a8db53831f7eda20af46e531c",
        "openid": "oUpF8uMEb4qRXf22hE3X68TekukE",
        "out_trade_no": "1409811653",
        "result_code": "SUCCESS",
        "return_code": "SUCCESS",
        "time_end": "20261120120506",
        "total_fee": "1",
        "trade_type": "JSAPI",
        "transaction_id": "1004400740201409030005092168",
    } | changes


def refund(**changes: str) -> dict[str, str]:
    """What is inside the req_info of a refund notification."""
    return {
        "out_refund_no": "R-1",
        "out_trade_no": "1409811653",
        "refund_account": "REFUND_SOURCE_RECHARGE_FUNDS",
        "refund_fee": "3",
        "refund_id": "50000408942018111907145868882",
        "refund_recv_accout": "支付用户零钱",
        "refund_request_source": "API",
        "refund_status": "SUCCESS",
        "settlement_refund_fee": "3",
        "settlement_total_fee": "10",
        "success_time": "2026-11-20 12:05:06",
        "total_fee": "10",
        "transaction_id": "4200000215201811190261405420",
    } | changes


def sealed(plain: bytes, *, key: str = KEY, padded: bool = True) -> str:
    """AES-256-ECB by openssl's own command."""
    digest = hashlib.md5(key.encode()).hexdigest()  # noqa: S324
    command = ["openssl", "enc", "-aes-256-ecb", "-K", digest.encode().hex()]
    if not padded:
        command.append("-nopad")
    done = subprocess.run(command, input=plain, capture_output=True, check=True)
    return base64.b64encode(done.stdout).decode()


def envelope(req_info: str, **changes: str) -> bytes:
    return xml(
        {
            "return_code": "SUCCESS",
            "appid": APPID,
            "mch_id": MCH_ID,
            "nonce_str": "TeqClE3i0mvn3DrK",
            "req_info": req_info,
        }
        | changes
    )


def digest(key: str) -> str:
    return hashlib.md5(key.encode()).hexdigest()  # noqa: S324


def merchant(key: str) -> Merchant:
    return Merchant(appid=APPID, mch_id=MCH_ID, key=ApiV2Key(key))
