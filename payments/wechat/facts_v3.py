"""The texts and numbers of a verified JSON message as times and states. All odd is BadContent."""

import re
from datetime import datetime, timedelta
from typing import Annotated, Final
from zoneinfo import ZoneInfo

import msgspec

from payments.gateway import RefundState
from payments.wechat.errors import BadContent
from sql.types import Millis

REFUND_STATES: Final = {
    "SUCCESS": RefundState.SUCCESS,
    "PROCESSING": RefundState.PROCESSING,
    # Both spellings are documented.
    "CLOSED": RefundState.CLOSED,
    "CLOSE": RefundState.CLOSED,
    # The money could not go back, and waits for a person.
    "ABNORMAL": RefundState.ABNORMAL,
}

_EPOCH = datetime(1970, 1, 1, tzinfo=ZoneInfo("UTC"))
_RFC3339 = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,6})?(Z|[+-][0-9]{2}:[0-9]{2})"
)


class Amounts(msgspec.Struct):
    """In fen, as in a refund: total is what was paid."""

    refund: Annotated[int, msgspec.Meta(ge=0)]
    total: Annotated[int, msgspec.Meta(ge=0)]


def refund_state(status: str) -> RefundState:
    state = REFUND_STATES.get(status)
    if state is None:
        raise BadContent("a refund's status that is not known")
    return state


def rfc3339_millis(text: str) -> Millis:
    """`2026-11-20T12:05:06+08:00`, with or without parts of a second."""
    try:
        if _RFC3339.fullmatch(text):
            return (datetime.fromisoformat(text) - _EPOCH) // timedelta(milliseconds=1)
    except (ValueError, OverflowError):
        pass
    raise BadContent("a time that is none")
