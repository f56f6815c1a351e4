"""Layouts: one version after the other, and what happens when the cabinet has another one."""

from typing import Any, cast

import pytest

from accounts.messages import Dead, Delivered, Retry
from devices.fleet.model import DeviceNotFound
from devices.fleet.store import load_device
from devices.model import NotBound
from devices.stock.model import (
    SLOTS_MAX,
    GoodsUnknown,
    Place,
    Planogram,
    PlanogramInvalid,
    PlanogramNotFound,
    check_slots,
)
from devices.stock.planograms import store as planograms
from devices.stock.service import Stock, beside
from devices.stock.store import load_planogram
from devices.vendors.port import (
    CabinetVendor,
    DeviceFact,
    DeviceOnline,
    PlanogramChanged,
    Reason,
    VendorRefused,
    VendorUnknown,
)
from simulators.xiaomai import Fault
from sql.idempotency import KeyReused
from tests.devices.stock.conftest import BOSS, CLERK, Depot, place


async def test_until_the_vendor_has_it_the_old_prices_hold(depot: Depot) -> None:
    made = await depot.lay_out(place("cola"), place("tea", 2, price_fen=400, expires_on=20270101))
    before = await depot.snapshot()
    await depot.outbox.deliver_due()
    after = await depot.snapshot()
    current, coming = await depot.stock.planograms(depot.device, by=BOSS)

    assert (made.version, made.base_version, made.state) == (1, 0, "waiting")
    assert (before.version, before.prices, before.stock) == (0, {}, {})
    assert (after.version, after.prices) == (1, {"cola": 300, "tea": 400})
    assert after.stock == {(1, "cola"): 5, (1, "tea"): 5}
    assert current is not None
    assert (current.version, current.state, current.put_at) == (1, "put", depot.clock.now())
    assert coming is None
    assert depot.cabinet.planogram_version == 1
    assert {slot.sku: slot.price_fen for slot in depot.cabinet.slots} == after.prices
    assert depot.cabinet.slots[1].expires_on == 20270101
    device = await depot.db.read(load_device, depot.device)
    assert device.planogram_version == 1
    (line,) = await depot.audit()
    assert (line.action, line.subject) == ("planogram.put", f"device:{depot.device}")
    assert '"tea":400' in line.after


async def test_the_next_layout_keeps_what_is_counted_and_takes_away_the_rest(
    depot: Depot,
) -> None:
    await depot.laid_out(place("cola"), place("tea", 2), place("tea", 3, stock=1))
    await depot.move("sale", "A", {"cola": -2})
    await depot.laid_out(
        place("cola", price_fen=350, stock=8), place("milk", door_no=2, stock=3, capacity=3)
    )

    after = await depot.snapshot()
    assert (after.version, after.prices) == (2, {"cola": 350, "milk": 550})
    assert after.stock == {(1, "cola"): 3, (2, "milk"): 3}
    _, moves = await depot.stock.moves(depot.device, by=BOSS, sku="tea", offset=0, most=9)
    assert [(move.kind, move.delta, move.after) for move in moves] == [
        ("count", -6, 0),
        ("restock", 6, 6),
    ]
    assert {move.ref for move in moves} == {"planogram:1", "planogram:2"}


async def test_a_layout_that_changes_nothing_but_empty_shelves(depot: Depot) -> None:
    await depot.laid_out(place("cola", stock=0), place("tea", 2, stock=0))
    await depot.laid_out(place("cola", stock=0))

    assert (await depot.snapshot()).stock == {(1, "cola"): 0}
    assert (await depot.stock.moves(depot.device, by=BOSS, offset=0, most=9))[0] == 0


@pytest.mark.parametrize(
    ("places", "why"),
    [
        ((place("cola"), place("tea")), "two goods in one place"),
        ((place("cola"), place("cola", 2, price_fen=301)), "two prices"),
        ((place("cola", door_no=3),), "no door 3"),
        ((place("cola", stock=9),), "more goods than room"),
    ],
)
async def test_a_layout_that_cannot_be(
    one_depot: Depot, places: tuple[Place, ...], why: str
) -> None:
    with pytest.raises(PlanogramInvalid, match=why):
        await one_depot.lay_out(*places)


def test_a_layout_has_an_end() -> None:
    slots = [place("cola", number).priced(1) for number in range(SLOTS_MAX + 1)]

    with pytest.raises(PlanogramInvalid, match="more than 500"):
        check_slots(slots, (1,))


async def test_goods_must_be_sold_and_the_device_bound_and_seen(one_depot: Depot) -> None:
    await one_depot.sell(tea=0)
    with pytest.raises(GoodsUnknown, match="gold, tea"):
        await one_depot.lay_out(place("tea"), place("gold", 2), place("cola", 3))
    with pytest.raises(DeviceNotFound):
        await one_depot.stock.want_planogram(one_depot.other, (place("cola"),), by=CLERK)
    with pytest.raises(DeviceNotFound):
        await one_depot.stock.planograms(one_depot.other, by=CLERK)
    assert (await one_depot.lay_out(place("cola"), by=CLERK)).version == 1
    await one_depot.fleet.unbind(one_depot.device, by=BOSS)
    with pytest.raises(NotBound):
        await one_depot.lay_out(place("cola"))
    with pytest.raises(PlanogramNotFound):
        await one_depot.db.read(load_planogram, one_depot.device, 9)


async def test_a_key_makes_one_layout(one_depot: Depot) -> None:
    first = await one_depot.lay_out(place("cola"), key="k")
    again = await one_depot.lay_out(place("cola"), key="k")

    assert first == again
    with pytest.raises(KeyReused):
        await one_depot.lay_out(place("tea"), key="k")


# ---------------------------------------------------------------- on the way


async def test_a_lost_answer_is_put_again(one_depot: Depot) -> None:
    one_depot.platform.dial.add(Fault(at="planogram/put", kind="drop", is_done=True))
    await one_depot.laid_out(place("cola"))
    waiting = (await one_depot.snapshot()).version
    one_depot.turn(seconds=15)
    await one_depot.outbox.deliver_due()

    assert waiting == 0
    assert (await one_depot.snapshot()).version == 1
    assert await one_depot.alerts() == {}


async def test_a_newer_wish_takes_the_place_of_one_that_waits(one_depot: Depot) -> None:
    await one_depot.lay_out(place("cola"))
    await one_depot.laid_out(place("tea"))

    assert (await one_depot.snapshot()).prices == {"tea": 450}
    puts = [call for call in one_depot.platform.calls if call.endpoint == "planogram/put"]
    assert len(puts) == 1


async def test_where_the_cabinet_has_another_version_ours_is_made_upon_it(depot: Depot) -> None:
    await depot.laid_out(place("cola"))
    depot.platform.change_planogram("D1", {"cola": 1})
    depot.platform.change_planogram("D1", {"cola": 2})
    made = await depot.laid_out(place("cola", price_fen=333))

    assert made.version == 2
    after = await depot.snapshot()
    assert (after.version, after.prices) == (4, {"cola": 333})
    assert depot.cabinet.planogram_version == 4
    assert {slot.price_fen for slot in depot.cabinet.slots} == {333}
    refused = await depot.db.read(load_planogram, depot.device, 2)
    assert (refused.state, refused.put_at) == ("refused", None)


async def test_a_change_at_the_cabinet_is_told_of_and_undone(depot: Depot) -> None:
    await depot.laid_out(place("cola"))

    async def told(version: int, code: str = "D1") -> None:
        event = PlanogramChanged(
            event_id="e", device_code=code, occurred_at=depot.clock.now(), version=version
        )
        await depot.db.write(depot.stock.heed, "xiaomai", event)

    await told(1)
    await told(7, "D9")
    assert await depot.alerts() == {}
    version = depot.platform.change_planogram("D1", {"cola": 1})
    await told(version)
    await told(version)
    raised = await depot.alerts()
    await depot.outbox.deliver_due()

    assert raised == {"cabinet.planogram": f"device:{depot.device}"}
    assert (await depot.snapshot()).version == depot.cabinet.planogram_version == 3
    assert {slot.price_fen for slot in depot.cabinet.slots} == {300}
    assert await depot.alerts() == {}


async def test_a_change_at_a_cabinet_we_never_laid_out_is_only_told_of(one_depot: Depot) -> None:
    event = PlanogramChanged(event_id="e", device_code="D1", occurred_at=0, version=3)
    await one_depot.db.write(one_depot.stock.heed, "xiaomai", event)

    assert list(await one_depot.alerts()) == ["cabinet.planogram"]
    assert await one_depot.outbox.deliver_due() == 0


async def test_goods_the_vendor_has_not_heard_of_make_the_layout_wait(one_depot: Depot) -> None:
    await one_depot.sell(juice=650)
    await one_depot.laid_out(place("juice"))
    waiting = (await one_depot.snapshot()).version
    await one_depot.stock.push_goods()
    one_depot.turn(seconds=15)
    await one_depot.outbox.deliver_due()

    assert waiting == 0
    assert (await one_depot.snapshot()).prices == {"juice": 650}


async def test_a_device_the_vendor_does_not_know_refuses_for_good(
    one_depot: Depot, expect_log: Any
) -> None:
    expect_log("is given up")
    one_depot.cabinet.store_code = ""
    made = await one_depot.laid_out(place("cola"))

    assert list(await one_depot.alerts()) == ["cabinet.planogram"]
    kept = await one_depot.db.read(load_planogram, one_depot.device, made.version)
    assert kept.state == "refused"
    assert one_depot.outbox.dead == 1


class Stubborn:
    """A vendor whose answers to a layout are given; facts is what it says when it is asked."""

    def __init__(self, *answers: Exception, facts: list[DeviceFact] | None = None) -> None:
        self.answers, self.facts = list(answers), facts
        self.bases: list[int] = []
        self.while_put: Any = None

    async def put_planogram(
        self, code: str, *, version: int, base_version: int, slots: Any
    ) -> None:
        self.bases.append(base_version)
        if self.while_put is not None:
            await self.while_put()
        if self.answers:
            raise self.answers.pop(0)

    async def status(self, codes: Any) -> list[DeviceFact]:
        if self.facts is None:
            raise VendorUnknown("status")
        return self.facts

    def stock_of(self, depot: Depot) -> Stock:
        return Stock(depot.db, {"xiaomai": cast("CabinetVendor", self)})


def payload_of(made: Planogram) -> dict[str, int]:
    return {"device_id": made.device_id, "version": made.version}


async def test_a_conflict_without_a_number_is_asked_about(one_depot: Depot) -> None:
    conflict = VendorRefused(Reason.VERSION_CONFLICT, 5002, "")
    made = await one_depot.lay_out(place("cola"))
    silent = Stubborn(conflict)
    strange = Stubborn(conflict, facts=[])
    telling = Stubborn(
        conflict, facts=[DeviceFact(device_code="D1", online=True, planogram_version=9)]
    )

    assert isinstance(await silent.stock_of(one_depot).put(payload_of(made)), Retry)
    assert isinstance(await strange.stock_of(one_depot).put(payload_of(made)), Retry)
    assert await telling.stock_of(one_depot).put(payload_of(made)) == Delivered()
    _, coming = await one_depot.stock.planograms(one_depot.device, by=BOSS)
    assert coming is not None
    assert (coming.version, coming.base_version) == (10, 9)


async def test_what_another_took_the_place_of_meanwhile_stays_so(one_depot: Depot) -> None:
    made = await one_depot.lay_out(place("cola"))
    late = Stubborn()

    async def overtake() -> None:
        late.while_put = None
        await one_depot.lay_out(place("tea"))

    late.while_put = overtake
    assert await late.stock_of(one_depot).put(payload_of(made)) == Delivered()
    assert (await one_depot.snapshot()).version == 0
    await one_depot.db.write(planograms.rebase, one_depot.device, made.version, 5)
    await one_depot.db.write(planograms.refuse_planogram, one_depot.device, made.version, "no")
    _, coming = await one_depot.stock.planograms(one_depot.device, by=BOSS)
    assert coming is not None
    assert (coming.version, coming.prices) == (2, {"tea": 450})
    assert await one_depot.alerts() == {}


async def test_parcels_of_nothing_and_vendors_that_are_not_set_up(one_depot: Depot) -> None:
    made = await one_depot.lay_out(place("cola"))

    unknown = await one_depot.stock.put({"device_id": 99, "version": 1})
    gone = await one_depot.stock.put({"device_id": one_depot.device, "version": 9})
    nobody = await Stock(one_depot.db, {}).put(payload_of(made))

    assert isinstance(unknown, Dead)
    assert isinstance(gone, Dead)
    assert nobody == Retry("no vendor xiaomai is set up")


@pytest.mark.parametrize("is_again", [False, True])
async def test_the_stock_heeds_what_the_inbox_hands_on_once(
    one_depot: Depot, is_again: bool
) -> None:
    handled: list[object] = []
    both = beside(lambda tx, row, event: handled.append(event), one_depot.stock)
    row = type("Row", (), {"vendor": "xiaomai", "is_again": is_again})
    changed = PlanogramChanged(event_id="e", device_code="D1", occurred_at=0, version=3)
    online = DeviceOnline(event_id="f", device_code="D1", occurred_at=0)
    for event in (changed, online):
        await one_depot.db.write(both, row, event)

    assert handled == [changed, online]
    assert list(await one_depot.alerts()) == ([] if is_again else ["cabinet.planogram"])
