"""Devices: made, changed, put into maintenance, retired; their codes; and who sees which."""

import asyncio
from typing import Any

import msgspec
import pytest
from sqlalchemy import insert

from accounts.audit.model import By
from accounts.messages import Dead, Delivered, Retry
from devices.fleet import store
from devices.fleet.model import (
    CODES,
    BindingUnclear,
    DeviceBound,
    DeviceCodeTaken,
    DeviceNotFound,
    DeviceRetired,
    Door,
    DoorNotFound,
    OutOfScope,
    QrInvalid,
    StoreNotFound,
    VendorNotSet,
)
from devices.fleet.qr import DoorCode
from devices.fleet.service import Fleet
from devices.fleet.store import DevicesWanted
from devices.vendors.port import Reason, VendorRefused, VendorUnknown
from sql.database import Tx
from sql.idempotency import KeyReused
from sql.outbox import claim
from tests.clock import Clock
from tests.conftest import Told
from tests.devices.fleet.conftest import BOSS, CLERK, World


async def listed(world: World, by: By = BOSS, **wanted: Any) -> list[str]:
    total, found = await world.fleet.devices(DevicesWanted(**wanted), by=by, offset=0, most=50)
    assert total == len(found)
    return [device.code for device in found]


async def test_a_new_device_stands_nowhere_and_was_never_heard_of(
    world: World, clock: Clock
) -> None:
    made = await world.fleet.create_device(
        vendor="maker", code="d" * 50, name="柜" * 100, doors=(2, 1, 2), by=BOSS
    )

    assert made == await world.fleet.device(made.id, by=BOSS)
    assert (made.vendor, made.code, made.name) == ("maker", "d" * 50, "柜" * 100)
    assert (made.status, made.store_id, made.service, made.link) == ("new", None, "open", "never")
    assert (made.created_at, made.link_since) == (clock.now(), clock.now())
    assert (made.reported, made.desired, made.sale_lock) == ({}, {}, "")
    unknown = {"lock": "unknown", "door": "unknown", "changed_at": None}
    assert made.doors == (Door(door_no=1, **unknown), Door(door_no=2, **unknown))  # type: ignore[arg-type]
    line = (await world.lines())[-1]
    assert (line.action, line.subject) == ("device.create", f"device:{made.id}")
    assert msgspec.json.decode(line.after)["doors"] == [1, 2]


async def test_of_many_who_make_a_device_known_at_once_one_does(world: World) -> None:
    made = await asyncio.gather(*(world.device() for _ in range(9)), return_exceptions=True)

    assert sum(isinstance(each, DeviceCodeTaken) for each in made) == 8
    assert await listed(world) == ["D-1"]


async def test_the_same_key_makes_one_device(one_world: World) -> None:
    said: dict[str, Any] = {"vendor": "maker", "code": "D-1", "name": "x", "doors": (1,)}

    one = await one_world.fleet.create_device(**said, by=BOSS, key="wish")

    assert await one_world.fleet.create_device(**said, by=BOSS, key="wish") == one
    with pytest.raises(KeyReused):
        await one_world.fleet.create_device(**{**said, "doors": (1, 2)}, by=BOSS, key="wish")


async def test_a_device_of_an_unknown_vendor_is_refused(one_world: World) -> None:
    with pytest.raises(VendorNotSet):
        await one_world.fleet.create_device(
            vendor="nobody", code="D-1", name="x", doors=(1,), by=BOSS
        )

    assert await listed(one_world) == []


async def test_name_and_doors_are_changed_and_written_down(one_world: World, told: Told) -> None:
    device = await one_world.device(doors=(1, 2))

    changed = await one_world.fleet.change_device(
        device.id, name="by the lift", doors=(3, 2), by=BOSS, reason="new doors"
    )

    assert (changed.name, changed.door_numbers) == ("by the lift", (2, 3))
    line = (await one_world.lines())[-1]
    assert (line.action, line.reason) == ("device.change", "new doors")
    assert msgspec.json.decode(line.before) == {"name": "cabinet D-1", "doors": [1, 2]}
    assert msgspec.json.decode(line.after) == {"name": "by the lift", "doors": [2, 3]}
    assert {event.stream for event in told.events} == {f"cabinet:{device.id}", "cabinets"}
    assert told.names == ["device.changed"] * 2


async def test_a_change_of_a_device_that_changes_nothing_leaves_no_line(one_world: World) -> None:
    device = await one_world.device()

    same = await one_world.fleet.change_device(device.id, name=device.name, doors=(1,), by=BOSS)
    await one_world.fleet.set_service(device.id, "open", by=BOSS)

    assert same == device
    assert await one_world.actions() == ["device.create"]


async def test_doors_stay_while_the_vendor_knows_them(one_world: World) -> None:
    device = await one_world.bound()

    with pytest.raises(DeviceBound):
        await one_world.fleet.change_device(device.id, doors=(1, 2), by=BOSS)
    renamed = await one_world.fleet.change_device(device.id, name="x", by=BOSS)

    assert (renamed.name, renamed.door_numbers) == ("x", (1,))


async def test_maintenance_is_told_and_written_down(world: World, told: Told) -> None:
    device = await world.bound()
    told.events.clear()

    kept = await world.fleet.set_service(device.id, "maintenance", by=BOSS, reason="door sticks")
    await world.fleet.set_service(device.id, "maintenance", by=BOSS)

    assert kept.service == "maintenance"
    event, of_all = told.events
    assert (event.stream, of_all.stream) == (f"cabinet:{device.id}", "cabinets")
    assert (event.name, event.subject) == ("device.changed", device.id)
    assert msgspec.json.decode(event.data) == {
        "device_id": device.id,
        "name": "cabinet D-1",
        "store_id": device.store_id,
        "status": "bound",
        "service": "maintenance",
    }
    line = (await world.lines())[-1]
    assert (line.action, line.reason) == ("device.maintenance", "door sticks")
    assert (line.before, line.after) == ('{"service":"open"}', '{"service":"maintenance"}')


async def test_a_retired_device_does_nothing_until_it_is_restored(one_world: World) -> None:
    device, shop = await one_world.device(), await one_world.store()

    assert (await one_world.fleet.retire(device.id, by=BOSS)).status == "retired"
    assert (await one_world.fleet.retire(device.id, by=BOSS)).status == "retired"
    for refused in (
        one_world.fleet.change_device(device.id, name="x", by=BOSS),
        one_world.fleet.set_service(device.id, "maintenance", by=BOSS),
        one_world.fleet.replace_qr(device.id, by=BOSS),
        one_world.fleet.bind(device.id, shop.id, by=BOSS),
        one_world.fleet.unbind(device.id, by=BOSS),
    ):
        with pytest.raises(DeviceRetired):
            await refused
    assert one_world.maker.asked == []

    assert (await one_world.fleet.restore_device(device.id, by=BOSS)).status == "new"
    assert (await one_world.fleet.restore_device(device.id, by=BOSS)).status == "new"
    assert (await one_world.actions())[-2:] == ["device.retire", "device.restore"]


async def test_a_device_in_a_store_is_not_retired(one_world: World) -> None:
    device = await one_world.bound()

    with pytest.raises(DeviceBound):
        await one_world.fleet.retire(device.id, by=BOSS)


# ---------------------------------------------------------------- its codes


async def test_a_replaced_sticker_opens_nothing(world: World) -> None:
    device = await world.device(doors=(1, 2))
    old = world.qr.read(world.fleet.door_qr(device, 2))
    assert isinstance(old, DoorCode)
    assert (await world.db.read(store.scanned, old)).id == device.id

    renewed = await world.fleet.replace_qr(device.id, by=BOSS, reason="torn off")

    with pytest.raises(QrInvalid):
        await world.db.read(store.scanned, old)
    new = world.qr.read(world.fleet.door_qr(renewed, 2))
    assert isinstance(new, DoorCode)
    assert await world.db.write(store.scanned, new, lock=True) == renewed


async def test_the_vendor_is_told_of_new_codes(world: World) -> None:
    device = await world.bound()

    renewed = await world.fleet.replace_qr(device.id, by=BOSS)
    (parcel,) = await world.db.write(claim, "test", lease_s=60)

    assert parcel.kind == CODES
    assert await world.fleet.tell_codes(parcel.payload) == Delivered()
    verb, code, said = world.maker.asked[-1]
    assert (verb, code) == ("bind", device.code)
    assert said["doors"] == {1: world.fleet.door_qr(renewed, 1)}
    assert said["store"] == "S-1"


async def test_new_codes_that_cannot_be_told_now_are_told_later(one_world: World) -> None:
    device = await one_world.bound()
    await one_world.fleet.replace_qr(device.id, by=BOSS)
    (parcel,) = await one_world.db.write(claim, "test", lease_s=60)
    one_world.maker.answers = [VendorUnknown(), VendorRefused(Reason.HARDWARE)]

    assert isinstance(await one_world.fleet.tell_codes(parcel.payload), Retry)
    assert isinstance(await one_world.fleet.tell_codes(parcel.payload), Dead)
    stranger = Fleet(one_world.db, {}, one_world.qr)
    assert isinstance(await stranger.tell_codes(parcel.payload), Retry)


async def test_codes_that_are_void_again_are_not_told(one_world: World) -> None:
    device = await one_world.bound()
    for _ in range(2):
        await one_world.fleet.replace_qr(device.id, by=BOSS)
    first, second = await one_world.db.write(claim, "test", lease_s=60)
    asked = len(one_world.maker.asked)

    assert await one_world.fleet.tell_codes(first.payload) == Delivered()
    await one_world.fleet.unbind(device.id, by=BOSS)
    assert await one_world.fleet.tell_codes(second.payload) == Delivered()

    assert one_world.maker.verbs[asked:] == ["unbind"]


async def test_codes_replaced_while_a_device_is_being_bound_are_told_after_that(
    one_world: World,
) -> None:
    store, device = await one_world.store(), await one_world.device()
    one_world.maker.answers = [VendorUnknown()]
    with pytest.raises(BindingUnclear):
        await one_world.fleet.bind(device.id, store.id, by=BOSS)
    await one_world.fleet.replace_qr(device.id, by=BOSS)
    (parcel,) = await one_world.db.write(claim, "test", lease_s=60)

    assert isinstance(await one_world.fleet.tell_codes(parcel.payload), Retry)
    await one_world.fleet.bind(device.id, store.id, by=BOSS)
    assert await one_world.fleet.tell_codes(parcel.payload) == Delivered()


async def test_a_code_of_what_is_not_there_is_no_code(one_world: World) -> None:
    device = await one_world.device()

    for code in (DoorCode(device.id, 2, 1), DoorCode(99, 1, 1)):
        with pytest.raises(QrInvalid):
            await one_world.db.read(store.scanned, code)
    with pytest.raises(DoorNotFound):
        one_world.fleet.door_qr(device, 2)


async def test_a_stores_code_offers_the_devices_that_stand_there(one_world: World) -> None:
    here = await one_world.bound("D-1", "S-1")
    await one_world.bound("D-2", "S-2")
    assert here.store_id is not None

    assert [each.id for each in await one_world.fleet.pick(here.store_id)] == [here.id]

    await one_world.fleet.unbind(here.id, by=BOSS)
    assert await one_world.fleet.pick(here.store_id) == []
    await one_world.fleet.delete_store(here.store_id, by=BOSS)
    with pytest.raises(StoreNotFound):
        await one_world.fleet.pick(here.store_id)


# ---------------------------------------------------------------- finding


async def test_devices_are_filtered_and_sorted(world: World) -> None:
    first = await world.bound("b-1", "S-1")
    await world.bound("a-2", "S-2")
    await world.device("c-3")
    assert first.store_id is not None
    await world.fleet.set_service(first.id, "maintenance", by=BOSS)

    assert await listed(world, sort="code") == ["a-2", "b-1", "c-3"]
    assert await listed(world, sort="-id") == ["c-3", "a-2", "b-1"]
    assert await listed(world, store_id=first.store_id) == ["b-1"]
    assert await listed(world, status="new") == ["c-3"]
    assert await listed(world, service="maintenance") == ["b-1"]
    assert await listed(world, vendor="other") == []
    assert await listed(world, link="never", keyword="CABINET A") == ["a-2"]


async def test_a_device_is_found_by_its_vendors_name_for_it(world: World) -> None:
    device = await world.device()

    assert await world.db.read(store.device_by_code, "maker", "D-1") == device
    assert await world.db.write(store.device_by_code, "maker", "D-1", lock=True) == device
    assert await world.db.read(store.device_by_code, "maker", "d-1") is None
    assert await world.db.read(store.device_by_code, "other", "D-1") is None


async def test_many_devices_are_loaded_at_once(world: World) -> None:
    one, other = await world.device("D-1", (1, 2)), await world.device("D-2")

    found = await world.db.write(store.load_devices, {other.id, one.id, 99}, lock=True)

    assert found == {one.id: one, other.id: other}
    assert await world.db.read(store.load_devices, ()) == {}


# ---------------------------------------------------------------- scope


async def test_who_is_kept_to_a_store_sees_its_devices_alone(world: World) -> None:
    mine, other = await world.bound("D-1", "S-1"), await world.bound("D-2", "S-2")
    nobodys = await world.device("D-3")
    assert mine.store_id is not None
    assert other.store_id is not None
    await world.keep(CLERK.account_id, mine.store_id)
    before = await world.actions(), world.maker.verbs

    assert await listed(world, CLERK) == ["D-1"]
    for device in (other, nobodys):
        for refused in (
            world.fleet.device(device.id, by=CLERK),
            world.fleet.device_where(device.id, by=CLERK),
            world.fleet.change_device(device.id, name="x", by=CLERK),
            world.fleet.set_service(device.id, "maintenance", by=CLERK),
            world.fleet.replace_qr(device.id, by=CLERK),
            world.fleet.retire(device.id, by=CLERK),
            world.fleet.restore_device(device.id, by=CLERK),
            world.fleet.bind(device.id, mine.store_id, by=CLERK),
            world.fleet.unbind(device.id, by=CLERK),
            world.fleet.bindings(device.id, by=CLERK, offset=0, most=9),
        ):
            with pytest.raises(DeviceNotFound):
                await refused
    with pytest.raises(StoreNotFound):
        await world.fleet.bind(mine.id, other.store_id, by=CLERK)
    with pytest.raises(OutOfScope):
        await world.fleet.create_device(vendor="maker", code="D-4", name="x", doors=(1,), by=CLERK)
    assert (await world.actions(), world.maker.verbs) == before
    assert (await world.fleet.set_service(mine.id, "maintenance", by=CLERK)).id == mine.id


async def test_where_it_stood_before_is_shown_to_who_may_see_that_store(world: World) -> None:
    device = await world.bound("D-1", "S-1")
    assert device.store_id is not None
    second = await world.store("S-2")
    await world.fleet.bind(device.id, second.id, by=BOSS)
    await world.keep(CLERK.account_id, second.id)

    seen = await world.fleet.bindings(device.id, by=CLERK, offset=0, most=9)
    all_of_them = await world.fleet.bindings(device.id, by=BOSS, offset=0, most=9)

    assert (seen[0], [each.store_id for each in seen[1]]) == (1, [second.id])
    assert [each.store_id for each in all_of_them[1]] == [second.id, device.store_id]


def sit_down(tx: Tx, device_id: int) -> None:
    """Somebody has a door of the device open."""
    from sql.tables.devices import door_sessions

    values: dict[str, Any] = dict.fromkeys(
        ("no", "request_id", "once_key", "vendor", "purpose", "pay_with", "score_no",
         "vendor_order_no", "fail_code"), "x"
    )  # fmt: skip
    values |= dict.fromkeys(
        ("door_no", "store_id", "account_id", "hold_tickets", "limit_fen", "planogram_version",
         "requested_at", "expires_at", "pulls", "version"), 1
    )  # fmt: skip
    door = {"device_id": device_id, "door_key": f"{device_id}:1", "state": "open", "prices": "{}"}
    tx.execute(insert(door_sessions), {**values, **door})


async def test_a_code_of_what_is_not_there_is_void(world: World) -> None:
    device = await world.device()
    for code in (
        world.qr.store(99),
        world.qr.door(99, 1, 1),
        world.qr.door(device.id, 9, device.qr_version),
        world.qr.door(device.id, 1, device.qr_version + 1),
    ):
        with pytest.raises(QrInvalid):
            await world.fleet.label(code)
