"""Stores on each database: made, changed, deleted, restored; and who sees which."""

import asyncio
from typing import Any

import msgspec
import pytest

from accounts.audit.model import By
from devices.fleet.model import (
    Device,
    OutOfScope,
    Store,
    StoreCodeTaken,
    StoreDeleted,
    StoreInUse,
    StoreNotFound,
)
from devices.fleet.store import StoresWanted, scope_of
from sql.idempotency import KeyReused
from tests.clock import Clock
from tests.devices.fleet.conftest import BOSS, CLERK, STORE, World


async def listed(world: World, by: By = BOSS, **wanted: Any) -> list[str]:
    total, found = await world.fleet.stores(StoresWanted(**wanted), by=by, offset=0, most=50)
    assert total == len(found)
    return [store.code for store in found]


async def test_a_new_store_is_as_it_was_given(world: World, clock: Clock) -> None:
    given = {
        "code": "c" * 50,
        "name": "名" * 100,
        "type": "sports",
        "property": "franchise",
        "address": "址" * 200,
        "phone": "1" * 20,
        "review_limit_fen": 100_000_000,
    }

    made = await world.fleet.create_store(given, by=BOSS)

    assert msgspec.structs.asdict(await world.fleet.store(made.id, by=BOSS)) == {
        **given,
        "id": made.id,
        "deleted_at": None,
        "created_at": clock.now(),
        "updated_at": clock.now(),
    }


async def test_of_many_who_take_a_code_at_once_one_has_it(world: World) -> None:
    made = await asyncio.gather(*(world.store() for _ in range(9)), return_exceptions=True)

    assert sum(isinstance(each, StoreCodeTaken) for each in made) == 8
    assert await listed(world) == ["S-1"]


async def test_a_deleted_store_keeps_its_code(one_world: World) -> None:
    store = await one_world.store()
    await one_world.fleet.delete_store(store.id, by=BOSS)

    with pytest.raises(StoreCodeTaken):
        await one_world.store()


async def test_the_same_key_makes_one_store(one_world: World) -> None:
    one = await one_world.fleet.create_store(STORE, by=BOSS, key="wish")
    again = await one_world.fleet.create_store(STORE, by=BOSS, key="wish")

    assert one == again
    with pytest.raises(KeyReused):
        await one_world.fleet.create_store({**STORE, "name": "other"}, by=BOSS, key="wish")


async def test_a_change_is_written_down_with_what_was_before(
    one_world: World, clock: Clock
) -> None:
    store = await one_world.store()
    clock.advance(seconds=5)

    changed = await one_world.fleet.change_store(
        store.id,
        {"name": "二号店", "code": "S-2", "phone": store.phone, "review_limit_fen": 5},
        by=BOSS,
        reason="moved",
    )

    assert (changed.name, changed.code, changed.review_limit_fen) == ("二号店", "S-2", 5)
    assert changed.updated_at == clock.now()
    line = (await one_world.lines())[-1]
    assert (line.action, line.subject, line.reason) == (
        "store.change",
        f"store:{store.id}",
        "moved",
    )
    assert msgspec.json.decode(line.before) == {
        "code": "S-1",
        "name": "一号店",
        "review_limit_fen": None,
    }
    assert msgspec.json.decode(line.after) == {
        "code": "S-2",
        "name": "二号店",
        "review_limit_fen": 5,
    }


async def test_a_change_that_changes_nothing_leaves_no_line(one_world: World) -> None:
    store = await one_world.store()

    same = await one_world.fleet.change_store(store.id, {"name": store.name}, by=BOSS)

    assert same == store
    assert await one_world.actions() == ["store.create"]


async def test_a_store_cannot_be_given_the_code_of_another(one_world: World) -> None:
    await one_world.store()
    other = await one_world.store("S-2")

    with pytest.raises(StoreCodeTaken):
        await one_world.fleet.change_store(other.id, {"code": "S-1"}, by=BOSS)

    assert await listed(one_world) == ["S-1", "S-2"]


async def test_deleting_and_restoring_may_be_repeated(one_world: World, clock: Clock) -> None:
    store = await one_world.store()

    gone = await one_world.fleet.delete_store(store.id, by=BOSS, reason="closed")
    assert gone.deleted_at == clock.now()
    assert await one_world.fleet.delete_store(store.id, by=BOSS) == gone
    assert await listed(one_world) == []
    assert (
        await listed(one_world, is_deleted=True)
        == await listed(one_world, is_deleted=None)
        == ["S-1"]
    )
    with pytest.raises(StoreDeleted):
        await one_world.fleet.change_store(store.id, {"name": "x"}, by=BOSS)

    back = await one_world.fleet.restore_store(store.id, by=BOSS)
    assert back == await one_world.fleet.restore_store(store.id, by=BOSS)
    assert back.deleted_at is None
    assert await one_world.actions() == ["store.create", "store.delete", "store.restore"]


async def test_a_store_with_a_device_in_it_stays_and_keeps_its_code(one_world: World) -> None:
    device = await one_world.bound()
    assert device.store_id is not None

    with pytest.raises(StoreInUse):
        await one_world.fleet.delete_store(device.store_id, by=BOSS)
    with pytest.raises(StoreInUse):
        await one_world.fleet.change_store(device.store_id, {"code": "S-9"}, by=BOSS)

    await one_world.fleet.unbind(device.id, by=BOSS)
    await one_world.fleet.change_store(device.store_id, {"code": "S-9"}, by=BOSS)
    assert (await one_world.fleet.delete_store(device.store_id, by=BOSS)).deleted_at is not None


async def test_of_a_deletion_and_a_binding_at_once_one_is_refused(world: World) -> None:
    for n in range(6):
        store, device = await world.store(f"S-{n}"), await world.device(f"D-{n}")

        deleted, bound = await asyncio.gather(
            world.fleet.delete_store(store.id, by=BOSS),
            world.fleet.bind(device.id, store.id, by=BOSS),
            return_exceptions=True,
        )

        if isinstance(deleted, Store):
            assert isinstance(bound, StoreDeleted)
        else:
            assert isinstance(deleted, StoreInUse)
            assert isinstance(bound, Device)


async def test_what_is_not_there_is_not_found(one_world: World) -> None:
    for verb in (one_world.fleet.delete_store, one_world.fleet.restore_store, one_world.fleet.pick):
        with pytest.raises(StoreNotFound):
            await verb(9) if verb == one_world.fleet.pick else await verb(9, by=BOSS)  # type: ignore[call-arg]
    with pytest.raises(StoreNotFound):
        await one_world.fleet.change_store(9, {"name": "x"}, by=BOSS)
    with pytest.raises(StoreNotFound):
        await one_world.fleet.store(9, by=BOSS)


# ---------------------------------------------------------------- lists


async def test_lists_are_filtered_sorted_and_cut_into_pages(world: World) -> None:
    await world.store("b-1", name="North", type="arcade")
    await world.store("a_2", name="South", property="franchise", phone="555 77")
    await world.store("c%3", name="Östlich", address="NORTH road")

    assert await listed(world, sort="code") == ["a_2", "b-1", "c%3"]
    assert await listed(world, sort="-name") == ["c%3", "a_2", "b-1"]
    assert await listed(world, type="arcade") == ["b-1"]
    assert await listed(world, property="franchise") == ["a_2"]
    assert await listed(world, keyword="north") == ["b-1", "c%3"]
    assert await listed(world, keyword="55 77") == ["a_2"]
    # What means something in a pattern means itself.
    assert await listed(world, keyword="%") == ["c%3"]
    assert await listed(world, keyword="_") == ["a_2"]
    page = await world.fleet.stores(StoresWanted(sort="-id"), by=BOSS, offset=1, most=1)
    assert (page[0], [each.code for each in page[1]]) == (3, ["a_2"])


# ---------------------------------------------------------------- scope


async def test_who_is_kept_to_a_store_sees_and_changes_it_alone(world: World) -> None:
    mine, other = await world.store("S-1"), await world.store("S-2")
    await world.keep(CLERK.account_id, mine.id)

    assert await world.db.read(scope_of, CLERK.account_id) == frozenset({mine.id})
    assert await world.db.read(scope_of, BOSS.account_id) is None
    assert await listed(world, CLERK) == ["S-1"]
    assert (await world.fleet.store(mine.id, by=CLERK)).code == "S-1"
    await world.fleet.change_store(mine.id, {"name": "mine"}, by=CLERK)
    before = await world.actions()
    for refused in (
        world.fleet.store(other.id, by=CLERK),
        world.fleet.change_store(other.id, {"name": "x"}, by=CLERK),
        world.fleet.delete_store(other.id, by=CLERK),
        world.fleet.restore_store(other.id, by=CLERK),
    ):
        with pytest.raises(StoreNotFound):
            await refused
    with pytest.raises(OutOfScope):
        await world.fleet.create_store({**STORE, "code": "S-3"}, by=CLERK)
    assert await world.actions() == before
