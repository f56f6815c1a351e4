"""The link to a cabinet and what it reports: pure rules, given the time.

    never → online → suspect → offline        unknown: our side was blind

It rises at once on any sign of life. It falls slowly: after 2.5 beats without one, or when the
vendor says so, it is suspect and the vendor is asked; offline it is only when the vendor, asked
again after four beats, still cannot say that it lives. While nobody listened on our side, and for a
full beat when the vendor does not answer at all, nothing is called offline.

Messages of one start of a device (boot_id) are in the order of their seq; later ones count, and
what comes late changes nothing. The device's own clock decides only where it sends no seq.

CabinetError (devices/model.py)
├── ParamUnknown        the vendor has no such setting
├── ParamsChanged       somebody else was quicker
├── CommandRefused      the vendor said no
└── CommandUnclear      nobody knows what the vendor did
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from hashlib import sha256
from typing import Any, Final, TypeAlias

import msgspec

from devices.fleet.model import Device, Door
from devices.model import (
    CabinetError,
    DeviceInMaintenance,
    DeviceLocked,
    DeviceOffline,
    NotBound,
)
from devices.vendors import port
from devices.vendors.port import DeviceFact
from sql.types import Millis

ALARM_MS: Final = 5 * 60_000
"""Offline for so long, a person is told."""
CLEAR_MS: Final = 2 * 60_000
LOCK_MS: Final = 10 * 60_000
"""Offline for so long, what is inside may have spoilt: nothing is sold until somebody looked."""
STABLE_MS: Final = 5 * 60_000
FLAP_WINDOW_MS: Final = 10 * 60_000
FLIPS_MAX: Final = 5
SAMPLE_MS: Final = 5 * 60_000
TELL_MS: Final = 1000
"""Between two events about what one device reports; what happens to its link is told at once."""
ASK_AGAIN_MS: Final = 30_000
"""When a question to the vendor is put again that was never answered, because we died."""
ASK_OFFLINE_MS: Final = 5 * 60_000
"""How often the vendor is asked about an offline one: its own messages may not reach us."""
OFFLINE_MIN_MS: Final = 180_000

TEMP_STEP: Final = 3
"""Tenths of a degree that are a change; sensors flicker."""

PUSHES_MAX: Final = 3
OFFLINE: Final = "offline"
"""The sale lock that is not a person's."""
MANUAL: Final = "manual"

_BOOT_MAX: Final = 40
_PAST_BOOTS: Final = 4
_FLIPS_KEPT: Final = 12

Said: TypeAlias = port.Event | DeviceFact

# What only a living device can have sent; an order may be recognised hours after it was cut off.
_LIFE: Final = (
    port.DeviceOnline,
    port.Telemetry,
    port.Alarm,
    port.Unlocked,
    port.DoorOpened,
    port.DoorClosed,
    port.Locked,
    port.NotPulled,
    port.PlanogramChanged,
)
_DOORS: Final[Mapping[type, tuple[str, str]]] = {
    port.Unlocked: ("lock", "unlocked"),
    port.Locked: ("lock", "locked"),
    port.DoorOpened: ("door", "open"),
    port.DoorClosed: ("door", "closed"),
}
PARAMS: Final = ("target_temp_c10", "volume", "light", "compressor")
_VALUES: Final = (*PARAMS, "temp_c10", "planogram_version")


class Times(msgspec.Struct, frozen=True):
    """What follows from how often a device reports. auto_unlock: see `judge`."""

    heartbeat_s: int = 60
    auto_unlock: bool = False

    @property
    def beat_ms(self) -> int:
        return self.heartbeat_s * 1000

    @property
    def suspect_ms(self) -> int:
        return self.beat_ms * 5 // 2

    @property
    def offline_ms(self) -> int:
        return max(4 * self.beat_ms, OFFLINE_MIN_MS)

    @property
    def stale_ms(self) -> int:
        return 3 * self.beat_ms

    @property
    def push_again_ms(self) -> int:
        """When a setting that is not reported yet is sent again."""
        return 2 * self.beat_ms


class ParamUnknown(CabinetError):
    code = "devices.param_unknown"
    title = "This kind of cabinet has no such setting"


class ParamsChanged(CabinetError):
    code = "devices.params_changed"
    title = "The settings were changed meanwhile"


class CommandRefused(CabinetError):
    code = "devices.command_refused"
    title = "The cabinet's platform refused"


class CommandUnclear(CabinetError):
    code = "devices.command_unclear"
    title = "The cabinet's platform gave no clear answer"


# ---------------------------------------------------------------- the gate


class Gate(Enum):
    LIVE = "live"
    ASK = "ask"
    """The vendor is to be asked first, with little patience."""


def gate(device: Device, *, now: Millis, heartbeat_s: int) -> Gate:
    """Whether a door of it may be opened; a link that is in memory only is not believed.

    Raises NotBound, DeviceOffline, DeviceLocked, DeviceInMaintenance.
    """
    if device.status != "bound":
        raise NotBound
    if device.link == "offline":
        raise DeviceOffline
    if device.sale_lock:
        raise DeviceLocked
    if device.service != "open":
        raise DeviceInMaintenance
    if device.link != "online" or device.last_seen_at is None:
        return Gate.ASK
    # Whoever looks after deadlines may have been away.
    is_late = now - device.last_seen_at >= Times(heartbeat_s).suspect_ms
    return Gate.ASK if is_late else Gate.LIVE


# ---------------------------------------------------------------- what is seen of a device


class Temperature(msgspec.Struct, frozen=True):
    """c10 None: never reported. is_stale: no longer to be believed, shown grey."""

    c10: int | None
    at: Millis | None
    is_stale: bool


def temperature(device: Device, *, now: Millis, heartbeat_s: int) -> Temperature:
    """The last one reported, and whether anything may be concluded from it."""
    c10, at = device.reported.get("temp_c10"), device.reported_at
    is_stale = c10 is None or at is None or now - at > Times(heartbeat_s).stale_ms
    return Temperature(c10, at, is_stale)


def pending(device: Device) -> dict[str, int]:
    """The settings that are wanted and not reported yet."""
    reported = device.reported
    return {name: value for name, value in device.desired.items() if reported.get(name) != value}


def flips(device: Device) -> list[Millis]:
    """When the link last changed between online and not, oldest first."""
    return msgspec.json.decode(device.flips, type=list[int])


def is_flapping(device: Device, now: Millis) -> bool:
    return len([at for at in flips(device) if now - at < FLAP_WINDOW_MS]) > FLIPS_MAX


def _flipped(device: Device, now: Millis) -> str:
    return msgspec.json.encode([*flips(device), now][-_FLIPS_KEPT:]).decode()


# ---------------------------------------------------------------- what is heard of it


class AlarmHeard(msgspec.Struct, frozen=True):
    kind: str
    is_raised: bool
    text: str


class Heard(msgspec.Struct, frozen=True):
    """What a message makes of a device.

    moved: its link changed. is_changed: that or what it reports did; else it only counts a beat.
    settled: all that was wanted of it is reported now.
    """

    device: Device
    moved: bool = False
    is_changed: bool = False
    settled: bool = False
    alarm: AlarmHeard | None = None


def hear(device: Device, said: Said, *, now: Millis) -> Heard | None:
    """What a message means; None for one that comes late, or says nothing of the device."""
    if isinstance(said, DeviceFact):
        # Asked now, answered now. That the vendor does not see it is judged by `denied`.
        return _heard(device, _seen(device, now), said, now=now) if said.online else None
    said = _with_boot_that_fits(said)
    ordered = _in_order(device, said)
    if isinstance(said, port.DeviceOffline):
        return None if ordered is None else _said_offline(ordered, said, now=now)
    if type(said) in _DOORS:
        return _door(device, ordered, said, now=now)
    if ordered is None or not isinstance(said, _LIFE):
        return None
    return _heard(device, _seen(ordered, now), said, now=now)


def _with_boot_that_fits(said: port.Event) -> port.Event:
    """Its start in as many characters as are kept of one, before it is compared with any.

    Only cut, two starts of a device that counts at the end of a long name would be one.
    """
    boot = said.boot_id
    if len(boot) <= _BOOT_MAX and not any(map(str.isspace, boot)):
        return said
    return msgspec.structs.replace(said, boot_id=sha256(boot.encode()).hexdigest()[:_BOOT_MAX])


def _in_order(device: Device, said: port.Event) -> Device | None:
    """The device with the message's place in its order; None for a message that is late."""
    if not said.boot_id and not said.seq:
        if device.boot_id:
            return device
        is_late = said.occurred_at < device.seq
        return None if is_late else msgspec.structs.replace(device, seq=said.occurred_at)
    if said.boot_id == device.boot_id:
        return msgspec.structs.replace(device, seq=said.seq) if said.seq > device.seq else None
    past = device.boots.split() if device.boots else []
    if said.boot_id in past:
        return None
    boots = " ".join([device.boot_id, *past][:_PAST_BOOTS]).strip()
    return msgspec.structs.replace(
        device,
        boot_id=said.boot_id,
        boots=boots,
        seq=said.seq,
        reported={**device.reported, "door_seq": {}},
    )


def _seen(device: Device, now: Millis) -> Device:
    """A sign of life: online from this moment on."""
    alive = msgspec.structs.replace(device, last_seen_at=now)
    if device.link == "online":
        return alive
    is_flip = device.link in {"suspect", "offline"}
    return msgspec.structs.replace(
        alive,
        link="online",
        link_since=now,
        epoch=device.epoch + 1,
        asked_at=None,
        # How long it may be silent is for the judge to say, who knows its beat.
        deadline_at=now,
        flips=_flipped(device, now) if is_flip else device.flips,
    )


def _said_offline(device: Device, said: port.DeviceOffline, *, now: Millis) -> Heard | None:
    """The vendor's word is a hint, often late: the vendor is asked, and the silence counted."""
    is_old = device.last_seen_at is not None and said.occurred_at < device.last_seen_at
    if device.link != "online" or is_old:
        return Heard(device)
    return Heard(suspected(device, now), moved=True, is_changed=True)


def suspected(device: Device, now: Millis) -> Device:
    """Doubted from now on; the vendor is to be asked at once."""
    return msgspec.structs.replace(
        device, link="suspect", link_since=now, flips=_flipped(device, now), deadline_at=now
    )


def _door(before: Device, ordered: Device | None, said: port.Event, *, now: Millis) -> Heard | None:
    """What a door did counts by the order of that door: telemetry may have overtaken it."""
    after = before if ordered is None else _seen(ordered, now)
    if said.boot_id in before.boots.split() or not _is_next_of_door(after, said):
        return None if ordered is None else _heard(before, after, said, now=now)
    name, value = _DOORS[type(said)]
    after = _with_door(after, said.door_no, {name: value}, now)
    after = _with_door_seq(after, {_sensor(said.door_no, name): _place(said)})
    return _heard(before, after, said, now=now)


def _is_next_of_door(device: Device, said: port.Event) -> bool:
    sensor = _sensor(said.door_no, _DOORS[type(said)][0])
    last: int = device.reported.get("door_seq", {}).get(sensor, 0)
    return _place(said) > last


def _sensor(door_no: int, name: str) -> str:
    return f"{door_no}:{name}"


def _place(said: port.Event) -> int:
    """By the device's clock where it sends nothing better."""
    return said.seq or said.occurred_at


def _with_door_seq(device: Device, seqs: Mapping[str, int]) -> Device:
    door_seq = {**device.reported.get("door_seq", {}), **seqs}
    return msgspec.structs.replace(device, reported={**device.reported, "door_seq": door_seq})


def _with_door(device: Device, door_no: int, said: Mapping[str, str], now: Millis) -> Device:
    """said: lock and door, as far as they are known."""
    doors = tuple(
        _changed_door(door, said, now) if door.door_no == door_no else door for door in device.doors
    )
    return msgspec.structs.replace(device, doors=doors)


def _changed_door(door: Door, said: Mapping[str, str], now: Millis) -> Door:
    new = {name: value for name, value in said.items() if getattr(door, name) != value}
    return msgspec.structs.replace(door, **new, changed_at=now) if new else door


def _heard(before: Device, after: Device, said: Said, *, now: Millis) -> Heard:
    """Take up what a living device says of itself."""
    alarm = None
    if isinstance(said, DeviceFact):
        after = _with_fact(after, said, now)
    elif isinstance(said, port.Telemetry):
        after = _with_fact(after, said.fact, now)
        sensors = [_sensor(d.door_no, name) for d in said.fact.doors for name in ("lock", "door")]
        after = _with_door_seq(after, dict.fromkeys(sensors, _place(said)))
    elif isinstance(said, port.PlanogramChanged):
        reported = {**after.reported, "planogram_version": said.version}
        after = msgspec.structs.replace(after, reported=reported)
    elif isinstance(said, port.Alarm):
        after = _with_alarm(after, said)
        alarm = AlarmHeard(said.kind, said.is_raised, said.text)
    moved = before.link != after.link
    after, settled = _with_wishes(before, after, moved=moved, now=now)
    changed = moved or before.doors != after.doors or _differs(before.reported, after.reported)
    return Heard(after, moved=moved, is_changed=changed, settled=settled, alarm=alarm)


def _with_fact(device: Device, fact: DeviceFact, now: Millis) -> Device:
    values = {name: getattr(fact, name) for name in _VALUES}
    reported = {
        **device.reported,
        **{name: value for name, value in values.items() if value is not None},
        "faults": sorted(fact.faults),
    }
    if fact.power != "unknown":
        reported["power"] = fact.power
    has_temp = fact.temp_c10 is not None
    device = msgspec.structs.replace(
        device, reported=reported, reported_at=now if has_temp else device.reported_at
    )
    for door in fact.doors:
        said = {"lock": door.lock, "door": door.door}
        known = {name: value for name, value in said.items() if value != "unknown"}
        device = _with_door(device, door.door_no, known, now)
    return device


def _with_alarm(device: Device, said: port.Alarm) -> Device:
    alarms = {k: v for k, v in device.reported.get("alarms", {}).items() if k != said.kind}
    if said.is_raised:
        alarms[said.kind] = said.text[:200]
    return msgspec.structs.replace(device, reported={**device.reported, "alarms": alarms})


def _with_wishes(before: Device, after: Device, *, moved: bool, now: Millis) -> tuple[Device, bool]:
    """Settings that have come true are not sent again; those that were lost are."""
    was, still = pending(before), pending(after)
    if not still:
        return msgspec.structs.replace(after, push_at=None), bool(was)
    if moved or not was:
        # It is there again, or somebody has changed it at the device itself.
        return msgspec.structs.replace(after, push_at=now, desired_pushes=0), False
    return after, False


def _differs(old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    for name in old.keys() | new.keys():
        was, now = old.get(name), new.get(name)
        # Where a message stood in the order is no change of the device.
        if was == now or name == "door_seq":
            continue
        if name != "temp_c10" or was is None or now is None or abs(was - now) >= TEMP_STEP:
            return True
    return False


# ---------------------------------------------------------------- the judge


class Judged(msgspec.Struct, frozen=True):
    """What time has made of a device. ask: the vendor is to be asked whether it lives.

    raises, clears: alerts, OFFLINE or FLAPPING. may_unlock: if nobody works on it.
    """

    device: Device
    moved: bool = False
    ask: bool = False
    raises: tuple[str, ...] = ()
    clears: tuple[str, ...] = ()
    may_unlock: bool = False


FLAPPING: Final = "flapping"


def judge(device: Device, *, now: Millis, times: Times) -> Judged:
    """A device whose deadline has come."""
    if device.status != "bound":
        # Nothing is expected of what stands nowhere.
        over = msgspec.structs.replace(device, deadline_at=None, push_at=None)
        return Judged(over, clears=(OFFLINE, FLAPPING))
    match device.link:
        case "online":
            return _judge_online(device, now, times)
        case "offline":
            return _judge_offline(device, now)
        case "never":
            return Judged(msgspec.structs.replace(device, deadline_at=None))
        case _:
            return Judged(msgspec.structs.replace(device, deadline_at=now + ASK_AGAIN_MS), ask=True)


def _judge_online(device: Device, now: Millis, times: Times) -> Judged:
    seen_at = device.last_seen_at or device.link_since
    if now - seen_at >= times.suspect_ms:
        doubted = suspected(device, now)
        return Judged(
            msgspec.structs.replace(doubted, deadline_at=now + ASK_AGAIN_MS),
            moved=True,
            ask=True,
        )
    clears, clear_at = [], device.link_since + CLEAR_MS
    if (device.deadline_at or 0) <= clear_at <= now:
        clears.append(OFFLINE)
    calm, calm_at = _calmed(device, now)
    if calm is not None:
        device = calm
        clears.append(FLAPPING)
    is_held = device.sale_lock == OFFLINE and times.auto_unlock
    unlock_at = device.link_since + STABLE_MS if is_held else 0
    may_unlock = is_held and now >= unlock_at and not calm_at
    coming = [at for at in (clear_at, unlock_at, calm_at) if at > now]
    deadline_at = min([seen_at + times.suspect_ms, *coming])
    return Judged(
        msgspec.structs.replace(device, deadline_at=deadline_at),
        clears=tuple(clears),
        may_unlock=may_unlock,
    )


def _judge_offline(device: Device, now: Millis) -> Judged:
    since, alarms, clears = device.link_since, [], []
    calm, calm_at = _calmed(device, now)
    if calm is not None:
        device = calm
        clears.append(FLAPPING)
    if now >= since + ALARM_MS and not calm_at:
        alarms.append(OFFLINE)
    is_long = now >= since + LOCK_MS
    if is_long and not device.sale_lock and (device.sale_lock_at or 0) < since:
        # Once: who takes the lock away while it is offline has had a look.
        device = msgspec.structs.replace(
            device, sale_lock=OFFLINE, sale_lock_by=0, sale_lock_at=now
        )
    coming = [at for at in (since + ALARM_MS, since + LOCK_MS, calm_at) if at > now]
    deadline_at = min([now + ASK_OFFLINE_MS, *coming])
    return Judged(
        msgspec.structs.replace(device, deadline_at=deadline_at),
        ask=True,
        raises=tuple(alarms),
        clears=tuple(clears),
    )


def _calmed(device: Device, now: Millis) -> tuple[Device | None, Millis]:
    """The device without its old flips when it has just ceased to flap, and when it will cease.

    0: it does not flap.
    """
    found = flips(device)
    recent = [at for at in found if now - at < FLAP_WINDOW_MS]
    if len(recent) > FLIPS_MAX:
        return None, recent[-FLIPS_MAX - 1] + FLAP_WINDOW_MS
    if len(found) > FLIPS_MAX:
        return msgspec.structs.replace(device, flips=msgspec.json.encode(recent).decode()), 0
    return None, 0


def denied(device: Device, *, now: Millis, times: Times, blind_until: Millis = 0) -> Device:
    """The vendor was asked and could not say that it lives."""
    if device.link not in {"suspect", "unknown"}:
        return device
    silent_since = device.last_seen_at or device.link_since
    offline_at = max(silent_since + times.offline_ms, blind_until)
    if now < offline_at:
        return msgspec.structs.replace(device, asked_at=now, deadline_at=offline_at)
    return msgspec.structs.replace(
        device, link="offline", link_since=now, asked_at=now, deadline_at=now + ALARM_MS
    )


def unanswered(device: Device, *, now: Millis, times: Times, blind_until: Millis = 0) -> Device:
    """The vendor did not answer at all. When that has gone on for a full beat, a device of which
    nothing is heard either is offline as if it had been denied: it must not sell for hours."""
    if device.link not in {"suspect", "unknown"}:
        return device
    if device.link == "unknown" and now - device.link_since >= times.beat_ms:
        return denied(device, now=now, times=times, blind_until=blind_until)
    return blinded(device, now=now, times=times)


def blinded(device: Device, *, now: Millis, times: Times) -> Device:
    """We could not have heard of it: nothing is concluded before a full beat has passed."""
    deadline_at = now + times.beat_ms
    if device.link == "unknown":
        return msgspec.structs.replace(device, deadline_at=deadline_at)
    return msgspec.structs.replace(device, link="unknown", link_since=now, deadline_at=deadline_at)
