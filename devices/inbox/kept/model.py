"""An event as staff see it, and the reasons to refuse.

CabinetError (devices/model.py)
├── EventNotFound   there is no such event
└── EventNotEnded   it was worked, or is about to be
"""

from typing import Literal, TypeAlias

import msgspec

from devices.model import CabinetError
from sql.types import Millis

EventState: TypeAlias = Literal["new", "done", "quarantined", "dead"]


class EventNotFound(CabinetError):
    code = "callbacks.not_found"
    title = "No such event"


class EventNotEnded(CabinetError):
    code = "callbacks.not_ended"
    title = "The event was worked, or is about to be"


class Kept(msgspec.Struct, frozen=True, kw_only=True):
    """A row of `callback_inbox`. outcome: why it is where it is. body: the beginning of
    what came."""

    id: int
    vendor: str
    event_id: str
    event_type: str
    device_code: str
    occurred_at: Millis
    received_at: Millis
    state: EventState
    tries: int
    next_at: Millis | None
    ended_at: Millis | None
    outcome: str
    body: bytes


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """Which events a list shows, in which order. state "": those that wait for a person."""

    state: str = ""
    vendor: str = ""
    device_code: str = ""
    event_type: str = ""
    sort: str = "-id"
