"""The rules of the link and of what is reported, without a database."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from devices.fleet.model import Device, Door
from devices.model import DeviceInMaintenance, DeviceLocked, DeviceOffline, NotBound
from devices.presence.model import (
    ALARM_MS,
    CLEAR_MS,
    FLAP_WINDOW_MS,
    LOCK_MS,
    OFFLINE,
    STABLE_MS,
    Gate,
    Heard,
    Said,
    Temperature,
    Times,
    blinded,
    denied,
    flips,
    gate,
    hear,
    is_flapping,
    judge,
    pending,
    temperature,
    unanswered,
)
from devices.vendors import port
from devices.vendors.port import DeviceFact, DoorFact

NOW = 1_795_147_200_000
TIMES = Times(60)
SUSPECT_MS, OFFLINE_MS = 150_000, 240_000

DEVICE = Device(
    id=7, vendor="maker", code="D-1", name="by the door", store_id=3, status="bound",
    service="open", qr_version=1, created_at=NOW, updated_at=NOW, link="online", link_since=NOW,
    last_seen_at=NOW, deadline_at=NOW, epoch=1, boot_id="b", boots="", seq=10, asked_at=None,
    flips="[]", reported={}, reported_at=None, sampled_at=None, told_at=None, tell_at=None,
    desired={}, desired_version=0, desired_by=0, desired_at=None, desired_pushes=0, push_at=None,
    sale_lock="", sale_lock_by=0, sale_lock_at=None, faults=0, planogram_version=0, version=1,
    doors=(Door(door_no=1, lock="unknown", door="unknown", changed_at=None),
           Door(door_no=2, lock="unknown", door="unknown", changed_at=None)),
)  # fmt: skip


def device(**values: Any) -> Device:
    return msgspec.structs.replace(DEVICE, **values)


def event(of: type, seq: int = 11, boot: str = "b", at: int = NOW, **more: Any) -> Any:
    place = {"event_id": f"e{seq}", "device_code": "D-1", "occurred_at": at}
    return of(**place, boot_id=boot, seq=seq, **more)


def telemetry(seq: int = 11, boot: str = "b", at: int = NOW, **fact: Any) -> port.Telemetry:
    told = DeviceFact(device_code="D-1", online=True, **fact)
    found: port.Telemetry = event(port.Telemetry, seq, boot, at, fact=told)
    return found


def listen(before: Device, said: Said, now: int = NOW) -> Heard:
    found = hear(before, said, now=now)
    assert found is not None
    return found


# ---------------------------------------------------------------- rising


@pytest.mark.parametrize("link", ["never", "suspect", "offline", "unknown"])
@pytest.mark.parametrize(
    "said",
    [
        event(port.DeviceOnline),
        telemetry(),
        event(port.Alarm, kind="power", is_raised=True),
        event(port.Unlocked, door_no=1),
        event(port.DoorOpened, door_no=1),
        event(port.DoorClosed, door_no=1),
        event(port.Locked, door_no=1),
        event(port.NotPulled),
        event(port.PlanogramChanged, version=3),
        DeviceFact(device_code="D-1", online=True),
    ],
    ids=lambda said: type(said).__name__,
)
def test_any_sign_of_life_raises_the_link_at_once(link: Any, said: Said) -> None:
    found = listen(device(link=link, last_seen_at=1, asked_at=5), said, NOW + 9)

    assert (found.moved, found.is_changed) == (True, True)
    after = found.device
    assert (after.link, after.link_since, after.last_seen_at) == ("online", NOW + 9, NOW + 9)
    assert (after.epoch, after.asked_at, after.deadline_at) == (2, None, NOW + 9)
    assert flips(after) == ([NOW + 9] if link in {"suspect", "offline"} else [])


def test_a_beat_changes_nothing_but_the_time_it_was_heard() -> None:
    first = listen(device(), telemetry(11, temp_c10=40)).device

    found = listen(first, telemetry(12, temp_c10=40), NOW + 60_000)

    assert (found.moved, found.is_changed) == (False, False)
    assert found.device == msgspec.structs.replace(
        first,
        seq=12,
        last_seen_at=NOW + 60_000,
        reported_at=NOW + 60_000,
        reported=found.device.reported,
    )


@pytest.mark.parametrize(
    "said",
    [
        event(port.OpenFailed, reason=port.Reason.OFFLINE),
        event(port.GoodsAck, results=()),
        event(port.VideoFailed, vendor_order_no="o"),
        event(port.Unread, event_type="x", why="y"),
    ],
    ids=lambda said: type(said).__name__,
)
def test_what_others_say_of_a_device_is_no_sign_of_its_life(said: Said) -> None:
    assert hear(device(link="offline"), said, now=NOW) is None


def test_a_vendor_that_does_not_see_it_raises_nothing() -> None:
    assert hear(device(), DeviceFact(device_code="D-1", online=False), now=NOW) is None


# ---------------------------------------------------------------- order


def test_what_comes_late_changes_nothing() -> None:
    after = listen(device(), telemetry(20, temp_c10=40)).device

    for late in (telemetry(20, temp_c10=90), telemetry(19), event(port.DeviceOffline, 12)):
        assert hear(after, late, now=NOW + 1) is None


def test_after_a_start_the_count_begins_anew_and_the_old_one_is_over() -> None:
    after = listen(device(seq=500), telemetry(1, "c", temp_c10=40)).device

    assert (after.boot_id, after.seq, after.boots) == ("c", 1, "b")
    assert hear(after, telemetry(501, "b"), now=NOW) is None
    assert hear(after, event(port.DoorOpened, 502, "b", door_no=1), now=NOW) is None


def test_a_few_starts_are_remembered() -> None:
    now = device()
    for boot in "cdefg":
        now = listen(now, telemetry(1, boot)).device

    assert now.boots == "f e d c"


@pytest.mark.parametrize("boot", ["x" * 64, "x" * 41, "x" * 40, "two words"])
def test_a_start_of_any_name_has_its_order(boot: str) -> None:
    """The wire takes 64 characters of one, the column 40."""
    after = listen(device(), telemetry(1, boot, volume=1)).device
    again = listen(after, telemetry(2, boot, volume=2)).device
    restarted = listen(again, telemetry(1, boot[:-1] + "y", volume=3)).device

    assert len(after.boot_id) <= 40
    assert (again.boot_id, again.boots, again.seq) == (after.boot_id, "b", 2)
    assert hear(again, telemetry(1, boot, volume=9), now=NOW) is None
    assert restarted.boots == f"{after.boot_id} b"
    assert hear(restarted, telemetry(3, boot, volume=9), now=NOW) is None
    assert hear(restarted, event(port.DoorOpened, 4, boot, door_no=1), now=NOW) is None


def test_where_no_order_is_told_the_devices_clock_gives_it() -> None:
    plain = device(boot_id="", seq=0)
    after = listen(plain, telemetry(0, "", NOW, volume=3)).device

    assert hear(after, telemetry(0, "", NOW - 1, volume=9), now=NOW + 5) is None
    assert listen(after, telemetry(0, "", NOW, volume=4)).device.reported["volume"] == 4
    assert listen(after, telemetry(0, "", NOW + 1, volume=5)).device.seq == NOW + 1


def test_a_message_without_a_place_leaves_the_place_of_the_others() -> None:
    found = listen(device(), telemetry(0, "", NOW - 99, volume=3))

    assert (found.device.boot_id, found.device.seq) == ("b", 10)
    assert found.device.reported["volume"] == 3


messages = st.lists(
    st.tuples(
        st.sampled_from(["b", "c", "d"]),
        st.integers(min_value=1, max_value=6),
        st.sampled_from(["telemetry", "opened", "closed", "offline", "online"]),
        st.integers(min_value=0, max_value=2),
    ),
    max_size=20,
)


def spoken(boot: str, seq: int, kind: str, volume: int) -> Said:
    if kind == "telemetry":
        return telemetry(seq, boot, volume=volume)
    kinds = {"opened": port.DoorOpened, "closed": port.DoorClosed}
    if kind in kinds:
        said: Said = event(kinds[kind], seq, boot, door_no=1)
        return said
    plain: Said = event(port.DeviceOffline if kind == "offline" else port.DeviceOnline, seq, boot)
    return plain


@given(messages)
def test_to_hear_it_all_again_changes_nothing(said: list[tuple[str, int, str, int]]) -> None:
    now = device(boot_id="", seq=0)
    # One start after the other, and each number is said once, as a device does it.
    once = {(boot, seq): (kind, volume) for boot, seq, kind, volume in said}
    all_of_it = [spoken(boot, seq, *once[boot, seq]) for boot, seq in sorted(once)]
    for each in all_of_it:
        found = hear(now, each, now=NOW + 1)
        now = now if found is None else found.device
    before = now

    for each in all_of_it:
        found = hear(now, each, now=NOW + 99_000)
        now = now if found is None else found.device

    assert now == before


# ---------------------------------------------------------------- what is reported


def test_what_is_not_said_stays_as_it_was() -> None:
    one = listen(device(), telemetry(11, temp_c10=-180, volume=30, power="ups")).device
    two = listen(one, telemetry(12, light=1, faults=("fan", "door"))).device

    assert {key: two.reported[key] for key in two.reported if key != "door_seq"} == {
        "temp_c10": -180,
        "volume": 30,
        "power": "ups",
        "light": 1,
        "faults": ["door", "fan"],
    }
    assert (one.reported_at, two.reported_at) == (NOW, NOW)


@pytest.mark.parametrize(("other", "is_change"), [(42, False), (43, True), (38, False), (37, True)])
def test_a_flicker_of_the_sensor_is_no_change(other: int, is_change: bool) -> None:
    before = listen(device(), telemetry(11, temp_c10=40)).device

    assert listen(before, telemetry(12, temp_c10=other)).is_changed is is_change


def test_locks_and_doors_are_two_sensors() -> None:
    now = device()
    for seq, kind in enumerate((port.Unlocked, port.DoorOpened, port.DoorClosed), 11):
        now = listen(now, event(kind, seq, door_no=2), NOW + seq).device

    assert now.doors[0] == DEVICE.doors[0]
    assert now.doors[1] == Door(door_no=2, lock="unlocked", door="closed", changed_at=NOW + 13)
    last = listen(now, event(port.Locked, 14, door_no=2), NOW + 14).device
    assert (last.doors[1].lock, last.doors[1].changed_at) == ("locked", NOW + 14)


def test_a_door_counts_by_its_own_order() -> None:
    """Telemetry without a word of the door may overtake what the door did, and orders do."""
    after = listen(device(), telemetry(20, volume=1)).device

    found = listen(after, event(port.DoorOpened, 15, door_no=1), NOW + 5)

    assert (found.device.doors[0].door, found.is_changed) == ("open", True)
    # It is late, so it is no sign that the device lives now.
    assert (found.device.seq, found.device.last_seen_at) == (20, NOW)
    assert hear(found.device, event(port.DoorClosed, 14, door_no=1), now=NOW) is None


def test_telemetry_tells_of_doors_too_but_not_what_it_does_not_know() -> None:
    told = (DoorFact(door_no=1, lock="locked"), DoorFact(door_no=9, lock="locked"))

    after = listen(device(), telemetry(20, doors=told)).device

    assert (after.doors[0].lock, after.doors[0].door) == ("locked", "unknown")
    assert len(after.doors) == 2
    assert hear(after, event(port.Unlocked, 15, door_no=1), now=NOW) is None


def test_a_late_opening_does_not_undo_a_later_closing_without_numbers() -> None:
    plain = device(boot_id="", seq=0)
    closed = listen(plain, event(port.DoorClosed, 0, "", NOW, door_no=1)).device

    assert hear(closed, event(port.DoorOpened, 0, "", NOW - 5, door_no=1), now=NOW) is None
    again = listen(closed, event(port.DoorOpened, 0, "", NOW + 5, door_no=1)).device
    assert again.doors[0].door == "open"


def test_a_door_event_that_repeats_its_moment_is_still_a_beat() -> None:
    plain = device(boot_id="", seq=0)
    closed = listen(plain, event(port.DoorClosed, 0, "", NOW, door_no=1)).device

    found = listen(closed, event(port.DoorOpened, 0, "", NOW, door_no=1), NOW + 7)

    assert (found.is_changed, found.device.last_seen_at) == (False, NOW + 7)


def test_alarms_last_until_they_are_cleared() -> None:
    now = device()
    raised = listen(now, event(port.Alarm, 11, kind="temperature", is_raised=True, text="8 °C"))
    more = listen(raised.device, event(port.Alarm, 12, kind="power", is_raised=True))
    warm = listen(more.device, telemetry(13, temp_c10=20)).device
    cleared = listen(warm, event(port.Alarm, 14, kind="temperature", is_raised=False))

    assert raised.alarm is not None
    assert (raised.alarm.kind, raised.alarm.is_raised, raised.alarm.text) == (
        "temperature",
        True,
        "8 °C",
    )
    assert warm.reported["alarms"] == {"temperature": "8 °C", "power": ""}
    assert cleared.device.reported["alarms"] == {"power": ""}
    assert cleared.alarm is not None
    assert not cleared.alarm.is_raised


def test_a_temperature_is_believed_for_three_beats() -> None:
    warm = listen(device(), telemetry(11, temp_c10=55)).device

    seen = [temperature(warm, now=NOW + ms, heartbeat_s=60) for ms in (0, 180_000, 180_001)]

    assert seen[:2] == [Temperature(55, NOW, is_stale=False)] * 2
    assert seen[2] == Temperature(55, NOW, is_stale=True)
    assert temperature(device(), now=NOW, heartbeat_s=60) == Temperature(None, None, is_stale=True)


# ---------------------------------------------------------------- what is wanted


def test_what_is_wanted_is_pending_until_it_is_reported() -> None:
    told = device(desired={"volume": 30, "light": 1}, push_at=NOW + 9, desired_pushes=2)
    assert pending(told) == {"volume": 30, "light": 1}

    half = listen(told, telemetry(11, volume=30))
    assert (pending(half.device), half.settled) == ({"light": 1}, False)
    assert half.device.push_at == NOW + 9

    whole = listen(half.device, telemetry(12, light=1))
    assert (pending(whole.device), whole.settled, whole.device.push_at) == ({}, True, None)
    again = listen(whole.device, telemetry(13, light=1))
    assert not again.settled


def test_who_changes_it_at_the_device_is_overruled() -> None:
    settled = device(desired={"volume": 30}, reported={"volume": 30}, desired_pushes=3)

    found = listen(settled, telemetry(11, volume=90), NOW + 5)

    assert (found.device.push_at, found.device.desired_pushes) == (NOW + 5, 0)


def test_it_is_told_again_when_it_is_there_again() -> None:
    given_up = device(link="offline", desired={"volume": 30}, desired_pushes=3)

    found = listen(given_up, telemetry(11, volume=5), NOW + 5)

    assert (found.device.push_at, found.device.desired_pushes) == (NOW + 5, 0)
    # While it stays, it was told often enough.
    assert listen(device(desired={"volume": 1}), telemetry(11)).device.push_at is None


# ---------------------------------------------------------------- falling


def test_the_vendors_word_is_a_doubt_and_no_fall() -> None:
    found = listen(device(), event(port.DeviceOffline, 11, at=NOW + 5), NOW + 5)

    assert (found.device.link, found.moved) == ("suspect", True)
    assert (found.device.deadline_at, found.device.last_seen_at) == (NOW + 5, NOW)
    assert flips(found.device) == [NOW + 5]


@pytest.mark.parametrize("link", ["never", "suspect", "offline", "unknown"])
def test_who_is_not_online_does_not_fall_by_a_word(link: Any) -> None:
    found = listen(device(link=link), event(port.DeviceOffline, 11))

    assert (found.moved, found.is_changed, found.device.link) == (False, False, link)


def test_a_word_older_than_the_last_sign_of_life_is_ignored() -> None:
    found = listen(device(), event(port.DeviceOffline, 11, at=NOW - 1), NOW + 900_000)

    assert (found.moved, found.device.link) == (False, "online")


def test_silence_is_doubted_after_two_beats_and_a_half() -> None:
    just = judge(device(), now=NOW + SUSPECT_MS - 1, times=TIMES)
    assert (just.moved, just.ask, just.device.deadline_at) == (False, False, NOW + SUSPECT_MS)

    late = judge(device(), now=NOW + SUSPECT_MS, times=TIMES)
    assert (late.moved, late.ask, late.device.link) == (True, True, "suspect")
    assert late.device.deadline_at == NOW + SUSPECT_MS + 30_000
    assert flips(late.device) == [NOW + SUSPECT_MS]


@pytest.mark.parametrize("link", ["suspect", "unknown"])
def test_in_doubt_the_vendor_is_asked_again(link: Any) -> None:
    found = judge(device(link=link), now=NOW + 9, times=TIMES)

    assert (found.ask, found.moved, found.device.deadline_at) == (True, False, NOW + 30_009)


@pytest.mark.parametrize("link", ["suspect", "unknown"])
def test_it_is_offline_when_the_vendor_denies_it_after_four_beats(link: Any) -> None:
    early = denied(device(link=link), now=NOW + OFFLINE_MS - 1, times=TIMES)
    assert (early.link, early.asked_at) == (link, NOW + OFFLINE_MS - 1)
    assert early.deadline_at == NOW + OFFLINE_MS

    late = denied(device(link=link), now=NOW + OFFLINE_MS, times=TIMES)
    assert (late.link, late.link_since) == ("offline", NOW + OFFLINE_MS)
    assert late.deadline_at == NOW + OFFLINE_MS + ALARM_MS
    assert flips(late) == []


def test_a_quick_beat_waits_three_minutes_all_the_same() -> None:
    assert Times(10).offline_ms == 180_000
    assert denied(device(link="suspect"), now=NOW + 179_999, times=Times(10)).link == "suspect"


@pytest.mark.parametrize("link", ["never", "online", "offline"])
def test_who_is_not_in_doubt_is_not_denied(link: Any) -> None:
    assert denied(device(link=link), now=NOW + 10**9, times=TIMES) == device(link=link)


def test_nothing_is_offline_before_we_have_listened_for_a_beat() -> None:
    blind_until = NOW + 10_000_000

    found = denied(
        device(link="unknown"), now=blind_until - 1, times=TIMES, blind_until=blind_until
    )

    assert (found.link, found.deadline_at) == ("unknown", blind_until)


@pytest.mark.parametrize("link", ["online", "suspect", "offline"])
def test_what_we_could_not_hear_is_unknown(link: Any) -> None:
    found = blinded(device(link=link), now=NOW + 5, times=TIMES)

    assert (found.link, found.link_since, found.deadline_at) == ("unknown", NOW + 5, NOW + 60_005)


def test_without_any_answer_a_silent_device_is_unknown_for_a_beat_and_then_offline() -> None:
    times = Times()
    silent = device(link="suspect", link_since=NOW, last_seen_at=NOW - 150_000)

    first = unanswered(silent, now=NOW, times=times)
    again = unanswered(first, now=NOW + 59_999, times=times)
    waits = unanswered(first, now=NOW + 60_000, times=times)
    over = unanswered(waits, now=NOW + 90_000, times=times)

    assert (first.link, first.deadline_at) == ("unknown", NOW + 60_000)
    assert (again.link, again.link_since) == ("unknown", NOW)
    assert (waits.link, waits.deadline_at) == ("unknown", NOW + 90_000)
    assert (over.link, over.link_since) == ("offline", NOW + 90_000)
    blind = unanswered(waits, now=NOW + 90_000, times=times, blind_until=NOW + 99_000)
    assert (blind.link, blind.deadline_at) == ("unknown", NOW + 99_000)
    for link in ("online", "offline", "never"):
        assert unanswered(device(link=link), now=NOW, times=times) == device(link=link)


def test_what_is_unknown_stays_so_for_another_beat() -> None:
    found = blinded(device(link="unknown"), now=NOW + 5, times=TIMES)

    assert (found.link_since, found.deadline_at) == (NOW, NOW + 60_005)


def test_of_what_stands_nowhere_or_never_spoke_nothing_is_expected() -> None:
    out = judge(device(status="new", push_at=NOW), now=NOW + 10**9, times=TIMES)
    never = judge(device(link="never"), now=NOW + 10**9, times=TIMES)

    assert (out.device.deadline_at, out.device.push_at, out.ask) == (None, None, False)
    assert set(out.clears) == {"offline", "flapping"}
    assert (never.device.deadline_at, never.ask, never.clears) == (None, False, ())


# ---------------------------------------------------------------- alarms and locks


def test_an_alarm_needs_five_minutes_offline() -> None:
    gone = device(link="offline", link_since=NOW)

    early = judge(gone, now=NOW + ALARM_MS - 1, times=TIMES)
    late = judge(gone, now=NOW + ALARM_MS, times=TIMES)

    assert (early.raises, early.device.deadline_at) == ((), NOW + ALARM_MS)
    assert (late.raises, late.ask) == ((OFFLINE,), True)
    assert late.device.deadline_at == NOW + LOCK_MS
    assert late.device.sale_lock == ""


def test_after_ten_minutes_offline_it_sells_nothing() -> None:
    gone = device(link="offline", link_since=NOW)

    found = judge(gone, now=NOW + LOCK_MS, times=TIMES).device

    assert (found.sale_lock, found.sale_lock_by) == (OFFLINE, 0)
    assert (found.sale_lock_at, found.deadline_at) == (NOW + LOCK_MS, NOW + LOCK_MS + 300_000)


def test_who_unlocks_it_while_it_is_offline_is_not_overruled() -> None:
    seen = device(link="offline", link_since=NOW, sale_lock="", sale_lock_at=NOW + LOCK_MS + 1)

    assert judge(seen, now=NOW + 2 * LOCK_MS, times=TIMES).device.sale_lock == ""
    # The next time it is gone is another.
    again = msgspec.structs.replace(seen, link_since=NOW + 2 * LOCK_MS)
    assert judge(again, now=NOW + 3 * LOCK_MS, times=TIMES).device.sale_lock == OFFLINE


def test_a_persons_lock_is_left_alone() -> None:
    locked = device(link="offline", link_since=NOW, sale_lock="manual", sale_lock_by=5)

    found = judge(locked, now=NOW + LOCK_MS, times=TIMES).device

    assert (found.sale_lock, found.sale_lock_by) == ("manual", 5)


def test_an_alarm_is_cleared_by_two_minutes_online_once() -> None:
    back = device(link_since=NOW, last_seen_at=NOW, deadline_at=NOW)
    first = judge(back, now=NOW, times=TIMES)
    assert (first.clears, first.device.deadline_at) == ((), NOW + CLEAR_MS)

    then = msgspec.structs.replace(first.device, last_seen_at=NOW + 60_000)
    second = judge(then, now=NOW + CLEAR_MS, times=TIMES)
    assert (second.clears, second.device.deadline_at) == ((OFFLINE,), NOW + 60_000 + SUSPECT_MS)

    third = judge(
        msgspec.structs.replace(second.device, last_seen_at=NOW + 180_000),
        now=NOW + 210_000,
        times=TIMES,
    )
    assert third.clears == ()


def test_the_machines_lock_may_open_by_itself_after_five_stable_minutes() -> None:
    held = device(link_since=NOW, sale_lock=OFFLINE)
    fresh: dict[str, Any] = {"last_seen_at": NOW + STABLE_MS}
    later = msgspec.structs.replace(held, **fresh, deadline_at=NOW + CLEAR_MS + 1)

    assert not judge(later, now=NOW + STABLE_MS, times=TIMES).may_unlock
    willing = Times(60, auto_unlock=True)
    assert judge(later, now=NOW + STABLE_MS, times=willing).may_unlock
    early = judge(held, now=NOW + CLEAR_MS, times=willing)
    assert (early.may_unlock, early.device.deadline_at) == (False, NOW + SUSPECT_MS)
    soon = judge(
        msgspec.structs.replace(later, last_seen_at=NOW + 240_000), now=NOW + 240_000, times=willing
    )
    assert (soon.may_unlock, soon.device.deadline_at) == (False, NOW + STABLE_MS)
    manual = msgspec.structs.replace(later, sale_lock="manual")
    assert not judge(manual, now=NOW + STABLE_MS, times=willing).may_unlock


# ---------------------------------------------------------------- flapping


def flapped(count: int, **values: Any) -> Device:
    times = [NOW + 1000 * n for n in range(count)]
    return device(flips=msgspec.json.encode(times).decode(), **values)


def test_six_flips_in_ten_minutes_are_flapping() -> None:
    assert not is_flapping(flapped(5), NOW + 5000)
    assert is_flapping(flapped(6), NOW + 6000)
    assert not is_flapping(flapped(6), NOW + FLAP_WINDOW_MS)


def test_only_so_many_flips_are_kept_as_the_column_holds() -> None:
    now = device(link="online")
    for n in range(1, 41):
        at = NOW + n
        now = listen(now, event(port.DeviceOffline, 10 + 2 * n, at=at), at).device
        now = listen(now, event(port.DeviceOnline, 11 + 2 * n), at).device

    assert len(flips(now)) == 12
    assert len(now.flips) <= 200


def test_while_it_flaps_nobody_is_told_that_it_is_offline() -> None:
    gone = flapped(6, link="offline", link_since=NOW)
    calm_at = NOW + FLAP_WINDOW_MS

    during = judge(gone, now=NOW + ALARM_MS, times=TIMES)
    assert (during.raises, during.device.deadline_at) == ((), calm_at)

    after = judge(gone, now=calm_at, times=TIMES)
    assert (after.raises, after.clears) == ((OFFLINE,), ("flapping",))
    assert len(flips(after.device)) == 5


def test_a_device_that_is_there_again_ceases_to_flap_once() -> None:
    back = flapped(7, link_since=NOW + 6000, last_seen_at=NOW + 590_000)
    calm_at = NOW + 1000 + FLAP_WINDOW_MS

    during = judge(back, now=NOW + 600_000, times=TIMES)
    assert ("flapping" in during.clears, during.device.deadline_at) == (False, calm_at)
    after = judge(during.device, now=calm_at, times=TIMES)
    assert "flapping" in after.clears
    again = judge(after.device, now=calm_at + 1, times=TIMES)
    assert "flapping" not in again.clears


def test_the_machines_lock_stays_while_it_flaps() -> None:
    back = flapped(6, link_since=NOW, last_seen_at=NOW + STABLE_MS, sale_lock=OFFLINE)

    found = judge(back, now=NOW + STABLE_MS, times=Times(60, auto_unlock=True))

    assert not found.may_unlock


# ---------------------------------------------------------------- the gate


def test_a_device_that_was_heard_of_just_now_is_opened_straight() -> None:
    assert gate(device(), now=NOW + SUSPECT_MS - 1, heartbeat_s=60) is Gate.LIVE


@pytest.mark.parametrize("link", ["suspect", "unknown", "never"])
def test_of_a_device_in_doubt_the_vendor_is_asked(link: Any) -> None:
    assert gate(device(link=link), now=NOW, heartbeat_s=60) is Gate.ASK


def test_a_link_that_nobody_has_judged_is_not_believed() -> None:
    assert gate(device(), now=NOW + SUSPECT_MS, heartbeat_s=60) is Gate.ASK
    assert gate(device(last_seen_at=None), now=NOW, heartbeat_s=60) is Gate.ASK


@pytest.mark.parametrize(
    ("values", "refusal"),
    [
        ({"status": "new"}, NotBound),
        ({"status": "leaving"}, NotBound),
        ({"link": "offline"}, DeviceOffline),
        ({"sale_lock": "offline"}, DeviceLocked),
        ({"sale_lock": "manual"}, DeviceLocked),
        ({"service": "maintenance"}, DeviceInMaintenance),
        ({"link": "offline", "sale_lock": "offline"}, DeviceOffline),
    ],
)
def test_a_door_is_refused_for_its_reason(values: dict[str, Any], refusal: type[Exception]) -> None:
    with pytest.raises(refusal):
        gate(device(**values), now=NOW, heartbeat_s=60)
