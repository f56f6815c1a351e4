"""What it tells us unasked: whose it is, what it says, and how it is answered."""

import hmac
from collections.abc import Callable, Mapping, Sequence
from typing import Final

import msgspec

from devices.vendors import port
from devices.vendors.port import (
    Answer,
    BadCallback,
    BadSignature,
    Event,
    Replayed,
    Skewed,
    TooLarge,
    Unread,
    Verified,
)
from devices.vendors.xiaomai import signing
from devices.vendors.xiaomai.codes import reason_of
from devices.vendors.xiaomai.messages import (
    ORDER_NO_MAX,
    Common,
    Envelope,
    EventId,
    WireAlarm,
    WireDevice,
    WireGoodResults,
    WireOpenFailed,
    WireOrder,
    WireVersion,
    WireVideoEvent,
)
from sql.types import Millis

WINDOW_MS: Final = 300_000

_JSON: Final = {"Content-Type": "application/json"}

# HTTP status, its number, its word; the first that fits.
_REFUSALS: Final[tuple[tuple[type[BadCallback], int, int, str], ...]] = (
    (Skewed, 401, 1002, "SKEW"),
    (Replayed, 401, 1003, "REPLAY"),
    (BadSignature, 401, 1001, "SIGNATURE"),
    (TooLarge, 413, 1000, "TOO_LARGE"),
    (BadCallback, 400, 1000, "BAD_REQUEST"),
)


class Callbacks:
    """endpoints: the secrets of each endpoint id; while they are changed, the new and the old.

    The name of the key has to be there, once, as the contract says. Which it is decides nothing:
    it is not signed, we were told none of our secrets' names, and any secret that fits will do.
    """

    def __init__(self, app_id: str, endpoints: Mapping[str, Sequence[str]]) -> None:
        self._app_id = app_id
        self._endpoints = {name: tuple(filter(None, each)) for name, each in endpoints.items()}

    def verify(
        self,
        *,
        endpoint_id: str,
        headers: Mapping[str, str],
        path: str,
        query: str,
        raw: bytes,
        now: Millis,
    ) -> Verified:
        """The signature first: only what is Xiaomai's is told (and counted) as skewed."""
        timestamp = headers.get(signing.TIMESTAMP, "")
        nonce = headers.get(signing.NONCE, "")
        if not (timestamp.isascii() and timestamp.isdecimal() and len(timestamp) <= 12):
            raise BadSignature("no time")
        if not signing.NONCE_FORM.fullmatch(nonce):
            raise BadSignature("no nonce")
        if not signing.KEY_ID_FORM.fullmatch(headers.get(signing.KEY_ID, "")):
            raise BadSignature("no name of a key, or two")
        body_hash = signing.sha256(raw)
        signed = signing.Signed(
            method="POST",
            path=path,
            query=query,
            timestamp=timestamp,
            nonce=nonce,
            body_hash=body_hash,
        )
        if not self._is_signed(endpoint_id, signed, headers.get(signing.SIGN, "")):
            raise BadSignature("another signature")
        if headers.get(signing.APP_ID) != self._app_id:
            raise BadSignature("of another application")
        signed_at = int(timestamp) * 1000
        if abs(now - signed_at) > WINDOW_MS:
            raise Skewed(f"{(signed_at - now) // 1000} s")
        return Verified(
            endpoint_id=endpoint_id,
            nonce=nonce,
            body_hash=body_hash,
            raw=raw,
            signed_at=signed_at,
        )

    def _is_signed(self, endpoint_id: str, signed: signing.Signed, given: str) -> bool:
        try:
            text = signed.text()
        except ValueError:
            return False
        found = False
        for secret in self._endpoints.get(endpoint_id, ()):
            # Not `or`: how long it takes must not say which of the secrets it was.
            right = signing.sign(secret, text).encode()
            found |= hmac.compare_digest(right, given.encode(errors="replace"))
        return found


# ---------------------------------------------------------------- what it says


def parse(raw: bytes) -> Event:
    """Raises BadCallback when not even an id can be read."""
    try:
        envelope = _envelope.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        return _half_read(raw, str(error))
    read = _TYPES.get(envelope.event_type)
    common = envelope.common()
    if read is None:
        return _unread(common, envelope.event_type, "of a type that is not known")
    try:
        return read(common, envelope.data)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        return _unread(common, envelope.event_type, str(error))


def _half_read(raw: bytes, why: str) -> Event:
    try:
        known = _event_id.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BadCallback("no event id") from error
    code = known.device_code
    at = known.occurred_at
    common = Common(
        event_id=known.event_id,
        device_code=code if isinstance(code, str) and len(code) <= 50 else "",
        occurred_at=at if type(at) is int and 0 <= at <= 2**53 else 0,
    )
    return _unread(common, str(known.event_type), why)


def _unread(common: Common, event_type: str, why: str) -> Unread:
    # What is wrong may be said in words of the body, which are anybody's.
    return Unread(**common.fields, event_type=event_type[:40], why=why[:200])


_Read = Callable[[Common, msgspec.Raw], Event]


def _plain(kind: Callable[..., Event]) -> _Read:
    def read(common: Common, _: msgspec.Raw) -> Event:
        return kind(**common.fields)

    return read


def _order(kind: Callable[..., Event]) -> _Read:
    decoder = msgspec.json.Decoder(WireOrder)

    def read(common: Common, data: msgspec.Raw) -> Event:
        order = decoder.decode(data)
        if not order.is_ours:
            length = len(order.wheat_order_no)
            raise msgspec.ValidationError(
                f"its number has {length} characters, over {ORDER_NO_MAX}"
            )
        fact = order.fact(
            device_code=common.device_code,
            door_no=common.door_no,
            session_no=common.session_no,
            request_id=common.request_id,
        )
        return kind(**common.fields, order=fact)

    return read


def _alarm(*, is_raised: bool) -> _Read:
    decoder = msgspec.json.Decoder(WireAlarm)

    def read(common: Common, data: msgspec.Raw) -> Event:
        said = decoder.decode(data)
        return port.Alarm(
            **common.fields, kind=said.kind, is_raised=is_raised, text=said.text or ""
        )

    return read


def _telemetry(common: Common, data: msgspec.Raw) -> Event:
    fact = _device.decode(data).fact(common.device_code)
    return port.Telemetry(**common.fields, fact=fact)


def _open_failed(common: Common, data: msgspec.Raw) -> Event:
    reason = reason_of(_failed.decode(data).fail_code) or port.Reason.OTHER
    return port.OpenFailed(**common.fields, reason=reason)


def _video_ready(common: Common, data: msgspec.Raw) -> Event:
    said = _video.decode(data)
    slices = 1 if said.slices is None else said.slices
    return port.VideoReady(**common.fields, vendor_order_no=said.wheat_order_no, slices=slices)


def _video_failed(common: Common, data: msgspec.Raw) -> Event:
    return port.VideoFailed(**common.fields, vendor_order_no=_video.decode(data).wheat_order_no)


def _goods(common: Common, data: msgspec.Raw) -> Event:
    results = tuple(one.result() for one in _results.decode(data).results)
    return port.GoodsAck(**common.fields, results=results)


def _planogram(common: Common, data: msgspec.Raw) -> Event:
    return port.PlanogramChanged(**common.fields, version=_version.decode(data).version)


_envelope: Final = msgspec.json.Decoder(Envelope)
_event_id: Final = msgspec.json.Decoder(EventId)
_device: Final = msgspec.json.Decoder(WireDevice)
_failed: Final = msgspec.json.Decoder(WireOpenFailed)
_video: Final = msgspec.json.Decoder(WireVideoEvent)
_results: Final = msgspec.json.Decoder(WireGoodResults)
_version: Final = msgspec.json.Decoder(WireVersion)

_TYPES: Final[dict[str, _Read]] = {
    "device.online": _plain(port.DeviceOnline),
    "device.offline": _plain(port.DeviceOffline),
    "device.telemetry": _telemetry,
    "device.alarm": _alarm(is_raised=True),
    "device.alarm_cleared": _alarm(is_raised=False),
    "door.unlocked": _plain(port.Unlocked),
    "door.opened": _plain(port.DoorOpened),
    "door.closed": _plain(port.DoorClosed),
    "door.locked": _plain(port.Locked),
    "door.open_failed": _open_failed,
    "door.not_pulled": _plain(port.NotPulled),
    "order.pushed": _order(port.OrderPushed),
    "order.abnormal": _order(port.OrderAbnormal),
    "order.rechecked": _order(port.OrderRecheck),
    "video.ready": _video_ready,
    "video.failed": _video_failed,
    "planogram.changed": _planogram,
    "goods.ack": _goods,
}


# ---------------------------------------------------------------- how it is answered


def acknowledge(event_id: str) -> Answer:
    return 200, _JSON, msgspec.json.encode({"code": 0, "event_id": event_id})


def refuse(refusal: BadCallback, *, now: Millis) -> Answer:
    status, code, word = next(
        (status, code, word) for kind, status, code, word in _REFUSALS if isinstance(refusal, kind)
    )
    return status, _JSON, _said(code, word, server_time=now)


def overloaded(*, retry_after_s: int) -> Answer:
    headers = {**_JSON, "Retry-After": str(retry_after_s)}
    return 503, headers, _said(9002, "OVERLOADED")


def _said(code: int, word: str, **more: int) -> bytes:
    return msgspec.json.encode({"code": code, "message": word, **more})
