"""What V2 demands of each field before it looks at what is asked.

Source: WeChat Pay V2, the parameter tables of unifiedorder, orderquery, closeorder, refund,
refundquery, downloadbill and shorturl.
"""

import re
from collections.abc import Iterable, Mapping
from ipaddress import ip_address
from urllib.parse import urlsplit

from simulators.wechat.pay.errors import Refusal

# Bytes in UTF-8: a Chinese character counts as three.
LIMITS = {
    "appid": 32,
    "mch_id": 32,
    "nonce_str": 32,
    "sign": 64,
    "sign_type": 32,
    "device_info": 32,
    "body": 128,
    "detail": 6000,
    "attach": 127,
    "out_trade_no": 32,
    "transaction_id": 32,
    "fee_type": 16,
    "spbill_create_ip": 64,
    "time_start": 14,
    "time_expire": 14,
    "goods_tag": 32,
    "notify_url": 256,
    "trade_type": 16,
    "product_id": 32,
    "limit_pay": 32,
    "openid": 128,
    "receipt": 8,
    "scene_info": 256,
    "profit_sharing": 16,
    "out_refund_no": 64,
    "refund_id": 32,
    "refund_desc": 80,
    "refund_account": 30,
    "refund_fee_type": 8,
    "long_url": 512,
}
COMMON = ("appid", "mch_id", "nonce_str", "sign")
NUMBER = re.compile(r"[0-9A-Za-z_\-|*]{1,32}")
REFUND_NUMBER = re.compile(r"[0-9A-Za-z_\-|*@]{1,64}")
AMOUNT = re.compile(r"[1-9][0-9]{0,10}")


def check_fields(fields: Mapping[str, str], needed: Iterable[str]) -> None:
    """Raises Refusal LACK_PARAMS, PARAM_ERROR."""
    missing = [name for name in (*COMMON, *needed) if not fields.get(name)]
    if missing:
        raise Refusal("LACK_PARAMS", f"缺少参数{missing[0]}")
    for name, value in fields.items():
        if len(value.encode()) > LIMITS.get(name, len(value.encode())):
            raise Refusal("PARAM_ERROR", f"Length of {name} exceed limit")


def amount_of(fields: Mapping[str, str], name: str) -> int:
    """Fen, a whole number from 1. Raises Refusal PARAM_ERROR."""
    if not AMOUNT.fullmatch(fields[name]):
        raise Refusal("PARAM_ERROR", f"invalid {name}")
    return int(fields[name])


def check_pattern(fields: Mapping[str, str], name: str, pattern: re.Pattern[str]) -> None:
    if not pattern.fullmatch(fields[name]):
        raise Refusal("PARAM_ERROR", f"invalid {name}")


def check_ip(text: str) -> None:
    try:
        ip_address(text)
    except ValueError as error:
        raise Refusal("PARAM_ERROR", "invalid spbill_create_ip") from error


def check_notify_url(text: str) -> None:
    """Absolute, http or https, no query and no fragment."""
    try:
        parts = urlsplit(text)
        is_good = parts.scheme in ("http", "https") and bool(parts.hostname)
    except ValueError:
        is_good = False
    if not is_good or "?" in text or "#" in text or " " in text:
        raise Refusal("PARAM_ERROR", "invalid notify_url")
