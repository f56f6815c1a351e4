"""What is heard, written, judged and told, on each database."""

import asyncio
from typing import Any

import msgspec
import pytest
from sqlalchemy import select

from devices.desk.store import raise_exception
from devices.fleet.model import Device, DeviceNotFound
from devices.model import NotBound
from devices.presence import store
from devices.presence.model import ParamsChanged, Times
from devices.vendors.port import Alarm, DeviceFact, DoorClosed, DoorOpened
from sql.database import Tx
from sql.events import heads
from sql.tables.devices import devices, telemetry
from tests.devices.fleet.conftest import BOSS, CLERK
from tests.devices.fleet.test_devices import sit_down
from tests.devices.presence.conftest import World, door, standing

LABEL = "maker:D-1"


def samples(tx: Tx, device_id: int) -> list[Any]:
    mine = select(telemetry).where(telemetry.c.device_id == device_id).order_by(telemetry.c.at)
    return [msgspec.json.decode(row.body) for row in tx.execute(mine)]


def seen_at(tx: Tx, device_id: int) -> Any:
    """As it is in the row, not in any memory."""
    row = tx.execute(select(devices).where(devices.c.id == device_id)).one()
    return row.last_seen_at, row.seq, row.reported_at, row.version


async def judge(world: World, **times: Any) -> list[Device]:
    count, asked = await world.db.write(store.judge_due, times=Times(**times))
    assert count >= len(asked)
    return asked


# ---------------------------------------------------------------- heard


async def test_the_first_word_of_a_device_is_told_at_once(world: World) -> None:
    device = await world.bound()
    world.told.events.clear()

    await world.beat(device, temp_c10=-184, volume=30, doors=(door(lock="locked"),))

    now = await world.now(device)
    assert (now.link, now.last_seen_at, now.link_since) == (
        "online",
        world.clock.now(),
        world.clock.now(),
    )
    assert (now.boot_id, now.seq, now.doors[0].lock) == ("boot-1", 1, "locked")
    assert now.version == device.version + 1
    event, of_all = world.told.events
    assert (event.stream, of_all.stream) == (f"cabinet:{device.id}", "cabinets")
    assert (event.name, of_all.name, event.subject) == ("device.link", "device.link", device.id)
    said = msgspec.json.decode(event.data)
    assert (said["link"], said["version"]) == ("online", now.version)
    assert said["reported"] == {
        "temp_c10": -184,
        "volume": 30,
        "faults": [],
    }
    assert said["doors"] == [{"door_no": 1, "lock": "locked", "door": "unknown"}]
    assert await world.db.read(samples, device.id) == [said["reported"]]


async def test_a_beat_is_written_behind(world: World) -> None:
    device = await standing(world)
    before = await world.db.read(seen_at, device.id)
    world.clock.advance(seconds=60)

    await world.beat(device)

    assert await world.db.read(seen_at, device.id) == before
    assert world.told.events == []
    assert await world.db.write(store.flush) == 1
    now = world.clock.now()
    assert await world.db.read(seen_at, device.id) == (now, world.seq, now, device.version)
    assert await world.db.write(store.flush) == 0


async def test_what_was_written_behind_does_not_undo_what_came_since(world: World) -> None:
    device = await standing(world)
    world.clock.advance(seconds=60)
    await world.beat(device)
    world.clock.advance(seconds=1)
    await world.beat(device, volume=7)

    assert await world.db.write(store.flush) == 0
    now = world.clock.now()
    row = await world.db.read(seen_at, device.id)
    assert row[:3] == (now, world.seq, now)


async def test_a_beat_that_another_process_has_overtaken_is_not_written(world: World) -> None:
    device = await standing(world)
    world.clock.advance(seconds=60)
    await world.beat(device)
    later = world.clock.now() + 1

    def overtake(tx: Tx) -> None:
        mine = devices.update().where(devices.c.id == device.id)
        tx.execute(mine.values(last_seen_at=later, seq=99))

    await world.db.write(overtake)
    await world.db.write(store.flush)

    assert (await world.db.read(seen_at, device.id))[:2] == (later, 99)


async def test_a_repeat_of_what_is_not_written_yet_changes_nothing(one_world: World) -> None:
    device = await standing(one_world)
    one_world.clock.advance(seconds=60)
    beat = one_world.telemetry(device)
    await one_world.say(device, beat)
    one_world.clock.advance(seconds=60)

    await one_world.say(device, beat)
    await one_world.db.write(store.flush)

    assert (await one_world.now(device)).last_seen_at == one_world.clock.now() - 60_000


async def test_when_a_beat_was_lost_the_next_is_written_at_once(one_world: World) -> None:
    device = await standing(one_world)
    one_world.clock.advance(seconds=60)
    await one_world.beat(device)
    one_world.db.memory.clear()
    one_world.clock.advance(seconds=60)

    await one_world.beat(device)

    assert (await one_world.now(device)).last_seen_at == one_world.clock.now()


async def test_a_kept_beat_counts_before_it_is_written(one_world: World) -> None:
    device = await standing(one_world)
    one_world.clock.advance(seconds=60)
    await one_world.beat(device)
    one_world.clock.advance(seconds=100)

    assert await judge(one_world) == []
    assert await one_world.link(device) == "online"


async def test_a_word_of_the_vendor_alone_keeps_no_beat(one_world: World) -> None:
    device = await one_world.bound()

    await one_world.say(device, one_world.offline(device))

    now = await one_world.now(device)
    assert (now.link, now.last_seen_at) == ("never", None)


async def test_what_a_device_says_while_it_stands_nowhere_is_kept(one_world: World) -> None:
    device = await one_world.device()

    await one_world.beat(device)
    await judge(one_world)

    now = await one_world.now(device)
    assert (now.link, now.deadline_at) == ("online", None)


# ---------------------------------------------------------------- telemetry


async def test_history_has_each_change_and_a_row_every_five_minutes(world: World) -> None:
    device = await standing(world)
    for minute in range(1, 12):
        world.clock.advance(minutes=1)
        await world.beat(device, temp_c10=40 if minute < 7 else 60)

    found = await world.db.read(samples, device.id)

    # At the start, after five minutes, at the change in the seventh.
    assert [row["temp_c10"] for row in found] == [40, 40, 60]
    since = world.clock.now() - 5 * 60_000
    last = await world.db.read(
        store.history, device.id, since=since, until=world.clock.now() + 1, most=9
    )
    assert [(at - since, row["temp_c10"]) for at, row in last] == [(60_000, 60)]
    with pytest.raises(DeviceNotFound):
        await world.db.read(store.history, 99, since=0, until=1, most=9)


async def test_two_changes_in_one_moment_are_one_row(world: World) -> None:
    device = await standing(world)

    await world.beat(device, volume=1)
    await world.beat(device, volume=2)

    assert [row.get("volume") for row in await world.db.read(samples, device.id)] == [2]


async def test_what_was_reported_long_ago_is_forgotten(world: World) -> None:
    device = await standing(world)
    world.clock.advance(days=29)
    await world.beat(device)
    assert await world.presence.sweep() == 0
    world.clock.advance(days=2)

    assert await world.presence.sweep() == 1
    assert len(await world.db.read(samples, device.id)) == 1


# ---------------------------------------------------------------- told


async def test_of_what_it_reports_one_event_a_second_is_told(world: World) -> None:
    device = await standing(world)
    world.clock.advance(seconds=5)
    for volume in range(1, 6):
        await world.beat(device, volume=volume)
        world.clock.advance(seconds=0.1)

    assert world.names(device) == ["device.reported"]
    assert await world.db.write(store.tell_due) == 0
    world.clock.advance(seconds=0.6)
    assert await world.db.write(store.tell_due) == 1
    assert await world.db.write(store.tell_due) == 0

    assert world.names(device) == ["device.reported"] * 2
    first, last = [e for e in world.told.events if e.stream == "cabinets"]
    assert msgspec.json.decode(first.data)["reported"]["volume"] == 1
    assert msgspec.json.decode(last.data)["reported"]["volume"] == 5


async def test_what_happens_to_the_link_does_not_wait(world: World) -> None:
    device = await standing(world)
    world.clock.advance(seconds=5)
    await world.beat(device, volume=1)

    await world.say(device, world.offline(device))
    await world.say(device, world.online(device))

    assert world.names(device) == ["device.reported", "device.link", "device.link"]
    assert "cabinet-looks" in world.told.wakes


async def test_doors_are_told_and_kept(world: World) -> None:
    device = await standing(world)
    world.clock.advance(seconds=5)

    await world.say(device, DoorOpened(**world.place(device), door_no=1))
    world.clock.advance(seconds=5)
    await world.say(device, DoorClosed(**world.place(device), door_no=1))

    now = await world.now(device)
    assert (now.doors[0].door, now.doors[0].changed_at) == ("closed", world.clock.now())
    assert world.names(device) == ["device.reported"] * 2


async def test_an_alarm_is_raised_until_the_device_clears_it(world: World) -> None:
    device = await standing(world)
    kind: dict[str, Any] = {"kind": "temperature", "text": "9 °C"}

    await world.say(device, Alarm(**world.place(device), **kind, is_raised=True))
    assert await world.alerts() == {("cabinet.alarm", f"{LABEL}:temperature")}
    # A warm or a cold word does not clear it, only the device's own.
    await world.beat(device, temp_c10=20)
    assert await world.alerts() == {("cabinet.alarm", f"{LABEL}:temperature")}

    await world.say(device, Alarm(**world.place(device), **kind, is_raised=False))
    assert await world.alerts() == set()


# ---------------------------------------------------------------- judged


async def test_silence_is_judged_once_by_whoever_comes_first(world: World) -> None:
    device = await standing(world)
    world.clock.advance(seconds=150)

    found = await asyncio.gather(*(judge(world) for _ in range(5)))

    assert [each.id for asked in found for each in asked] == [device.id]
    assert await world.link(device) == "suspect"
    assert world.names(device) == ["device.link"]
    assert "cabinet-asks" in world.told.wakes


async def test_a_late_answer_about_an_earlier_silence_is_ignored(world: World) -> None:
    device = await standing(world)
    world.clock.advance(seconds=300)
    (asked,) = await judge(world)
    await world.beat(device)
    await world.say(device, world.offline(device))
    assert await world.link(device) == "suspect"
    known: dict[str, Any] = {"asked": {device.id: asked.epoch}, "times": Times()}

    await world.db.write(store.answered, "maker", {device.id: None}, **known, blind_until=0)
    epochs = {device.id: asked.epoch}
    await world.db.write(store.not_answered, "maker", epochs, times=Times(), blind_until=0)
    await world.db.write(store.not_set, "maker", epochs, times=Times())

    assert await world.link(device) == "suspect"


async def test_an_answer_that_it_lives_raises_it(world: World) -> None:
    device = await standing(world)
    world.clock.advance(seconds=300)
    (asked,) = await judge(world)
    fact = DeviceFact(device_code="D-1", online=True, temp_c10=70)

    await world.db.write(
        store.answered,
        "maker",
        {device.id: fact},
        asked=store.ids_of([asked]),
        times=Times(),
        blind_until=0,
    )

    now = await world.now(device)
    assert (now.link, now.last_seen_at, now.reported["temp_c10"]) == (
        "online",
        world.clock.now(),
        70,
    )


async def test_who_has_ceased_to_stand_in_a_store_is_not_missed(world: World) -> None:
    device = await standing(world)
    await world.pass_time(minutes=12)
    assert await world.alerts() == {("cabinet.offline", LABEL)}

    await world.fleet.unbind(device.id, by=BOSS)
    await world.look()

    now = await world.now(device)
    assert (now.deadline_at, await world.alerts()) == (None, set())
    assert now.store_id is not None or now.status == "new"
    await world.fleet.bind(device.id, (await world.store("S-9")).id, by=BOSS)
    assert await world.link(device) == "never"


@pytest.mark.parametrize("hindrance", ["", "door", "exception"])
async def test_the_machines_lock_opens_by_itself_when_nobody_works_on_it(
    world: World, hindrance: str
) -> None:
    device = await standing(world)
    world.presence.times = Times(60, auto_unlock=True)
    await world.pass_time(minutes=20)
    assert (await world.now(device)).sale_lock == "offline"
    if hindrance == "door":
        await world.db.write(sit_down, device.id)
    if hindrance == "exception":
        await world.db.write(
            raise_exception, "abnormal", "x", severity="high", text="", device_id=device.id
        )
    await world.beat(device)
    await world.pass_time(minutes=4, beats=[device])
    assert (await world.now(device)).sale_lock == "offline"

    await world.pass_time(minutes=4, beats=[device])

    assert (await world.now(device)).sale_lock == ("offline" if hindrance else "")


# ---------------------------------------------------------------- what people want of it


async def test_settings_are_wanted_once_and_written_down(world: World) -> None:
    device = await standing(world)
    before = device.desired_version

    wanted = await world.db.write(
        store.want_params, device.id, {"volume": 30}, by=BOSS, reason="quieter"
    )
    again = await world.db.write(store.want_params, device.id, {"volume": 30}, by=BOSS)

    assert wanted == again == await world.now(device)
    assert (wanted.desired, wanted.desired_version) == ({"volume": 30}, before + 1)
    assert (wanted.desired_by, wanted.desired_at) == (BOSS.account_id, world.clock.now())
    line = (await world.lines())[-1]
    assert (line.action, line.reason, line.subject) == (
        "device.params",
        "quieter",
        f"device:{device.id}",
    )
    assert (line.before, line.after) == ('{"volume":null}', '{"volume":30}')
    assert world.names(device) == ["device.reported"]


async def test_what_is_so_already_is_not_pushed(one_world: World) -> None:
    device = await standing(one_world)
    await one_world.beat(device, volume=30)

    wanted = await one_world.db.write(store.want_params, device.id, {"volume": 30}, by=BOSS)

    assert (wanted.desired, wanted.push_at) == ({"volume": 30}, None)


async def test_who_decides_by_settings_of_yesterday_is_refused(world: World) -> None:
    device = await standing(world)
    await world.db.write(store.want_params, device.id, {"volume": 30}, by=BOSS, version=0)

    with pytest.raises(ParamsChanged):
        await world.db.write(store.want_params, device.id, {"volume": 1}, by=BOSS, version=0)

    assert (await world.now(device)).desired == {"volume": 30}


async def test_a_push_is_claimed_by_one(world: World) -> None:
    device = await standing(world)
    await world.db.write(store.want_params, device.id, {"volume": 30}, by=BOSS)

    claims = await asyncio.gather(
        *(world.db.write(store.claim_pushes, times=Times()) for _ in range(4))
    )

    assert [[each.id for each in claim] for claim in claims if claim] == [[device.id]]


async def test_locking_and_unlocking_may_be_repeated(world: World) -> None:
    device = await standing(world)

    for verb, why in ((store.lock_sale, "manual"), (store.unlock_sale, "")):
        once = await world.db.write(verb, device.id, by=BOSS, reason="smells")
        assert await world.db.write(verb, device.id, by=BOSS) == once
        assert (once.sale_lock, once.sale_lock_by) == (why, BOSS.account_id)
        assert once.sale_lock_at == world.clock.now()

    assert (await world.actions())[-2:] == ["device.lock", "device.unlock"]
    assert world.names(device) == ["device.link"] * 2


async def test_a_device_that_stands_nowhere_is_told_nothing(one_world: World) -> None:
    device = await one_world.device()

    for refused in (
        one_world.db.write(store.lock_sale, device.id, by=BOSS),
        one_world.db.write(store.unlock_sale, device.id, by=BOSS),
        one_world.db.write(store.note_reboot, device.id, by=BOSS),
        one_world.db.write(store.want_params, device.id, {"volume": 1}, by=BOSS),
    ):
        with pytest.raises(NotBound):
            await refused


async def test_of_another_store_nothing_is_seen_or_told(world: World) -> None:
    mine, other = await standing(world), await world.bound("D-2", "S-2")
    assert mine.store_id is not None
    await world.keep(CLERK.account_id, mine.store_id)

    for refused in (
        world.presence.device(other.id, by=CLERK),
        world.presence.lock(other.id, by=CLERK),
        world.presence.unlock(other.id, by=CLERK),
        world.presence.reboot(other.id, by=CLERK),
        world.presence.set_params(other.id, {"volume": 1}, by=CLERK),
        world.presence.history(other.id, by=CLERK, since=0, until=1, most=1),
    ):
        with pytest.raises(DeviceNotFound):
            await refused
    assert (await world.presence.lock(mine.id, by=CLERK)).sale_lock == "manual"


async def test_faults_are_counted(world: World) -> None:
    device = await standing(world)

    await asyncio.gather(*(world.db.write(store.fault, device.id) for _ in range(5)))

    assert (await world.now(device)).faults == 5


# ---------------------------------------------------------------- shown


async def test_who_listens_to_all_begins_with_all(world: World) -> None:
    one, other = await standing(world), await world.bound("D-2", "S-2")
    await world.device("D-3")

    head, picture = await world.db.read(store.snapshot_of, "cabinets", None)

    assert head == (await world.db.read(heads, ["cabinets"]))["cabinets"]
    assert (picture["counts"], picture["is_whole"]) == ({"online": 1, "never": 1}, True)
    assert [each["device_id"] for each in picture["devices"]] == [one.id, other.id]
    assert picture["counts"] == await world.presence.count_links()


async def test_of_very_many_only_those_are_told_that_are_not_simply_online(
    one_world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await standing(one_world)
    locked = await standing(one_world, "D-2", "S-2")
    never = await one_world.bound("D-3", "S-3")
    await one_world.presence.lock(locked.id, by=BOSS)
    monkeypatch.setattr(store, "SNAPSHOT_MAX", 2)

    _, picture = await one_world.db.read(store.snapshot_of, "cabinets", None)

    assert picture["is_whole"] is False
    assert [each["device_id"] for each in picture["devices"]] == [locked.id, never.id]


async def test_who_is_kept_to_a_store_hears_of_its_devices_alone(world: World) -> None:
    mine, other = await standing(world), await world.bound("D-2", "S-2")
    assert mine.store_id is not None
    scope = frozenset({mine.store_id})

    async def may(stream: str, of: frozenset[int] | None = scope) -> bool:
        return await world.db.read(store.may_listen, stream, of)

    assert await may(f"cabinet:{mine.id}")
    assert not await may(f"cabinet:{other.id}")
    assert not await may("cabinets")
    assert await may("cabinets", None)
    assert await may(f"cabinet:{other.id}", None)
    assert not await may("cabinet:99", None)
    assert not await may("cabinet:x", None)
    _, picture = await world.db.read(store.snapshot_of, "cabinets", scope)
    assert (picture["counts"], len(picture["devices"])) == ({"online": 1}, 1)
    _, one = await world.db.read(store.snapshot_of, f"cabinet:{mine.id}", scope)
    assert one["device"]["device_id"] == mine.id
    with pytest.raises(DeviceNotFound):
        await world.db.read(store.snapshot_of, f"cabinet:{other.id}", scope)


async def test_the_state_of_all_changes_with_anything_shown(one_world: World) -> None:
    device = await standing(one_world)
    seen = [await one_world.presence.state()]
    one_world.clock.advance(seconds=60)

    await one_world.beat(device)
    await one_world.db.write(store.flush)
    seen.append(await one_world.presence.state())
    await one_world.beat(device, volume=1)
    seen.append(await one_world.presence.state())
    await one_world.fleet.set_service(device.id, "maintenance", by=BOSS)
    seen.append(await one_world.presence.state())
    await one_world.device("D-9")
    seen.append(await one_world.presence.state())

    assert len(set(seen)) == len(seen)
    assert seen[-1] == await one_world.presence.state()
