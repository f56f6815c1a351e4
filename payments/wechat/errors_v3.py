"""What a refusal of version 3 asks for: its code, and the number at the end of its Request-Id.

Sources: the error tables of each call; the list of Payscore's numbers of WeChat's support.
"""

import re
from collections.abc import Mapping
from typing import Final

import msgspec

from payments.gateway import (
    AlreadyClosed,
    AlreadyPaid,
    GatewayError,
    NumberUsed,
    Reaction,
    Refused,
    Unknown,
)
from payments.wechat.errors import printable

_CODES: Final = {
    "FREQUENCY_LIMITED": Reaction.WAIT,
    "FREQUENCY_LIMIT_EXCEED": Reaction.WAIT,
    "RATELIMIT_EXCEED": Reaction.WAIT,
    "RATELIMIT_EXCEEDED": Reaction.WAIT,
    "RATE_LIMIT": Reaction.WAIT,
    "SIGN_ERROR": Reaction.STOP,
    "NO_AUTH": Reaction.STOP,
    "NOAUTH": Reaction.STOP,
    "MCH_NOT_EXISTS": Reaction.STOP,
    "MCH_NOT_EXIST": Reaction.STOP,
    "APPID_MCHID_NOT_MATCH": Reaction.STOP,
    "PARAM_ERROR": Reaction.BUG,
    "INVALID_REQUEST": Reaction.MANUAL,
    "RESOURCE_NOT_EXISTS": Reaction.REPEAT_ORDER,
    "ORDER_NOT_EXIST": Reaction.REPEAT_ORDER,
    "USER_NOT_EXISTS": Reaction.BUG,
    "BIZERR_NEED_RETRY": Reaction.RETRY,
    "BIZ_ERR_NEED_RETRY": Reaction.RETRY,
}

# What one code means differs from call to call: a refund whose order does not exist is for a
# person, a refund that does not exist is for another try.
_BY_CALL: Final = {
    "refunds": {
        "RESOURCE_NOT_EXISTS": Reaction.MANUAL,
        "ORDER_NOT_EXIST": Reaction.MANUAL,
        "NOT_ENOUGH": Reaction.WAIT,
        "USER_ACCOUNT_ABNORMAL": Reaction.MANUAL,
        "REQUEST_BLOCKED": Reaction.MANUAL,
        "TRADE_ERROR": Reaction.MANUAL,
        "INVALID_TRANSACTIONID": Reaction.MANUAL,
    },
    "tradebill": {
        "STATEMENT_CREATING": Reaction.WAIT,
        "NO_STATEMENT_EXIST": Reaction.REPEAT_ORDER,
    },
}

NOT_THERE: Final = 271317510
OTHER_DATA: Final = 271316598
CANCELLED_ALREADY: Final = 271302333
NOT_CONFIRMED: Final = 271302332
ENDED_EARLY: Final = 271316637
# The merchant may not do this at all, or not without the user's confirmation.
NO_PERMISSION: Final = 268503786
WRONG_STATES: Final = frozenset({271302262, CANCELLED_ALREADY, NOT_CONFIRMED, 271316592, 271316657})

_NUMBERS: Final = {
    NOT_THERE: Reaction.REPEAT_ORDER,
    # The deduction is under way, or failed and is tried again by WeChat itself.
    271316754: Reaction.WAIT,
    271316574: Reaction.WAIT,
    268435472: Reaction.WAIT,
    271300099: Reaction.TELL_USER,
    271299627: Reaction.TELL_USER,
    268560785: Reaction.TELL_USER,
    271302144: Reaction.STOP,
    271302149: Reaction.STOP,
    NO_PERMISSION: Reaction.STOP,
    270924332: Reaction.STOP,
    268435464: Reaction.BUG,
    ENDED_EARLY: Reaction.BUG,
    271316656: Reaction.BUG,
    # Another app asks than the one that created the order.
    4108: Reaction.BUG,
} | dict.fromkeys(WRONG_STATES, Reaction.MANUAL)

_NUMBER = re.compile(r"-([0-9]{3,12})$")


class RefusedV3(Refused):
    """number: the reason at the end of the Request-Id, 0 where there is none."""

    def __init__(self, err_code: str, text: str, reaction: Reaction, *, number: int = 0) -> None:
        super().__init__(err_code, text, reaction)
        self.number = number


class WrongState(RefusedV3):
    """The order is elsewhere in its life than we thought: query it."""


class _Problem(msgspec.Struct):
    code: str = ""
    message: str = ""


def refusal_v3(call: str, status: int, headers: Mapping[str, str], body: bytes) -> GatewayError:
    """The error that an answer other than 200 and 204 amounts to.

    headers: with names in lower case. What is not known is Unknown, as are 202 and all of 5xx:
    the same call may be made again.
    """
    request_id = printable(headers.get("request-id", "none"))
    problem = _problem(body)
    said = f"{printable(problem.message)} (HTTP {status}, Request-Id {request_id})"
    number = _number(request_id)
    code = printable(problem.code, 64)
    if status < 400 or status >= 500:
        return Unknown(f"{call}: {code}: {said}")
    if number == OTHER_DATA or code == "OUT_TRADE_NO_USED":
        return NumberUsed(said)
    if code in {"ORDERPAID", "ORDER_PAID"}:
        return AlreadyPaid(said)
    if code in {"ORDERCLOSED", "ORDER_CLOSED"}:
        return AlreadyClosed(said)
    reaction = reaction_v3(call, status, code, number)
    if reaction is None:
        return Unknown(f"{call}: {code}: {said}")
    kind = WrongState if number in WRONG_STATES else RefusedV3
    return kind(code, said, reaction, number=number)


def reaction_v3(call: str, status: int, code: str, number: int) -> Reaction | None:
    """The number says most, then the code in this call, then the code, then the status."""
    known = _NUMBERS.get(number) or _BY_CALL.get(call, {}).get(code) or _CODES.get(code)
    return known or (Reaction.WAIT if status == 429 else None)


def _number(request_id: str) -> int:
    found = _NUMBER.search(request_id)
    return int(found[1]) if found else 0


def _problem(body: bytes) -> _Problem:
    try:
        return msgspec.json.decode(body, type=_Problem)
    except (ValueError, RecursionError):
        return _Problem()
