"""What can go wrong with money in between: faults of answers, and faults of notifications."""

from fnmatch import fnmatch
from typing import Literal

import msgspec

AnswerFault = Literal[
    "http_502",  # an HTML page
    "drop",  # the connection ends without an answer
    "delay",  # the answer comes `seconds` late
    "drip",  # … or in small pieces, over so many seconds
    "nonsense",  # neither XML nor JSON nor UTF-8
    "bad_gzip",  # says it is gzip and is not
    "system_error",  # SYSTEMERROR, SYSTEM_ERROR
    "errcode",  # err_code (and number, for V3) with err_text
    "fail",  # V2's unsigned envelope: return_code FAIL with err_text
    "forged_sign",
    "missing_sign",
    "tampered_amount",  # another amount, with a valid signature
    "old_timestamp",  # V3: signed ten minutes ago
    "unknown_serial",  # V3: signed with a key nobody knows
    "pay_first",  # unifiedorder: paid and notified before the answer leaves
]
NoticeFault = Literal[
    "drop",  # this attempt never arrives
    "delay",  # … or `seconds` later
    "duplicate",  # `copies` at the same time
    "reorder",  # waits until another notification was delivered
    "tampered_amount",
    "forged_sign",
    "missing_sign",
    "no_return_code",  # V2: neither return_code nor sign
    "xxe",  # V2: an entity that would read a file
    "signtest",  # the vendor's probe of our verification
    "old_timestamp",
    "unknown_serial",
    "nonsense",
]
# What is always spoilt after the work was done.
ALWAYS_DONE = frozenset(
    {"delay", "drip", "bad_gzip", "forged_sign", "missing_sign", "tampered_amount"}
    | {"old_timestamp", "unknown_serial", "pay_first"}
)


class PayFault(msgspec.Struct, forbid_unknown_fields=True):
    """endpoint: a name of ENDPOINTS, or a pattern of such: `*`, `v3.*`, `notify.*`.

    times: how often it strikes; null is for ever. is_done: whether the vendor did what was asked
    before its answer was spoilt, where that is a question.
    """

    endpoint: str
    kind: AnswerFault | NoticeFault
    times: int | None = 1
    seconds: float = 6.0
    copies: int = 3
    is_done: bool = False
    err_code: str = "SYSTEMERROR"
    err_text: str = "系统超时"
    number: int = 0
    status: int = 400

    @property
    def does_it(self) -> bool:
        return self.is_done or self.kind in ALWAYS_DONE


class PayFaultBook:
    """The faults that wait. Where several fit, the oldest strikes first."""

    def __init__(self) -> None:
        self.waiting: list[PayFault] = []

    def add(self, fault: PayFault) -> None:
        if fault.times is None or fault.times > 0:
            self.waiting.append(fault)

    def strike(self, endpoint: str) -> PayFault | None:
        """Take one stroke of the first fault for this endpoint."""
        for fault in self.waiting:
            if _fits(fault.endpoint, endpoint):
                self._use_up(fault)
                return fault
        return None

    def clear(self, endpoint: str | None = None) -> None:
        self.waiting = [f for f in self.waiting if endpoint is not None and f.endpoint != endpoint]

    def _use_up(self, fault: PayFault) -> None:
        if fault.times is not None:
            fault.times -= 1
            if fault.times == 0:
                self.waiting.remove(fault)


def _fits(pattern: str, endpoint: str) -> bool:
    """`*` alone means every answer; notifications are named by their own `notify.` patterns."""
    if endpoint.startswith("notify.") and not pattern.startswith("notify."):
        return False
    return fnmatch(endpoint, pattern)
