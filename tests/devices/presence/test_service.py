"""The watches: silence, doubt, questions to the vendor, alarms, locks, settings; and blindness."""

import asyncio
import functools
from typing import Any

import pytest

from devices.model import DeviceLocked, DeviceOffline
from devices.presence.away import store as away
from devices.presence.model import (
    CommandRefused,
    CommandUnclear,
    Gate,
    ParamUnknown,
    Times,
    gate,
    temperature,
)
from devices.presence.service import Presence
from devices.vendors.port import Reason, VendorRefused, VendorUnknown
from sql.idempotency import KeyReused
from tests.devices.fleet.conftest import BOSS
from tests.devices.presence.conftest import World, standing

OFFLINE = ("cabinet.offline", "maker:D-1")
AWAY = ("cabinet.vendor_away", "maker")
FLAPPING = ("cabinet.flapping", "maker:D-1")
PARAMS = ("cabinet.params", "maker:D-1")


def asked(world: World, verb: str) -> list[Any]:
    return [said for each, _, said in world.grid.asked if each == verb]


# ---------------------------------------------------------------- from silence to the alarm


async def test_a_device_that_reports_is_asked_nothing(world: World) -> None:
    device = await standing(world)

    await world.pass_time(minutes=15, beats=[device])

    now = await world.now(device)
    assert (now.link, now.link_since) == ("online", device.link_since)
    assert now.last_seen_at is not None
    assert world.clock.now() - now.last_seen_at <= 10_000
    assert (world.names(device), asked(world, "status")) == ([], [])


async def test_a_silent_device_falls_step_by_step_and_rises_at_once(world: World) -> None:
    device = await standing(world)

    await world.pass_time(minutes=2.5)
    assert await world.link(device) == "suspect"
    assert asked(world, "status") == [{"codes": ["D-1"]}]
    assert (await world.now(device)).asked_at == world.clock.now()
    await world.pass_time(minutes=1.2)
    assert await world.link(device) == "suspect"
    await world.pass_time(minutes=0.4)
    assert await world.link(device) == "offline"
    assert asked(world, "status") == [{"codes": ["D-1"]}] * 2
    assert await world.alerts() == set()
    await world.pass_time(minutes=5)
    assert await world.alerts() == {OFFLINE}
    assert (await world.now(device)).sale_lock == ""
    await world.pass_time(minutes=5.2)
    assert (await world.now(device)).sale_lock == "offline"

    await world.beat(device)

    now = await world.now(device)
    assert (now.link, now.epoch, now.sale_lock) == ("online", device.epoch + 1, "offline")
    assert world.names(device) == ["device.link"] * 4
    assert await world.alerts() == {OFFLINE}
    await world.pass_time(minutes=1.5, beats=[device])
    assert await world.alerts() == {OFFLINE}
    await world.pass_time(minutes=1, beats=[device])
    assert await world.alerts() == set()
    # Nobody has looked whether the milk is still good.
    await world.pass_time(minutes=10, beats=[device])
    assert (await world.now(device)).sale_lock == "offline"
    with pytest.raises(DeviceLocked):
        gate(await world.now(device), now=world.clock.now(), heartbeat_s=60)
    assert (await world.presence.unlock(device.id, by=BOSS, reason="looked")).sale_lock == ""
    assert gate(await world.now(device), now=world.clock.now(), heartbeat_s=60) is Gate.LIVE


async def test_a_short_absence_is_nobodys_alarm(world: World) -> None:
    device = await standing(world)
    await world.pass_time(minutes=7)
    assert await world.link(device) == "offline"

    await world.beat(device)
    await world.pass_time(minutes=5, beats=[device])

    assert await world.alerts() == set()
    assert (await world.now(device)).sale_lock == ""


async def test_who_only_does_not_reach_us_stays_online(one_world: World) -> None:
    device = await standing(one_world)
    one_world.says(device, online=True, temp_c10=33)

    await one_world.pass_time(minutes=30)

    now = await one_world.now(device)
    assert (now.link, now.reported["temp_c10"]) == ("online", 33)
    assert 10 <= len(asked(one_world, "status")) <= 13


async def test_the_vendors_word_is_followed_by_a_question_at_once(world: World) -> None:
    device = await standing(world)
    world.says(device, online=True)
    await world.say(device, world.offline(device))
    assert await world.link(device) == "suspect"

    await world.look()

    assert await world.link(device) == "online"
    assert len(asked(world, "status")) == 1


async def test_the_vendors_word_and_its_denial_wait_for_four_beats_of_silence(
    one_world: World,
) -> None:
    device = await standing(one_world)
    one_world.says(device, online=False)
    await one_world.say(device, one_world.offline(device))

    await one_world.pass_time(minutes=3.8)
    assert await one_world.link(device) == "suspect"
    await one_world.pass_time(minutes=0.4)

    assert await one_world.link(device) == "offline"
    with pytest.raises(DeviceOffline):
        gate(await one_world.now(device), now=one_world.clock.now(), heartbeat_s=60)


async def test_an_offline_device_is_asked_about_now_and_then(one_world: World) -> None:
    device = await standing(one_world)
    await one_world.pass_time(minutes=20)
    assert await one_world.link(device) == "offline"
    one_world.says(device, online=True)

    await one_world.pass_time(minutes=5.2)

    assert await one_world.link(device) == "online"


async def test_a_no_to_the_question_itself_is_a_denial(one_world: World) -> None:
    device = await standing(one_world)
    one_world.grid.trouble = VendorRefused(Reason.DEVICE_UNKNOWN, 2001)

    await one_world.pass_time(minutes=5)

    assert await one_world.link(device) == "offline"


async def test_temperatures_grow_stale_and_clear_nothing(one_world: World) -> None:
    device = await standing(one_world)
    one_world.says(device, online=True)

    await one_world.pass_time(minutes=4)

    now = await one_world.now(device)
    seen = temperature(now, now=one_world.clock.now(), heartbeat_s=60)
    assert (seen.c10, seen.is_stale, now.link) == (40, True, "online")


# ---------------------------------------------------------------- when we are blind


async def test_after_our_own_absence_nothing_is_offline_for_a_beat(world: World) -> None:
    device, gone = await standing(world), await standing(world, "D-2", "S-2")
    await world.presence.lock(gone.id, by=BOSS)
    world.clock.advance(minutes=30)

    process = Presence(world.db, {"maker": world.grid.as_vendor})
    await process.look()
    await process.ask_due()

    assert [await world.link(each) for each in (device, gone)] == ["unknown"] * 2
    assert (await world.now(gone)).sale_lock == "manual"
    assert gate(await world.now(device), now=world.clock.now(), heartbeat_s=60) is Gate.ASK
    assert asked(world, "status") == []
    world.presence = process
    world.clock.advance(seconds=50)
    await world.look()
    await world.beat(device)
    assert [await world.link(each) for each in (device, gone)] == ["online", "unknown"]
    assert await world.alerts() == set()
    world.clock.advance(seconds=15)
    await world.look()
    assert await world.link(gone) == "offline"
    # Coming back from our own blindness is no flip.
    assert (await world.now(device)).flips == "[]"


async def test_a_quick_restart_is_no_blindness_but_calls_nothing_offline(one_world: World) -> None:
    device = await standing(one_world)
    await one_world.pass_time(minutes=3.8)
    assert await one_world.link(device) == "suspect"
    one_world.presence = Presence(one_world.db, {"maker": one_world.grid.as_vendor})
    one_world.clock.advance(seconds=15)

    await one_world.pass_time(minutes=0.8)
    assert await one_world.link(device) == "suspect"
    await one_world.pass_time(minutes=0.5)

    assert await one_world.link(device) == "offline"


async def test_while_another_process_looks_nobody_is_blind(world: World) -> None:
    device = await standing(world)
    second = Presence(world.db, {"maker": world.grid.as_vendor})
    for _ in range(12):
        await world.pass_time(minutes=0.5, beats=[])
        await world.beat(device)

    await second.look()

    assert await world.link(device) == "online"


async def test_while_the_vendor_does_not_answer_nothing_is_offline(world: World) -> None:
    device, other = await standing(world), await standing(world, "D-2", "S-2")
    world.grid.trouble = VendorUnknown("timed out")

    await world.pass_time(minutes=2.6)
    assert await world.link(device) == "unknown"
    await world.pass_time(minutes=0.6)
    assert [await world.link(each) for each in (device, other)] == ["unknown"] * 2
    assert await world.alerts() == set()
    world.grid.trouble = None
    world.says(other, online=True)
    await world.pass_time(minutes=1.2)

    assert [await world.link(each) for each in (device, other)] == ["offline", "online"]
    assert await world.alerts() == set()


async def test_a_vendor_that_stays_away_is_one_alarm_and_hides_no_dead_device(
    world: World,
) -> None:
    dead, lives = await standing(world), await standing(world, "D-2", "S-2")
    world.grid.trouble = VendorUnknown("timed out")

    await world.pass_time(minutes=3.7, beats=[lives])
    assert (await world.link(dead), await world.alerts()) == ("unknown", {AWAY})
    await world.pass_time(minutes=0.5, beats=[lives])
    assert await world.link(dead) == "offline"
    await world.pass_time(minutes=10, beats=[lives])

    assert await world.link(lives) == "online"
    assert (await world.now(dead)).sale_lock == "offline"
    assert await world.alerts() == {AWAY}
    with pytest.raises(DeviceOffline):
        gate(await world.now(dead), now=world.clock.now(), heartbeat_s=60)
    # It is there again: of whom it knows nothing, a person is told now.
    world.grid.trouble = None
    await world.pass_time(minutes=6, beats=[lives])
    assert await world.alerts() == {OFFLINE}


async def test_a_vendor_is_seen_to_be_there_again_though_nobody_is_in_doubt(world: World) -> None:
    device = await standing(world)
    world.grid.trouble = VendorUnknown("timed out")
    await world.pass_time(minutes=3.7)
    await world.beat(device)
    await world.pass_time(minutes=3, beats=[device])
    assert (await world.link(device), await world.alerts()) == ("online", {AWAY})

    world.grid.trouble = None
    await world.pass_time(minutes=1.2, beats=[device])

    assert await world.alerts() == set()
    assert await world.link(device) == "online"


async def test_of_two_processes_one_asks_a_vendor_that_is_away(world: World) -> None:
    device = await standing(world)
    world.grid.trouble = VendorUnknown("timed out")
    await world.pass_time(minutes=3.7)
    await world.beat(device)
    world.clock.advance(seconds=61)
    asked_before = len(asked(world, "status"))
    # One that has not looked yet takes nobody for offline either.
    second = Presence(world.db, {"maker": world.grid.as_vendor}, times=world.presence.times)

    claims = [await world.db.write(away.claim, "maker", times=second.times) for _ in range(2)]
    world.clock.advance(seconds=61)
    await second.ask_due()
    await world.presence.ask_due()

    assert [claim and claim.id for claim in claims] == [device.id, None]
    assert len(asked(world, "status")) == asked_before + 1


async def test_a_vendor_without_devices_is_not_missed(world: World) -> None:
    device = await standing(world)
    world.grid.trouble = VendorUnknown("timed out")
    await world.pass_time(minutes=3.7)
    assert await world.alerts() == {AWAY}

    await world.fleet.unbind(device.id, reason="sold", by=BOSS)
    world.clock.advance(seconds=61)
    await world.presence.ask_due()

    assert await world.alerts() == set()


async def test_the_vendors_silence_about_an_offline_device_changes_nothing(
    one_world: World,
) -> None:
    device = await standing(one_world)
    await one_world.pass_time(minutes=5)
    one_world.grid.trouble = VendorUnknown("timed out")

    await one_world.pass_time(minutes=10)

    assert await one_world.link(device) == "offline"


async def test_devices_of_a_vendor_that_is_not_set_are_unknown(one_world: World) -> None:
    device = await standing(one_world)
    one_world.presence = Presence(one_world.db, {})

    await one_world.pass_time(minutes=10)

    assert await one_world.link(device) == "unknown"


async def test_a_process_that_dies_before_it_has_asked_leaves_it_to_the_next(
    one_world: World,
) -> None:
    device = await standing(one_world)
    one_world.says(device, online=True)
    one_world.clock.advance(seconds=50)
    await one_world.presence.look()
    one_world.clock.advance(seconds=50)
    await one_world.presence.look()
    one_world.clock.advance(seconds=50)
    await one_world.presence.look()
    assert await one_world.link(device) == "suspect"

    one_world.presence = Presence(one_world.db, {"maker": one_world.grid.as_vendor})
    await one_world.pass_time(minutes=0.6)

    assert await one_world.link(device) == "online"


# ---------------------------------------------------------------- flapping


async def test_a_link_that_comes_and_goes_is_one_alarm(world: World) -> None:
    device = await standing(world)
    for _ in range(6):
        await world.say(device, world.offline(device))
        world.clock.advance(seconds=5)
        await world.beat(device)
        world.clock.advance(seconds=5)
    assert await world.alerts() == {FLAPPING}

    await world.pass_time(minutes=9)

    assert await world.alerts() == {FLAPPING}
    await world.beat(device)
    await world.pass_time(minutes=2.5, beats=[device])
    assert await world.alerts() == set()


# ---------------------------------------------------------------- settings


async def test_a_setting_is_sent_until_it_is_reported(world: World) -> None:
    device = await standing(world)

    wanted = await world.presence.set_params(device.id, {"volume": 30}, by=BOSS)
    assert "cabinet-asks" in world.told.wakes
    await world.look()
    assert asked(world, "params") == [{"desired": {"volume": 30}, "version": 1}]
    await world.pass_time(minutes=2.2, beats=[device])
    assert len(asked(world, "params")) == 2
    await world.beat(device, volume=30)
    await world.pass_time(minutes=10, beats=[])

    assert len(asked(world, "params")) == 2
    now = await world.now(device)
    assert (now.push_at, now.desired_version) == (None, wanted.desired_version)
    assert PARAMS not in await world.alerts()


async def test_after_three_times_a_person_is_told(world: World) -> None:
    device = await standing(world)
    await world.presence.set_params(device.id, {"volume": 30}, by=BOSS)

    await world.pass_time(minutes=5.9, beats=[device])
    assert (len(asked(world, "params")), await world.alerts()) == (3, set())
    await world.pass_time(minutes=4, beats=[device])

    assert (len(asked(world, "params")), await world.alerts()) == (3, {PARAMS})
    await world.beat(device, volume=30)
    assert await world.alerts() == set()


async def test_another_wish_begins_anew(one_world: World) -> None:
    device = await standing(one_world)
    await one_world.presence.set_params(device.id, {"volume": 30}, by=BOSS)
    await one_world.pass_time(minutes=7, beats=[device])
    assert await one_world.alerts() == {PARAMS}

    await one_world.presence.set_params(device.id, {"volume": 40}, by=BOSS)
    await one_world.look()

    assert await one_world.alerts() == set()
    assert asked(one_world, "params")[-1] == {"desired": {"volume": 40}, "version": 2}


async def test_an_offline_device_is_told_when_it_is_there_again(one_world: World) -> None:
    device = await standing(one_world)
    await one_world.pass_time(minutes=6)
    await one_world.presence.set_params(device.id, {"volume": 30}, by=BOSS)
    await one_world.pass_time(minutes=10)
    assert asked(one_world, "params") == []

    await one_world.beat(device)
    await one_world.look()

    assert len(asked(one_world, "params")) == 1


@pytest.mark.parametrize("trouble", [VendorUnknown("x"), VendorRefused(Reason.OFFLINE)])
async def test_a_setting_that_could_not_be_sent_is_sent_again(
    one_world: World, trouble: VendorUnknown | VendorRefused
) -> None:
    device = await standing(one_world)
    one_world.grid.answers = [trouble]
    await one_world.presence.set_params(device.id, {"volume": 30}, by=BOSS)

    await one_world.pass_time(minutes=2.2, beats=[device])

    assert len(asked(one_world, "params")) == 2


async def test_a_setting_the_vendor_does_not_have_is_refused(one_world: World) -> None:
    device = await standing(one_world)

    with pytest.raises(ParamUnknown, match="compressor"):
        await one_world.presence.set_params(device.id, {"compressor": 1, "volume": 3}, by=BOSS)

    assert (await one_world.now(device)).desired == {}


# ---------------------------------------------------------------- a new start


async def test_a_reboot_is_written_down_before_it_is_asked_for(world: World) -> None:
    device = await standing(world)
    world.grid.answers = [None, VendorRefused(Reason.OFFLINE), VendorUnknown("x")]

    await world.presence.reboot(device.id, by=BOSS, reason="hangs")
    with pytest.raises(CommandRefused):
        await world.presence.reboot(device.id, by=BOSS)
    with pytest.raises(CommandUnclear):
        await world.presence.reboot(device.id, by=BOSS)

    assert asked(world, "reboot")[0] == {"reason": "hangs"}
    assert (await world.actions())[-3:] == ["device.reboot"] * 3


async def test_a_reboot_is_asked_for_once_per_key(world: World) -> None:
    device = await standing(world)
    world.grid.answers = [VendorRefused(Reason.OFFLINE), VendorUnknown("x")]
    reboot = functools.partial(world.presence.reboot, device.id, by=BOSS, key="k")
    with pytest.raises(CommandRefused):
        await reboot()
    with pytest.raises(CommandUnclear):
        await reboot()

    first, beside = await asyncio.gather(reboot(), reboot())
    again = await reboot()

    assert first == beside == again
    assert len(asked(world, "reboot")) == 3


async def test_settings_with_the_same_key_are_wanted_once(world: World) -> None:
    device = await standing(world)
    wish = functools.partial(world.presence.set_params, device.id, by=BOSS, key="k")
    first = await wish({"volume": 30})
    await world.presence.set_params(device.id, {"volume": 60}, by=BOSS)

    again = await wish({"volume": 30})

    assert again == first
    assert (await world.now(device)).desired == {"volume": 60}
    with pytest.raises(KeyReused):
        await wish({"volume": 31})


# ---------------------------------------------------------------- many


async def test_many_devices_are_asked_about_in_parts(one_world: World) -> None:
    devices = [await one_world.device(f"D-{n}") for n in range(105)]
    shop = await one_world.store()
    await asyncio.gather(*(one_world.fleet.bind(device.id, shop.id, by=BOSS) for device in devices))
    await one_world.presence.look()
    await asyncio.gather(*(one_world.beat(device) for device in devices))
    for device in devices[:-1]:
        one_world.says(device, online=True)
    one_world.grid.asked.clear()
    await one_world.pass_time(minutes=2.3)

    await one_world.pass_time(minutes=2)

    sizes = [len(said["codes"]) for said in asked(one_world, "status")]
    assert sorted(sizes) == [1, 5, 100]
    assert await one_world.presence.count_links() == {"online": 104, "offline": 1}


async def test_at_a_stop_what_was_kept_is_written(one_world: World) -> None:
    device = await standing(one_world)
    one_world.clock.advance(seconds=60)
    await one_world.beat(device)

    await one_world.presence.close()

    assert (await one_world.now(device)).last_seen_at == one_world.clock.now()


async def test_a_clock_that_was_set_back_stops_nothing(one_world: World) -> None:
    device = await standing(one_world)
    one_world.clock.advance(hours=-1)

    await one_world.look()
    await one_world.beat(device)
    await one_world.look()

    assert await one_world.link(device) == "online"


def test_how_often_a_device_reports_decides_the_rest() -> None:
    assert (Times().beat_ms, Times().suspect_ms, Times().offline_ms) == (60_000, 150_000, 240_000)
    assert (Times(30).push_again_ms, Times(30).stale_ms) == (60_000, 90_000)
