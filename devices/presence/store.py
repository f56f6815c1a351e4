"""Transactions on the live part of devices: heard, silent, judged; settings, locks, faults.

The index on `deadline_at` is the heap of deadlines, the same for all processes; each judges the
rows it gets. A row's changes are guarded by its version. What only counts a beat is not written
at once: it is kept in the writer's memory and written behind, many at a time (`flush`). If it is
lost, a device seems to have been silent for a few seconds longer than it was.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

import msgspec
from sqlalchemy import and_, bindparam, case, func, or_, select, update

from accounts.audit.model import By
from accounts.audit.store import record
from devices.fleet.model import Device, DeviceNotFound
from devices.fleet.store import Scope, load_device, load_devices, scope_of, sees
from devices.fleet.streams import ALL, News, tell
from devices.model import NotBound
from devices.presence.away import store as away
from devices.presence.messages import live
from devices.presence.model import (
    FLAPPING,
    MANUAL,
    OFFLINE,
    PUSHES_MAX,
    SAMPLE_MS,
    TELL_MS,
    AlarmHeard,
    Heard,
    Judged,
    ParamsChanged,
    Said,
    Times,
    blinded,
    denied,
    hear,
    is_flapping,
    judge,
    pending,
    unanswered,
)
from devices.vendors.port import DeviceFact, Reason
from sql.alerts import clear_alert, is_raised, raise_alert
from sql.events import Head, heads
from sql.tables.commerce import sync_cursors
from sql.tables.devices import (
    cabinet_exceptions,
    device_doors,
    devices,
    door_sessions,
    telemetry,
)
from sql.transaction import Bulk, Tx, insert_missing
from sql.types import Millis

# The watches of devices/presence/service.py: what looks after deadlines, and what needs the
# network.
LOOKS: Final = "cabinet-looks"
ASKS: Final = "cabinet-asks"

OFFLINE_ALERT: Final = "cabinet.offline"
FLAPPING_ALERT: Final = "cabinet.flapping"
PARAMS_ALERT: Final = "cabinet.params"
ALARM_ALERT: Final = "cabinet.alarm"

# Why a cabinet opens for nobody until somebody has looked after it.
_LOCKED_OUT: Final = frozenset(
    {Reason.MAINTENANCE, Reason.ON_UPS, Reason.HARDWARE, Reason.TEMPERATURE}
)
_ALERTS: Final = {OFFLINE: OFFLINE_ALERT, FLAPPING: FLAPPING_ALERT}

LINK: Final = "device.link"
REPORTED: Final = "device.reported"

# More devices than this are looked at in pages, over REST.
SNAPSHOT_MAX: Final = 1000

_BEATS: Final = "presence.beats"
# A beat this long after the last that was written is written at once: one was lost.
_BEAT_LOST_MS: Final = 90_000
_LOOK: Final = "presence.look"
_TOLD: Final = ("link", "sale_lock", "service", "status")


class Beat(msgspec.Struct, frozen=True):
    """A sign of life that is not written yet."""

    at: Millis
    reported_at: Millis | None
    boot_id: str
    seq: int


# ---------------------------------------------------------------- heard


def heard(tx: Tx, device_id: int, said: Said, *, locked: Device | None = None) -> None:
    """Take up what was heard of a device; late and repeated messages change nothing.

    locked: the device, if this transaction has it under its lock already.
    """
    hear_all(tx, [(locked or load_device(tx, device_id, lock=True), said)])


def hear_all(tx: Tx, said: Iterable[tuple[Device, Said]]) -> None:
    """Take up what was heard of devices, each once, which this transaction has locked."""
    samples: list[Device] = []
    news: list[News] = []
    for device, each in said:
        _hear(tx, device, each, samples, news)
    if samples:
        _sample(tx, samples)
    tell(tx, news)


def _hear(tx: Tx, written: Device, said: Said, samples: list[Device], news: list[News]) -> None:
    beats: dict[int, Beat] = tx.recall(_BEATS) or {}
    device = _with_beat(written, beats.get(written.id))
    found = hear(device, said, now=tx.now)
    if found is None:
        return
    after = found.device
    is_due = tx.now - (device.sampled_at or 0) >= SAMPLE_MS and after.reported_at == tx.now
    is_lost = tx.now - (written.last_seen_at or 0) >= _BEAT_LOST_MS
    # Without its start on record, what comes late of the one before would count as new.
    is_restarted = after.boot_id != written.boot_id
    if not (found.is_changed or is_due or is_lost or is_restarted):
        _keep_beat(tx, beats, after)
        return
    if beats.pop(written.id, None) is not None:
        tx.remember(_BEATS, beats)
    if is_due or (found.is_changed and after.reported != written.reported):
        after = msgspec.structs.replace(after, sampled_at=tx.now)
        samples.append(after)
    _write(tx, written, msgspec.structs.replace(found, device=after), news)


def _with_beat(device: Device, beat: Beat | None) -> Device:
    if beat is None or beat.boot_id != device.boot_id or beat.seq < device.seq:
        return device
    return msgspec.structs.replace(
        device,
        last_seen_at=max(beat.at, device.last_seen_at or 0),
        reported_at=max(beat.reported_at or 0, device.reported_at or 0) or None,
        seq=beat.seq,
    )


def _keep_beat(tx: Tx, beats: dict[int, Beat], device: Device) -> None:
    assert device.last_seen_at is not None, "the first sign of life is a change"
    beats[device.id] = Beat(device.last_seen_at, device.reported_at, device.boot_id, device.seq)
    tx.remember(_BEATS, beats)


def _write(tx: Tx, before: Device, found: Heard, news: list[News]) -> None:
    after = found.device
    _save_doors(tx, before, after)
    if found.settled:
        clear_alert(tx, PARAMS_ALERT, _label(after))
    if after.push_at == tx.now:
        tx.wake(ASKS)
    if after.link == "suspect":
        # The vendor says it is offline: it is asked at once.
        tx.wake(LOOKS)
    if found.alarm is not None:
        _note_alarm(tx, after, found.alarm)
    _save(tx, before, _told(tx, after, found, news))


def _told(tx: Tx, device: Device, found: Heard, news: list[News]) -> Device:
    """Tell it now, or note that it is to be told when a second has passed since the last."""
    if found.moved:
        return _tell(tx, LINK, device, news)
    if not found.is_changed:
        return device
    if device.told_at is None or tx.now - device.told_at >= TELL_MS:
        return _tell(tx, REPORTED, device, news)
    if device.tell_at is not None:
        return device
    return msgspec.structs.replace(device, tell_at=device.told_at + TELL_MS)


def _tell(tx: Tx, name: str, device: Device, news: list[News]) -> Device:
    """The device as it will be written; what is to be told of it, with the version it gets."""
    written = msgspec.structs.replace(device, version=device.version + 1)
    news.append(News(device.id, name, msgspec.to_builtins(live(written, tx.now))))
    if name == LINK and is_flapping(device, tx.now):
        raise_alert(tx, FLAPPING_ALERT, _label(device), "the link comes and goes")
    return msgspec.structs.replace(device, told_at=tx.now, tell_at=None)


def _sample(tx: Tx, sampled: Iterable[Device]) -> None:
    """One row of history each; a second one within a millisecond takes the first one's place."""
    rows = [(device.id, tx.now, _sample_body(device)) for device in sampled]
    tx.execute_many(_SAMPLE_AGAIN, rows)
    names = ("device_id", "at", "body")
    insert_missing(tx, telemetry, [dict(zip(names, row, strict=True)) for row in rows])


def _sample_body(device: Device) -> str:
    body = {name: value for name, value in device.reported.items() if name != "door_seq"}
    return msgspec.json.encode(body).decode()


_SAMPLE_AGAIN: Final = Bulk(
    update(telemetry)
    .where(telemetry.c.device_id == bindparam("id_"), telemetry.c.at == bindparam("at_"))
    .values(body=bindparam("body_")),
    ("id_", "at_", "body_"),
)


def _note_alarm(tx: Tx, device: Device, alarm: AlarmHeard) -> None:
    subject = f"{_label(device)}:{alarm.kind}"
    if alarm.is_raised:
        raise_alert(tx, ALARM_ALERT, subject, alarm.text or alarm.kind)
    else:
        clear_alert(tx, ALARM_ALERT, subject)


def _save_doors(tx: Tx, before: Device, after: Device) -> None:
    was = {door.door_no: door for door in before.doors}
    for door in after.doors:
        if door != was[door.door_no]:
            mine = update(device_doors).where(
                device_doors.c.device_id == after.id, device_doors.c.door_no == door.door_no
            )
            values = {"lock": door.lock, "door": door.door, "changed_at": door.changed_at}
            tx.execute(mine.values(values))


def flush(tx: Tx) -> int:
    """Write the beats that were kept; how many."""
    beats: dict[int, Beat] = tx.recall(_BEATS) or {}
    if not beats:
        return 0
    rows = [
        (device_id, beat.at, beat.reported_at, beat.boot_id, beat.seq)
        for device_id, beat in sorted(beats.items())
    ]
    tx.execute_many(_FLUSH, rows)
    tx.remember(_BEATS, {})
    return len(rows)


_seen, _told_temp = devices.c.last_seen_at, devices.c.reported_at
_FLUSH: Final = Bulk(
    update(devices)
    .where(devices.c.id == bindparam("id_"), or_(_seen.is_(None), _seen < bindparam("at_")))
    .values(
        last_seen_at=bindparam("at_"),
        reported_at=case(
            (or_(_told_temp.is_(None), _told_temp < bindparam("temp_")), bindparam("temp_")),
            else_=_told_temp,
        ),
        seq=case(
            (
                and_(devices.c.boot_id == bindparam("boot_"), devices.c.seq < bindparam("seq_")),
                bindparam("seq_"),
            ),
            else_=devices.c.seq,
        ),
    ),
    ("id_", "at_", "temp_", "boot_", "seq_"),
)


# ---------------------------------------------------------------- judged


def last_look(tx: Tx) -> Millis | None:
    """When somebody, in whichever process, last looked after deadlines."""
    mine = select(sync_cursors.c.changed_at).where(sync_cursors.c.name == _LOOK)
    last: Millis | None = tx.execute(mine).scalar_one_or_none()
    return last


def note_look(tx: Tx) -> None:
    insert_missing(tx, sync_cursors, [{"name": _LOOK, "cursor": "", "changed_at": tx.now}])
    mark = update(sync_cursors).where(sync_cursors.c.name == _LOOK)
    tx.execute(mark.values(changed_at=tx.now))


def become_blind(tx: Tx, *, since: Millis, times: Times, most: int = 200) -> int:
    """Nobody listened since then: let the devices not heard of after it be unknown; how many."""
    shown = devices.c.link.in_(("online", "suspect", "offline")) & (devices.c.status == "bound")
    silent = or_(devices.c.last_seen_at.is_(None), devices.c.last_seen_at <= since)
    chosen = select(devices.c.id).where(shown, silent).limit(most)
    return _each(tx, chosen, lambda one, _: blinded(one, now=tx.now, times=times))


def judge_due(tx: Tx, *, times: Times, most: int = 200) -> tuple[int, list[Device]]:
    """Judge devices whose deadline has come: how many, and those the vendor is asked about."""
    due = select(devices.c.id).where(devices.c.deadline_at <= tx.now)
    chosen = due.order_by(devices.c.deadline_at).limit(most).with_for_update(skip_locked=True)
    beats: dict[int, Beat] = tx.recall(_BEATS) or {}
    asked: list[Device] = []
    news: list[News] = []
    found = load_devices(tx, tx.execute(chosen).scalars(), lock=True)
    silent = away.told(tx) if found else set()
    for device in found.values():
        now = _with_beat(device, beats.get(device.id))
        judged = judge(now, now=tx.now, times=times)
        if device.vendor in silent:
            # A person is told of the vendor; of those still offline when it is back, then.
            judged = msgspec.structs.replace(judged, raises=())
        after = _apply(tx, device, judged, news)
        if judged.ask:
            asked.append(after)
    tell(tx, news)
    if asked:
        tx.wake(ASKS)
    return len(found), asked


def _apply(tx: Tx, before: Device, judged: Judged, news: list[News]) -> Device:
    after = judged.device
    if judged.may_unlock and not _is_worked_on(tx, after.id):
        after = msgspec.structs.replace(after, sale_lock="", sale_lock_by=0, sale_lock_at=tx.now)
    for kind in judged.raises:
        raise_alert(tx, _ALERTS[kind], _label(after), f"{after.name}: {kind}")
    for kind in judged.clears:
        clear_alert(tx, _ALERTS[kind], _label(after))
    if judged.moved or after.sale_lock != before.sale_lock:
        after = _tell(tx, LINK, after, news)
    return _save(tx, before, after)


def _is_worked_on(tx: Tx, device_id: int) -> bool:
    """Whether a door of it is open, or something about it waits for a person."""
    open_doors = select(door_sessions.c.id).where(
        door_sessions.c.device_id == device_id, door_sessions.c.door_key.is_not(None)
    )
    waiting = select(cabinet_exceptions.c.id).where(
        cabinet_exceptions.c.device_id == device_id, cabinet_exceptions.c.open_key.is_not(None)
    )
    return any(tx.execute(query.limit(1)).first() for query in (open_doors, waiting))


def answered(tx: Tx, vendor: str, facts: Mapping[int, DeviceFact | None], *,
             asked: Mapping[int, int], times: Times, blind_until: Millis) -> None:  # fmt: skip
    """What the vendor said when it was asked: a fact, or None where it has none.

    asked: the epochs at the time; of a device that rose meanwhile the answer is too old.
    """
    news: list[News] = []
    for device_id, fact in sorted(facts.items()):
        if fact is not None and fact.online:
            heard(tx, device_id, fact)
            continue
        before = load_device(tx, device_id, lock=True)
        if before.epoch == asked[device_id]:
            after = denied(before, now=tx.now, times=times, blind_until=blind_until)
            _move(tx, before, after, news)
    tell(tx, news)
    away.forget(tx, vendor)


def not_answered(tx: Tx, vendor: str, asked: Mapping[int, int], *,
                 times: Times, blind_until: Millis) -> None:  # fmt: skip
    """The vendor did not answer at all: what was in doubt is unknown, and later offline."""
    news: list[News] = []
    for device_id, epoch in sorted(asked.items()):
        before = load_device(tx, device_id, lock=True)
        if before.epoch == epoch:
            after = unanswered(before, now=tx.now, times=times, blind_until=blind_until)
            _move(tx, before, after, news)
    tell(tx, news)
    away.note(tx, vendor, times=times)


def not_set(tx: Tx, vendor: str, asked: Mapping[int, int], *, times: Times) -> None:
    """There is nobody to ask: that is our side's blindness, as long as it lasts."""
    news: list[News] = []
    for device_id, epoch in sorted(asked.items()):
        before = load_device(tx, device_id, lock=True)
        if before.epoch == epoch and before.link in {"suspect", "unknown"}:
            _move(tx, before, blinded(before, now=tx.now, times=times), news)
    tell(tx, news)
    away.forget(tx, vendor)


def tell_due(tx: Tx, *, most: int = 200) -> int:
    """Tell what had to wait for its second; how many."""
    waiting = select(devices.c.id).where(devices.c.tell_at <= tx.now).order_by(devices.c.tell_at)
    chosen = waiting.limit(most).with_for_update(skip_locked=True)
    return _each(tx, chosen, lambda one, news: _tell(tx, REPORTED, one, news))


def _each(tx: Tx, chosen: Any, change: Callable[[Device, list[News]], Device]) -> int:
    found = load_devices(tx, tx.execute(chosen).scalars(), lock=True)
    news: list[News] = []
    for device in found.values():
        _move(tx, device, change(device, news), news)
    tell(tx, news)
    return len(found)


def _move(tx: Tx, before: Device, after: Device, news: list[News]) -> None:
    if before.link != after.link:
        after = _tell(tx, LINK, after, news)
    if after != before:
        _save(tx, before, after)


# ---------------------------------------------------------------- what is wanted of it


def want_params(
    tx: Tx,
    device_id: int,
    values: Mapping[str, int],
    *,
    by: By,
    reason: str = "",
    version: int | None = None,
) -> Device:
    """Let the device be like this from now on; the vendor is told until it reports so.

    version: of the settings this was decided by. Raises DeviceNotFound, NotBound, ParamsChanged.
    """
    before = _mine(tx, device_id, by)
    if version is not None and version != before.desired_version:
        raise ParamsChanged
    desired = {**before.desired, **values}
    if desired == before.desired:
        return before
    after = msgspec.structs.replace(
        before,
        desired=desired,
        desired_version=before.desired_version + 1,
        desired_by=by.account_id,
        desired_at=tx.now,
        desired_pushes=0,
    )
    after = msgspec.structs.replace(after, push_at=tx.now if pending(after) else None)
    clear_alert(tx, PARAMS_ALERT, _label(after))
    tx.wake(ASKS)
    after = _save_told(tx, REPORTED, before, after)
    was = {name: before.desired.get(name) for name in values}
    _record(tx, by, "device.params", device_id, was, dict(values), reason)
    return after


def claim_pushes(tx: Tx, *, times: Times, most: int = 50) -> list[Device]:
    """The devices to be told their settings now, each put off to its next time.

    One that is offline is told when it is there again. One that was told often enough is left to
    a person.
    """
    due = select(devices.c.id).where(devices.c.push_at <= tx.now).order_by(devices.c.push_at)
    ids = tx.execute(due.limit(most).with_for_update(skip_locked=True)).scalars()
    claimed = []
    for before in load_devices(tx, ids, lock=True).values():
        is_over = before.desired_pushes >= PUSHES_MAX
        if is_over:
            text = f"{before.name}: {msgspec.json.encode(pending(before)).decode()} not taken"
            raise_alert(tx, PARAMS_ALERT, _label(before), text)
        if is_over or before.link == "offline" or before.status != "bound":
            _save(tx, before, msgspec.structs.replace(before, push_at=None))
            continue
        pushed = msgspec.structs.replace(
            before,
            desired_pushes=before.desired_pushes + 1,
            push_at=tx.now + times.push_again_ms,
        )
        claimed.append(_save(tx, before, pushed))
    return claimed


def lock_sale(tx: Tx, device_id: int, *, by: By, reason: str = "") -> Device:
    """Let nothing be sold. Repeatable. Raises DeviceNotFound, NotBound."""
    return _set_lock(tx, device_id, MANUAL, "device.lock", by, reason)


def unlock_sale(tx: Tx, device_id: int, *, by: By, reason: str = "") -> Device:
    """Let it sell again, whoever stopped it. Repeatable. Raises DeviceNotFound, NotBound."""
    return _set_lock(tx, device_id, "", "device.unlock", by, reason)


def _set_lock(tx: Tx, device_id: int, why: str, action: str, by: By, reason: str) -> Device:
    before = _mine(tx, device_id, by)
    if before.sale_lock == why:
        return before
    values = {"sale_lock": why, "sale_lock_by": by.account_id, "sale_lock_at": tx.now}
    after = _save_told(tx, LINK, before, msgspec.structs.replace(before, **values))
    _record(tx, by, action, device_id, {"sale_lock": before.sale_lock}, {"sale_lock": why}, reason)
    return after


def note_reboot(tx: Tx, device_id: int, *, by: By, reason: str = "") -> Device:
    """Write down that it is to be started anew. Raises DeviceNotFound, NotBound."""
    device = _mine(tx, device_id, by)
    _record(tx, by, "device.reboot", device_id, {}, {}, reason)
    return device


def fault(tx: Tx, device_id: int) -> None:
    """Count that it did not do what it was told."""
    before = load_device(tx, device_id, lock=True)
    _save(tx, before, msgspec.structs.replace(before, faults=before.faults + 1))


def refused_to_open(tx: Tx, device_id: int, reason: str) -> None:
    """It says no to an opening; an alarm where that is for a state of its own."""
    if reason in _LOCKED_OUT:
        device = load_device(tx, device_id)
        text = f"{device.code} does not open: {reason}"
        raise_alert(tx, ALARM_ALERT, f"{_label(device)}:{reason}", text)


def opened(tx: Tx, device_id: int) -> None:
    """A door of it was opened: whatever has locked it is over."""
    if is_raised(tx, ALARM_ALERT):
        device = load_device(tx, device_id)
        for reason in sorted(_LOCKED_OUT):
            clear_alert(tx, ALARM_ALERT, f"{_label(device)}:{reason}")


def _mine(tx: Tx, device_id: int, by: By) -> Device:
    device = load_device(tx, device_id, scope=scope_of(tx, by.account_id), lock=True)
    if device.status != "bound":
        raise NotBound
    return device


def _record(
    tx: Tx,
    by: By,
    action: str,
    device_id: int,
    before: Mapping[str, Any],
    after: Mapping[str, Any],
    reason: str,
) -> None:
    record(tx, actor=by, action=action, subject=f"device:{device_id}", before=before, after=after,
           reason=reason)  # fmt: skip


# ---------------------------------------------------------------- rows


def _save_told(tx: Tx, name: str, before: Device, after: Device) -> Device:
    news: list[News] = []
    after = _save(tx, before, _tell(tx, name, after, news))
    tell(tx, news)
    return after


def _save(tx: Tx, before: Device, after: Device) -> Device:
    """Write what differs, one version on; the row was locked by this transaction."""
    after = msgspec.structs.replace(after, version=before.version + 1)
    values = {
        name: _column(getattr(after, name))
        for name in after.__struct_fields__
        if name != "doors" and getattr(after, name) != getattr(before, name)
    }
    which = {"id_": before.id, "version_": before.version}
    changed = tx.execute(_SAVE, values | which).rowcount
    assert changed == 1, f"device {before.id} was changed under our lock"
    return after


# What it sets are the values it is given with.
_SAVE: Final = update(devices).where(
    devices.c.id == bindparam("id_"), devices.c.version == bindparam("version_")
)


def _column(value: Any) -> Any:
    return msgspec.json.encode(value).decode() if isinstance(value, dict) else value


def _label(device: Device) -> str:
    return f"{device.vendor}:{device.code}"


# ---------------------------------------------------------------- shown


def may_listen(tx: Tx, stream: str, scope: Scope) -> bool:
    """Whether somebody of that scope may hear a stream: that of all shows all stores."""
    if stream == ALL:
        return scope is None
    return _of_stream(tx, stream, scope) is not None


def snapshot_of(tx: Tx, stream: str, scope: Scope) -> tuple[Head | None, dict[str, Any]]:
    """Where a stream stands, and what a client begins with: one device, or all of them.

    Of very many only those are told that are not simply online; the others are in pages over
    REST. Raises DeviceNotFound.
    """
    head = heads(tx, [stream]).get(stream)
    if stream != ALL:
        device = _of_stream(tx, stream, scope)
        if device is None:
            raise DeviceNotFound
        return head, {"device": msgspec.to_builtins(live(device, tx.now))}
    counts = _counts(tx, scope)
    total = sum(counts.values())
    wanted = _in_store(scope)
    if total > SNAPSHOT_MAX:
        wanted.append(or_(devices.c.link != "online", devices.c.sale_lock != ""))
    ids = select(devices.c.id).where(*wanted).order_by(devices.c.id).limit(SNAPSHOT_MAX)
    found = load_devices(tx, tx.execute(ids).scalars())
    shown = [msgspec.to_builtins(live(device, tx.now)) for device in found.values()]
    return head, {"counts": counts, "devices": shown, "is_whole": total <= SNAPSHOT_MAX}


def state_of_all(tx: Tx) -> str:
    """A text that changes when anything shown of any device does."""
    marks = select(
        func.count(), func.max(devices.c.last_seen_at), func.sum(devices.c.version),
        func.max(devices.c.updated_at),
    )  # fmt: skip
    return "-".join(str(each) for each in tx.execute(marks).one())


def history(
    tx: Tx, device_id: int, *, scope: Scope = None, since: Millis, until: Millis, most: int
) -> list[tuple[Millis, dict[str, Any]]]:
    """What a device reported, oldest first. Raises DeviceNotFound."""
    load_device(tx, device_id, scope=scope)
    mine = select(telemetry).where(
        telemetry.c.device_id == device_id, telemetry.c.at >= since, telemetry.c.at < until
    )
    rows = tx.execute(mine.order_by(telemetry.c.at).limit(most))
    return [(row.at, msgspec.json.decode(row.body)) for row in rows]


def sweep_telemetry(
    tx: Tx, *, after: int, older_than: Millis, most: int = 100
) -> tuple[int | None, int]:
    """Forget what the next devices reported long ago: the last of them, and how many rows.

    after: the last of those before; None is returned when there are no more. Device by device,
    as the rows lie on the disk: a whole history is not read for it.
    """
    some = select(devices.c.id).where(devices.c.id > after).order_by(devices.c.id).limit(most)
    ids: Sequence[int] = tx.execute(some).scalars().all()
    count = 0
    for device_id in ids:
        old = (telemetry.c.device_id == device_id) & (telemetry.c.at < older_than)
        count += tx.execute(telemetry.delete().where(old)).rowcount
    return (ids[-1] if ids else None), count


def count_links(tx: Tx) -> dict[str, int]:
    """How many devices that stand in a store have each link; for the metrics."""
    return _counts(tx, None)


def _counts(tx: Tx, scope: Scope) -> dict[str, int]:
    query = (
        select(devices.c.link, func.count().label("n"))
        .where(*_in_store(scope))
        .group_by(devices.c.link)
    )
    return {row.link: row.n for row in tx.execute(query)}


def _in_store(scope: Scope) -> list[Any]:
    where: list[Any] = [devices.c.status == "bound"]
    return where if scope is None else [*where, devices.c.store_id.in_(scope)]


def _of_stream(tx: Tx, stream: str, scope: Scope) -> Device | None:
    number = stream.removeprefix("cabinet:")
    found = load_devices(tx, [int(number)] if number.isdecimal() else []).values()
    return next((device for device in found if sees(scope, device.store_id)), None)


def ids_of(found: Iterable[Device]) -> dict[int, int]:
    """The epochs of devices that somebody is asked about."""
    return {device.id: device.epoch for device in found}
