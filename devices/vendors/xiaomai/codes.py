"""Its numbers for what went wrong: what became of the command, and why."""

from typing import Final

from devices.vendors.port import Outcome, Reason

OK: Final = 0
# The command was given before; the answer is the first one's.
REPEATED: Final = 3001
SESSION_UNKNOWN: Final = 3006
ORDER_UNKNOWN: Final = 4001
VERSION_CONFLICT: Final = 5002

_DONE: Final = Outcome.EXECUTED
_NOT_DONE: Final = Outcome.NOT_EXECUTED
_UNKNOWN: Final = Outcome.UNKNOWN

CODES: Final[dict[int, tuple[Outcome, Reason]]] = {
    OK: (_DONE, Reason.NONE),
    1001: (_NOT_DONE, Reason.SIGNATURE),
    1002: (_NOT_DONE, Reason.SKEW),
    1003: (_NOT_DONE, Reason.REPLAY),
    1004: (_NOT_DONE, Reason.APP_DISABLED),
    1005: (_NOT_DONE, Reason.RATE),
    2001: (_NOT_DONE, Reason.DEVICE_UNKNOWN),
    2002: (_NOT_DONE, Reason.DEVICE_NOT_BOUND),
    2003: (_NOT_DONE, Reason.OFFLINE),
    2004: (_NOT_DONE, Reason.BUSY_SHOPPING),
    2005: (_NOT_DONE, Reason.BUSY_RESTOCKING),
    2006: (_NOT_DONE, Reason.MAINTENANCE),
    2007: (_NOT_DONE, Reason.ON_UPS),
    2008: (_NOT_DONE, Reason.HARDWARE),
    2009: (_NOT_DONE, Reason.TEMPERATURE),
    REPEATED: (_DONE, Reason.NONE),
    3002: (_UNKNOWN, Reason.NO_ANSWER),
    3003: (_NOT_DONE, Reason.NOT_PULLED),
    3004: (_NOT_DONE, Reason.LOCK_FAILED),
    3005: (_UNKNOWN, Reason.NO_RESULT),
    # Not done only when the device's time to answer is over; before that, nobody knows.
    SESSION_UNKNOWN: (_UNKNOWN, Reason.SESSION_UNKNOWN),
    3007: (_UNKNOWN, Reason.PENDING),
    ORDER_UNKNOWN: (_NOT_DONE, Reason.ORDER_UNKNOWN),
    4002: (_NOT_DONE, Reason.ORDER_CONFLICT),
    4003: (_NOT_DONE, Reason.AMOUNT_MISMATCH),
    4004: (_NOT_DONE, Reason.OVER_LIMIT),
    4005: (_NOT_DONE, Reason.SKU_UNKNOWN),
    4006: (_NOT_DONE, Reason.VIDEO_MISSING),
    4007: (_NOT_DONE, Reason.VIDEO_PENDING),
    5001: (_NOT_DONE, Reason.GOODS_REJECTED),
    VERSION_CONFLICT: (_NOT_DONE, Reason.VERSION_CONFLICT),
    9001: (_UNKNOWN, Reason.OTHER),
    9002: (_UNKNOWN, Reason.RATE),
}


def outcome_of(code: int) -> tuple[Outcome, Reason]:
    """A number that is not in the contract says nothing of what was done."""
    return CODES.get(code, (_UNKNOWN, Reason.OTHER))


def reason_of(code: int) -> Reason:
    return outcome_of(code)[1]
