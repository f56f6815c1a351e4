"""What comes in, what becomes of it, and how much may wait.

new → done, quarantined (nobody knows whose it is), dead (could not be worked, with an alert)
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final, TypeAlias

import msgspec

from devices.vendors.port import Event, Telemetry
from sql.database import Tx
from sql.types import Millis

# The watch that works it off; whoever keeps something wakes it, but for heartbeats, which wait
# for its next look.
JOB: Final = "callbacks"
LOOK_S: Final = 0.5

NEW: Final = "new"
DONE: Final = "done"
QUARANTINED: Final = "quarantined"
DEAD: Final = "dead"

# A mistake of ours with one event holds up its device for so long, then the event is dead.
PAUSES_MS: Final = (1_000, 5_000, 15_000, 60_000)
# What nobody could work just now is looked at again after so long, however often that is so.
NOT_NOW_MS: Final = 5_000

# Of a device that says the same again and again, only the last is worth anything.
COALESCED: Final = Telemetry.__name__
# So many wait for some seconds of work; beyond, what the next heartbeat brings anyway is sent back.
TELEMETRY_WAITING_MAX: Final = 5_000
# What is being written this moment: a second's worth, so that who is let in is answered in time.
WRITING_MAX: Final = 4_000
TELEMETRY_WRITING_MAX: Final = 1_000
RETRY_AFTER_S: Final = 5

# A clock that is wrong speaks more than once; a message that was long on its way does not.
SKEWED_MAX: Final = 5
SKEWED_WINDOW_MS: Final = 300_000
# While a clock is wrong the orders are asked for.
PULL_EVERY_MS: Final = 60_000

NONCES_KEPT_MS: Final = 600_000
DONE_KEPT_MS: Final = 30 * 86_400_000
# Ten thousand cabinets report fourteen million times a day; no vendor repeats that for longer.
TELEMETRY_KEPT_MS: Final = 86_400_000
# A person needs to see a few; a vendor that repeats its nonces sends them by the thousand.
REPLAYS_KEPT: Final = 20
REPLAYS_WINDOW_MS: Final = 3_600_000


class Quarantine(Exception):
    """Raised by `handle`: the event is kept for a person. What was written by then stands."""


class NotNow(Exception):
    """Raised by `handle`: nothing is wrong with the event, and it cannot be worked yet.

    It waits, its device's later ones behind it, and no try is counted.
    """


class Arrived(msgspec.Struct, frozen=True, kw_only=True):
    """A request as it came. headers: found by names in lower case. address: the sender's."""

    endpoint_id: str
    headers: Mapping[str, str]
    path: str
    query: str
    raw: bytes
    address: str


class Arrival(msgspec.Struct, frozen=True, kw_only=True):
    """Verified, to be kept. nonce "": its vendor has none. answer: the body it is answered with.

    outcome: "" unless nobody can make anything of it, and it is only kept.
    """

    vendor: str
    endpoint_id: str
    nonce: str
    body_hash: str
    event_id: str
    event_type: str
    device_code: str
    occurred_at: Millis
    body: bytes
    answer: str
    outcome: str = ""


class InboxRow(msgspec.Struct, frozen=True, kw_only=True):
    """An event in the inbox. event_type: the name of its class in the port. tries: that failed."""

    id: int
    vendor: str
    endpoint_id: str
    event_id: str
    event_type: str
    device_code: str
    body: bytes
    occurred_at: Millis
    received_at: Millis
    state: str
    tries: int
    outcome: str

    @property
    def is_again(self) -> bool:
        """It was worked before: whoever had to know was told."""
        return self.state != NEW


class Waiting(msgspec.Struct, frozen=True):
    """As much of a row as is needed to choose."""

    id: int
    vendor: str
    device_code: str
    event_type: str
    received_at: Millis


Handle: TypeAlias = Callable[[Tx, InboxRow, Event], None]
"""What an event means. May be given one twice, and has no effects but through tx.

Raises Quarantine for what belongs to nobody, NotNow for what has to wait; anything else it raises
is tried again.
"""

Hear: TypeAlias = Callable[[Tx, Sequence[tuple[InboxRow, Event]]], Mapping[int, str]]
"""What events of many devices mean, one of each: why rows, by id, belong to nobody."""


def is_shed(event_type: str, *, waiting: int, writing: int) -> bool:
    """Whether there is too much to take this one in now: telemetry first, what a door or an
    order says only when the database cannot follow."""
    if event_type == COALESCED:
        return waiting >= TELEMETRY_WAITING_MAX or writing >= TELEMETRY_WRITING_MAX
    return writing >= WRITING_MAX


def superseded(rows: Iterable[Waiting]) -> list[int]:
    """The telemetry after which there is later telemetry of the same device."""
    last: dict[tuple[str, str], int] = {}
    earlier = []
    for row in sorted(rows, key=lambda row: row.id):
        if row.event_type == COALESCED:
            device = (row.vendor, row.device_code)
            if device in last:
                earlier.append(last[device])
            last[device] = row.id
    return earlier


def by_device(rows: Iterable[Waiting]) -> list[list[Waiting]]:
    """The rows of each device in the order in which they came."""
    devices: dict[tuple[str, str], list[Waiting]] = {}
    for row in sorted(rows, key=lambda row: row.id):
        devices.setdefault((row.vendor, row.device_code), []).append(row)
    return list(devices.values())


def kept_ms(event_type: str) -> Millis:
    """For how long an event is kept that was done."""
    return TELEMETRY_KEPT_MS if event_type == COALESCED else DONE_KEPT_MS


def pause_after(tries: int) -> Millis | None:
    """How long to wait after so many failures; None: no more."""
    return PAUSES_MS[tries - 1] if tries <= len(PAUSES_MS) else None


class Skews:
    """Skewed callbacks of late, by endpoint."""

    def __init__(self) -> None:
        self._at: dict[str, list[Millis]] = {}
        self._pulled_at: dict[str, Millis] = {}

    def note(self, endpoint_id: str, now: Millis) -> bool:
        """Count one; whether it is time to say so and to ask for the orders."""
        recent = [at for at in self._at.get(endpoint_id, ()) if 0 <= now - at < SKEWED_WINDOW_MS]
        # No more are needed than tell that there are too many.
        self._at[endpoint_id] = [*recent[-SKEWED_MAX:], now]
        if len(self._at[endpoint_id]) <= SKEWED_MAX:
            return False
        if 0 <= now - self._pulled_at.get(endpoint_id, -PULL_EVERY_MS) < PULL_EVERY_MS:
            return False
        self._pulled_at[endpoint_id] = now
        return True

    def is_recent(self, endpoint_id: str, now: Millis) -> bool:
        return any(0 <= now - at < SKEWED_WINDOW_MS for at in self._at.get(endpoint_id, ()))
