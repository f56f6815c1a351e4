"""What it tells us unasked: from where it may come, what it says, how it is answered."""

import hashlib
import hmac
import ipaddress
from collections.abc import Callable, Mapping, Sequence
from typing import Final

import msgspec

from devices.vendors import port
from devices.vendors.port import (
    Answer,
    BadCallback,
    BadSignature,
    Event,
    Reason,
    TooLarge,
    Unread,
    Verified,
)
from devices.vendors.sim.messages import Bill, Cabinet, Word, WordId


class Callers:
    """Who may call back. secrets: any of them in the path is good; addresses: networks."""

    def __init__(self, secrets: Sequence[str], addresses: Sequence[str]) -> None:
        self._secrets = tuple(filter(None, secrets))
        self._networks = [ipaddress.ip_network(each) for each in addresses]

    def verify(self, endpoint_id: str, raw: bytes, address: str) -> Verified:
        given = endpoint_id.encode(errors="replace")
        is_known = False
        for secret in self._secrets:
            is_known |= hmac.compare_digest(secret.encode(), given)
        if not (is_known and self._is_allowed(address)):
            raise BadSignature("from a stranger")
        return Verified(
            # The secret itself is not kept, nor shown to whoever reads the inbox.
            endpoint_id=hashlib.sha256(given).hexdigest()[:16],
            nonce="",
            body_hash=hashlib.sha256(raw).hexdigest(),
            raw=raw,
        )

    def _is_allowed(self, address: str) -> bool:
        try:
            one = ipaddress.ip_address(address)
        except ValueError:
            return False
        return any(one in network for network in self._networks)


# ---------------------------------------------------------------- what it says


def parse(raw: bytes) -> Event:
    """Raises BadCallback when not even an id can be read."""
    try:
        word = _word.decode(raw)
    except ValueError as error:
        return _half_read(raw, str(error))
    why = "of a type that is not known"
    try:
        event = _event_of(word)
    except ValueError as error:
        event, why = None, str(error)
    return event or Unread(**word.common(), event_type=word.what[:40], why=why[:200])


def _half_read(raw: bytes, why: str) -> Unread:
    try:
        known = _word_id.decode(raw)
    except ValueError as error:
        raise BadCallback("no event id") from error
    return Unread(event_id=known.id, device_code="", occurred_at=0, event_type="", why=why[:200])


def _event_of(word: Word) -> Event | None:
    """Raises ValueError for one that makes no sense."""
    common = word.common()
    plain = _PLAIN_EVENTS.get(word.what)
    if plain is not None:
        return plain(**common)
    if word.what in {"trouble", "trouble over"}:
        return port.Alarm(**common, kind=word.kind, is_raised=word.what == "trouble")
    if word.what == "stuck":
        return port.OpenFailed(**common, reason=Reason.LOCK_FAILED)
    if word.what == "sensors":
        return port.Telemetry(**common, fact=_sensors.decode(word.sensors).fact(word.cabinet))
    if word.what in {"bill", "odd bill"}:
        order = _bill.decode(word.bill).fact()
        kind = port.OrderPushed if word.what == "bill" else port.OrderAbnormal
        return kind(**common, order=order)
    return None


_PLAIN_EVENTS: Final[Mapping[str, Callable[..., Event]]] = {
    "alive": port.DeviceOnline,
    "silent": port.DeviceOffline,
    "opened": port.DoorOpened,
    "shut": port.DoorClosed,
    "untouched": port.NotPulled,
}


_word: Final = msgspec.json.Decoder(Word)
_word_id: Final = msgspec.json.Decoder(WordId)
_bill: Final = msgspec.json.Decoder(Bill)
_sensors: Final = msgspec.json.Decoder(Cabinet)


# ---------------------------------------------------------------- how it is answered

_PLAIN: Final = {"Content-Type": "text/plain; charset=utf-8"}


def acknowledge(event_id: str) -> Answer:
    return 200, _PLAIN, f"ok {event_id}".encode(errors="replace")


def refuse(refusal: BadCallback) -> Answer:
    if isinstance(refusal, TooLarge):
        return 413, _PLAIN, b"too large"
    is_strange = isinstance(refusal, BadSignature)
    return (403, _PLAIN, b"no") if is_strange else (400, _PLAIN, b"what?")


def overloaded(*, retry_after_s: int) -> Answer:
    return 503, {**_PLAIN, "Retry-After": str(retry_after_s)}, b"later"
