"""The fault dial: what can go wrong at the platform, on the way, and at a cabinet.

A fault strikes at a place, which is a name or a pattern:
`door/open`, `order/*`, `*`     an answer of the platform (`*` is every endpoint)
`event.order.pushed`, `event.*` an event on its way to the customer
`device.open`                   a cabinet that was told to open a door
"""

from fnmatch import fnmatch
from typing import Literal, get_args

import msgspec

AnswerFault = Literal[
    "http_502",  # an HTML page
    "drop",  # the connection ends without an answer; is_done: after it was executed
    "hang",  # no answer for `seconds`
    "delay",  # the answer comes `seconds` late
    "nonsense",  # neither JSON nor UTF-8
    "code",  # the envelope says `code`
]
EventFault = Literal[
    "drop",  # this attempt never arrives; it is tried again by the schedule
    "lose",  # the event never arrives
    "delay",  # … or `seconds` later, up to a day
    "reorder",  # waits until another event was delivered, or for `seconds`
    "duplicate",  # `copies` more, each with an event id of its own
    "repeat",  # the answer is lost; the very same bytes come `copies` times more
    "skew",  # signed `seconds` away from the right time
    "wrong_rev",  # an order of revision `rev`
    "conflict",  # an order of the same revision comes once more with other items
    "wrong_total",  # a total that is `fen` off
    "forged_sign",  # a stranger sends the event first, signed with another secret
    "replay",  # … or with the nonce of the true one and another body, afterwards
    "unknown_type",  # a type nobody knows
]
DeviceFault = Literal[
    "never_open",  # the command was accepted and nothing happens; afterwards `code` is known
    "lock_failed",  # the lock does not move, and the cabinet says so
    "slow",  # it unlocks `seconds` later
]
FaultKind = AnswerFault | EventFault | DeviceFault

ANSWER_FAULTS = frozenset(get_args(AnswerFault))
EVENT_FAULTS = frozenset(get_args(EventFault))
DEVICE_FAULTS = frozenset(get_args(DeviceFault))


class Fault(msgspec.Struct, forbid_unknown_fields=True):
    """times: how often it strikes; null is for ever. device_code: only this cabinet's events.

    is_done: whether the platform did what was asked before its answer was spoilt.
    """

    at: str
    kind: FaultKind
    times: int | None = 1
    seconds: float = 5.0
    copies: int = 1
    code: int = 3004
    rev: int = 0
    fen: int = 1
    device_code: str = ""
    is_done: bool = False

    def check(self, endpoints: tuple[str, ...], events: tuple[str, ...]) -> None:
        """Raises ValueError when it could never strike."""
        places: tuple[str, ...]
        if self.at.startswith("device."):
            places, kinds = ("device.open",), DEVICE_FAULTS
        elif self.at.startswith("event."):
            places, kinds = tuple(f"event.{kind}" for kind in events), EVENT_FAULTS
        else:
            places, kinds = endpoints, ANSWER_FAULTS
        if not any(fnmatch(place, self.at) for place in places):
            raise ValueError(f"no place {self.at!r}; there are {', '.join(places)}")
        if self.kind not in kinds:
            raise ValueError(f"{self.kind!r} cannot happen there; {', '.join(sorted(kinds))} can")


class Dial:
    """The faults that wait. Where several fit, the oldest strikes first."""

    def __init__(self) -> None:
        self.waiting: list[Fault] = []

    def add(self, fault: Fault) -> None:
        if fault.times is None or fault.times > 0:
            self.waiting.append(fault)

    def strike(self, at: str, device_code: str = "") -> Fault | None:
        """Take one stroke of the first fault for this place."""
        for fault in self.waiting:
            if _fits(fault, at, device_code):
                self._use_up(fault)
                return fault
        return None

    def clear(self, at: str | None = None) -> None:
        self.waiting = [f for f in self.waiting if at is not None and f.at != at]

    def _use_up(self, fault: Fault) -> None:
        if fault.times is not None:
            fault.times -= 1
            if fault.times == 0:
                self.waiting.remove(fault)


def _fits(fault: Fault, at: str, device_code: str) -> bool:
    """`*` alone means answers; events and cabinets are named by patterns of their own."""
    for space in ("event.", "device."):
        if at.startswith(space) != fault.at.startswith(space):
            return False
    return fnmatch(at, fault.at) and fault.device_code in ("", device_code)
