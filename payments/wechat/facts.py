"""The texts of a verified message as amounts, times and facts. Anything odd is BadContent."""

import re
from collections.abc import Collection, Mapping
from datetime import datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from payments.gateway import PaymentFact
from payments.wechat.errors import BadContent
from payments.wechat.signing import Merchant
from sql.types import Millis

BEIJING: Final = ZoneInfo("Asia/Shanghai")
NUMBER: Final = re.compile(r"[0-9A-Za-z_\-|*@]{1,64}")

_EPOCH = datetime(1970, 1, 1, tzinfo=ZoneInfo("UTC"))
_FEN = re.compile(r"0|[1-9][0-9]{0,11}")
_CURRENCY = re.compile(r"[A-Z]{3}")
_VISIBLE = re.compile(r"[!-~]{0,128}")
_COMPACT = re.compile(r"[0-9]{14}")
_SPACED = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2} [0-9]{2}:[0-9]{2}:[0-9]{2}")


def payment_fact(fields: Mapping[str, str], *, source: str) -> PaymentFact:
    """fields: of a notification or a query that says paid, verified. Raises BadContent."""
    amount_fen = fen(fields, "total_fee")
    if amount_fen < 1:
        raise BadContent("total_fee is nothing")
    return PaymentFact(
        out_trade_no=matching(fields, "out_trade_no", NUMBER),
        transaction_id=matching(fields, "transaction_id", NUMBER),
        amount_fen=amount_fen,
        # Left out for the currency of the country.
        currency=matching({"fee_type": "CNY"} | present(fields), "fee_type", _CURRENCY),
        appid=fields["appid"],
        mch_id=fields["mch_id"],
        openid=matching({"openid": ""} | present(fields), "openid", _VISIBLE),
        paid_at=millis(fields, "time_end"),
        source=source,
    )


def see_ours(fields: Mapping[str, str], merchant: Merchant, appids: Collection[str] = ()) -> None:
    """Raises BadContent for a message to another merchant or app.

    appids: those that may be meant, where it is not any of the merchant's.
    """
    is_our_app = fields.get("appid", "") in (appids or merchant.appids)
    if not is_our_app or fields.get("mch_id") != merchant.mch_id:
        raise BadContent("the appid or mch_id is not ours")


def present(fields: Mapping[str, str]) -> dict[str, str]:
    """An empty field is as good as none: it takes no part in the signature."""
    return {name: value for name, value in fields.items() if value}


def fen(fields: Mapping[str, str], name: str) -> int:
    """Digits alone: no sign, space, point or leading zero."""
    return int(matching(fields, name, _FEN))


def matching(fields: Mapping[str, str], name: str, pattern: re.Pattern[str]) -> str:
    value = fields.get(name, "")
    if not pattern.fullmatch(value):
        raise BadContent(f"{name} is missing or unfit")
    return value


def millis(fields: Mapping[str, str], name: str) -> Millis:
    """`20261120120506` or `2026-11-20 12:05:06`, the time of Beijing."""
    value = fields.get(name, "")
    try:
        if _COMPACT.fullmatch(value):
            day, time = value[:8], value[8:]
            value = f"{day[:4]}-{day[4:6]}-{day[6:]} {time[:2]}:{time[2:4]}:{time[4:]}"
        if _SPACED.fullmatch(value):
            return _since_epoch(datetime.fromisoformat(value).replace(tzinfo=BEIJING))
    except ValueError:
        pass
    raise BadContent(f"{name} is no time")


def compact(at: Millis) -> str:
    """`20261120120506`, the time of Beijing."""
    return (_EPOCH + timedelta(milliseconds=at)).astimezone(BEIJING).strftime("%Y%m%d%H%M%S")


def _since_epoch(moment: datetime) -> Millis:
    return (moment - _EPOCH) // timedelta(milliseconds=1)
