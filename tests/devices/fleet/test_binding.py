"""Into a store and out of it: the vendor says yes, no, or nothing, and all may happen twice."""

import asyncio

import pytest

from devices.fleet.model import (
    Binding,
    BindingRefused,
    BindingUnclear,
    BindingUnderway,
    Device,
    DeviceBusy,
    DeviceNotFound,
    StoreDeleted,
    StoreNotFound,
    VendorNotSet,
)
from devices.fleet.service import Fleet
from devices.fleet.store import UNCLEAR
from devices.model import NotBound
from devices.vendors.port import Reason, VendorRefused, VendorUnknown
from sql.alerts import open_alerts
from sql.idempotency import KeyReused
from tests.clock import Clock
from tests.devices.fleet.conftest import BOSS, World
from tests.devices.fleet.test_devices import sit_down

NO = VendorRefused(Reason.OFFLINE, 2003, "offline")
NOTHING = VendorUnknown("timed out")


async def history(world: World, device: Device) -> list[Binding]:
    """The latest first."""
    return (await world.fleet.bindings(device.id, by=BOSS, offset=0, most=50))[1]


async def alerts(world: World) -> list[str]:
    return [alert.subject for alert in await world.db.read(open_alerts, UNCLEAR)]


async def test_a_device_is_put_into_a_store(world: World, clock: Clock) -> None:
    device, shop = await world.device(doors=(1, 2)), await world.store()
    world.maker.doors = (1, 2)

    bound = await world.fleet.bind(device.id, shop.id, by=BOSS, reason="opening")

    assert (bound.status, bound.store_id) == ("bound", shop.id)
    ((verb, code, said),) = world.maker.asked
    assert (verb, code) == ("bind", "D-1")
    assert said == {
        "store": "S-1",
        "name": "cabinet D-1",
        "doors": {1: world.fleet.door_qr(device, 1), 2: world.fleet.door_qr(device, 2)},
        "phone": "021-5550100",
    }
    (binding,) = await history(world, device)
    assert (binding.state, binding.problem, binding.reason) == ("bound", "", "opening")
    assert (binding.bound_at, binding.bound_by) == (clock.now(), BOSS.account_id)
    assert await world.fleet.device_where(device.id, by=BOSS) == (bound, binding)
    assert (await world.actions())[-2:] == ["device.bind_begin", "device.bind"]


async def test_binding_again_asks_nobody(one_world: World) -> None:
    device = await one_world.bound()
    assert device.store_id is not None

    again = await one_world.fleet.bind(device.id, device.store_id, by=BOSS)

    assert again == device
    assert one_world.maker.verbs == ["bind"]
    assert len(await history(one_world, device)) == 1


async def test_doors_only_the_vendor_knows_are_added(one_world: World) -> None:
    one_world.maker.doors = (1, 2, 3)

    assert (await one_world.bound()).door_numbers == (1, 2, 3)


async def test_another_store_takes_it_out_of_the_first(world: World, clock: Clock) -> None:
    device, second = await world.bound(), await world.store("S-2")
    clock.advance(hours=1)

    moved = await world.fleet.bind(device.id, second.id, by=BOSS, reason="moved")

    assert (moved.status, moved.store_id) == ("bound", second.id)
    assert world.maker.verbs == ["bind", "unbind", "bind"]
    assert world.maker.bound == {"D-1": "S-2"}
    now, before = await history(world, device)
    assert (now.state, now.store_id, now.open_key) == ("bound", second.id, device.id)
    assert (before.state, before.store_id, before.open_key) == ("unbound", device.store_id, None)
    assert (before.unbound_at, before.unbound_by, before.reason) == (clock.now(), 1, "moved")


async def test_an_impossible_move_takes_it_out_of_nothing(one_world: World) -> None:
    device, gone = await one_world.bound(), await one_world.store("S-2")
    await one_world.fleet.delete_store(gone.id, by=BOSS)

    with pytest.raises(StoreDeleted):
        await one_world.fleet.bind(device.id, gone.id, by=BOSS)
    with pytest.raises(StoreNotFound):
        await one_world.fleet.bind(device.id, 99, by=BOSS)

    assert await one_world.fleet.device(device.id, by=BOSS) == device
    assert one_world.maker.verbs == ["bind"]


async def test_a_refused_binding_leaves_it_where_it_was(world: World) -> None:
    device, shop = await world.device(), await world.store()
    world.maker.answers = [NO]

    with pytest.raises(BindingRefused):
        await world.fleet.bind(device.id, shop.id, by=BOSS)

    now, binding = await world.fleet.device_where(device.id, by=BOSS)
    assert (now.status, now.store_id, binding) == ("new", None, None)
    (refused,) = await history(world, device)
    assert (refused.state, refused.bound_at) == ("refused", None)
    assert refused.problem == "offline (2003) offline"
    await world.fleet.delete_store(shop.id, by=BOSS)


async def test_a_binding_without_an_answer_shows_and_is_carried_on(
    world: World, clock: Clock
) -> None:
    device, shop = await world.device(), await world.store()
    world.maker.answers = [NOTHING]

    with pytest.raises(BindingUnclear):
        await world.fleet.bind(device.id, shop.id, by=BOSS)

    now, binding = await world.fleet.device_where(device.id, by=BOSS)
    assert (now.status, now.store_id) == ("binding", shop.id)
    assert binding is not None
    assert binding.problem == "no clear answer: timed out"
    assert await alerts(world) == ["maker:D-1"]
    clock.advance(minutes=5)

    bound = await world.fleet.bind(device.id, shop.id, by=BOSS)

    assert bound.status == "bound"
    (done,) = await history(world, device)
    assert (done.id, done.problem, done.bound_at) == (binding.id, "", clock.now())
    assert await alerts(world) == []
    assert world.maker.asked[0] == world.maker.asked[1]


async def test_a_binding_without_an_answer_may_end_in_a_no(one_world: World) -> None:
    device, shop = await one_world.device(), await one_world.store()
    one_world.maker.answers = [NOTHING, NO]

    with pytest.raises(BindingUnclear):
        await one_world.fleet.bind(device.id, shop.id, by=BOSS)
    with pytest.raises(BindingRefused):
        await one_world.fleet.bind(device.id, shop.id, by=BOSS)

    assert (await one_world.fleet.device(device.id, by=BOSS)).status == "new"
    assert await alerts(one_world) == []


async def test_while_one_binding_waits_another_store_is_refused(one_world: World) -> None:
    device, shop = await one_world.device(), await one_world.store()
    second = await one_world.store("S-2")
    one_world.maker.answers = [NOTHING]
    with pytest.raises(BindingUnclear):
        await one_world.fleet.bind(device.id, shop.id, by=BOSS)

    with pytest.raises(BindingUnderway):
        await one_world.fleet.bind(device.id, second.id, by=BOSS)

    # Taking it out is the way to think better of it.
    assert (await one_world.fleet.unbind(device.id, by=BOSS)).status == "new"
    assert (await one_world.fleet.bind(device.id, second.id, by=BOSS)).store_id == second.id


async def test_a_device_is_taken_out_of_its_store(world: World, clock: Clock) -> None:
    device = await world.bound()

    out = await world.fleet.unbind(device.id, by=BOSS, reason="repair")

    assert (out.status, out.store_id, out.deadline_at) == ("new", None, clock.now())
    assert world.maker.asked[-1] == ("unbind", "D-1", {"reason": "repair"})
    (binding,) = await history(world, device)
    assert (binding.state, binding.reason, binding.open_key) == ("unbound", "repair", None)
    assert (await world.actions())[-2:] == ["device.unbind_begin", "device.unbind"]
    with pytest.raises(NotBound):
        await world.fleet.unbind(device.id, by=BOSS)


async def test_nobody_shops_while_the_vendor_has_not_answered(one_world: World) -> None:
    device = await one_world.bound()
    one_world.maker.answers = [NOTHING, None]

    with pytest.raises(BindingUnclear):
        await one_world.fleet.unbind(device.id, by=BOSS, reason="repair")

    now, binding = await one_world.fleet.device_where(device.id, by=BOSS)
    assert (now.status, now.store_id) == ("leaving", device.store_id)
    assert binding is not None
    assert (binding.state, binding.problem) == ("unbinding", "no clear answer: timed out")
    assert await alerts(one_world) == ["maker:D-1"]
    assert device.store_id is not None
    with pytest.raises(BindingUnderway):
        await one_world.fleet.bind(device.id, device.store_id, by=BOSS)

    assert (await one_world.fleet.unbind(device.id, by=BOSS)).status == "new"
    assert await alerts(one_world) == []


@pytest.mark.parametrize("reason", [Reason.DEVICE_UNKNOWN, Reason.DEVICE_NOT_BOUND])
async def test_what_the_vendor_never_had_is_out_as_well(one_world: World, reason: Reason) -> None:
    device = await one_world.bound()
    one_world.maker.answers = [VendorRefused(reason)]

    assert (await one_world.fleet.unbind(device.id, by=BOSS)).status == "new"


async def test_a_refused_unbinding_leaves_it_where_it_is(world: World) -> None:
    device = await world.bound()
    world.maker.answers = [VendorRefused(Reason.BUSY_SHOPPING, 2004)]

    with pytest.raises(BindingRefused):
        await world.fleet.unbind(device.id, by=BOSS)

    now, binding = await world.fleet.device_where(device.id, by=BOSS)
    assert (now.status, now.store_id) == ("bound", device.store_id)
    assert binding is not None
    assert (binding.state, binding.problem) == ("bound", "busy_shopping (2004)")


async def test_a_refused_unbinding_of_a_binding_that_waits_lets_it_wait(one_world: World) -> None:
    device, shop = await one_world.device(), await one_world.store()
    one_world.maker.answers = [NOTHING, NO]
    with pytest.raises(BindingUnclear):
        await one_world.fleet.bind(device.id, shop.id, by=BOSS)

    with pytest.raises(BindingRefused):
        await one_world.fleet.unbind(device.id, by=BOSS)

    assert (await one_world.fleet.device(device.id, by=BOSS)).status == "binding"
    assert (await one_world.fleet.bind(device.id, shop.id, by=BOSS)).status == "bound"


async def test_a_device_somebody_is_at_stays(world: World) -> None:
    device, second = await world.bound(), await world.store("S-2")
    await world.db.write(sit_down, device.id)

    with pytest.raises(DeviceBusy):
        await world.fleet.unbind(device.id, by=BOSS)
    with pytest.raises(DeviceBusy):
        await world.fleet.bind(device.id, second.id, by=BOSS)

    assert await world.fleet.device(device.id, by=BOSS) == device


async def test_many_who_bind_at_once_bind_once(world: World) -> None:
    device, shop = await world.device(), await world.store()

    done = await asyncio.gather(*(world.fleet.bind(device.id, shop.id, by=BOSS) for _ in range(6)))

    assert all(each == done[0] for each in done)
    assert len(await history(world, device)) == 1
    assert (await world.actions()).count("device.bind") == 1


async def test_who_thinks_better_of_it_while_the_vendor_is_asked_has_his_way(
    one_world: World,
) -> None:
    device, shop = await one_world.device(), await one_world.store()
    gate = one_world.maker.gate = asyncio.Event()
    binding = asyncio.create_task(one_world.fleet.bind(device.id, shop.id, by=BOSS))
    await one_world.maker.until("bind")
    unbinding = asyncio.create_task(one_world.fleet.unbind(device.id, by=BOSS))
    await one_world.maker.until("bind", "unbind")

    gate.set()

    with pytest.raises(BindingUnderway):
        await binding
    assert (await unbinding).status == "new"


@pytest.mark.parametrize("answers", [[NO, None], [NOTHING, None]])
async def test_a_late_no_to_what_was_given_up_changes_nothing(
    one_world: World, answers: list[VendorRefused | VendorUnknown | None]
) -> None:
    device, shop = await one_world.device(), await one_world.store()
    one_world.maker.answers = answers
    gate = one_world.maker.gate = asyncio.Event()
    binding = asyncio.create_task(one_world.fleet.bind(device.id, shop.id, by=BOSS))
    await one_world.maker.until("bind")
    one_world.maker.gate = None
    await one_world.fleet.unbind(device.id, by=BOSS)

    gate.set()

    with pytest.raises((BindingRefused, BindingUnclear)):
        await binding
    (row,) = await history(one_world, device)
    assert (row.state, row.problem) == ("unbound", "")
    assert await alerts(one_world) == []


@pytest.mark.parametrize("answers", [[None, None], [NO, None]])
async def test_a_late_answer_to_an_unbinding_that_is_done_changes_nothing(
    one_world: World, answers: list[VendorRefused | VendorUnknown | None]
) -> None:
    device = await one_world.bound()
    one_world.maker.answers = answers
    gate = one_world.maker.gate = asyncio.Event()
    first = asyncio.create_task(one_world.fleet.unbind(device.id, by=BOSS))
    await one_world.maker.until("unbind")
    one_world.maker.gate = None
    done = await one_world.fleet.unbind(device.id, by=BOSS)

    gate.set()
    outcome = (await asyncio.gather(first, return_exceptions=True))[0]

    assert outcome == done or isinstance(outcome, BindingRefused)
    assert await one_world.fleet.device(device.id, by=BOSS) == done


async def test_without_its_vendor_nothing_is_begun(one_world: World) -> None:
    device, shop = await one_world.device(), await one_world.store()
    fleet = Fleet(one_world.db, {}, one_world.qr)

    for refused in (
        fleet.bind(device.id, shop.id, by=BOSS),
        fleet.unbind(device.id, by=BOSS),
    ):
        with pytest.raises(VendorNotSet):
            await refused
    with pytest.raises(DeviceNotFound):
        await fleet.bind(99, shop.id, by=BOSS)

    assert await history(one_world, device) == []


# ---------------------------------------------------------------- keys


async def test_a_key_that_was_answered_moves_nothing_any_more(world: World) -> None:
    device, shop = await world.device(), await world.store()
    bound = await world.fleet.bind(device.id, shop.id, by=BOSS, key="b")
    same = await world.fleet.bind(device.id, shop.id, by=BOSS, key="b2")
    loose = await world.fleet.unbind(device.id, by=BOSS, key="u")

    late = await world.fleet.bind(device.id, shop.id, by=BOSS, key="b")
    over = await world.fleet.bind(device.id, shop.id, by=BOSS, key="b2")
    again = await world.fleet.unbind(device.id, by=BOSS, key="u")

    assert (late, over, again) == (bound, same, loose)
    assert world.maker.verbs == ["bind", "unbind"]
    assert (await world.fleet.device(device.id, by=BOSS)).status == "new"
    with pytest.raises(KeyReused):
        await world.fleet.bind(device.id, shop.id + 1, by=BOSS, key="b")


async def test_a_binding_that_was_not_answered_is_carried_on_with_its_key(world: World) -> None:
    device, shop = await world.device(), await world.store()
    world.maker.answers = [NOTHING]
    with pytest.raises(BindingUnclear):
        await world.fleet.bind(device.id, shop.id, by=BOSS, key="b")

    bound = await world.fleet.bind(device.id, shop.id, by=BOSS, key="b")

    assert (bound.status, world.maker.verbs) == ("bound", ["bind", "bind"])


async def test_stickers_are_replaced_once_per_key(world: World) -> None:
    device = await world.device()

    versions = [
        (await world.fleet.replace_qr(device.id, by=BOSS, key=key)).qr_version
        for key in ("k", "k", "k2")
    ]

    assert versions == [device.qr_version + 1, device.qr_version + 1, device.qr_version + 2]
