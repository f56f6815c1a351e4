"""What somebody has counted holds: an order of before, which comes late, was in that count."""

from collections.abc import Mapping

from commerce.goods import store as goods
from commerce.goods.model import GoodSaid
from devices.orders.model import OrderState
from devices.sessions import store as sessions
from devices.sessions.model import DoorSession, State
from devices.stock import store as stock
from devices.stock.model import Count, Counted
from sql.database import Tx
from tests.devices.orders.shop import DEVICE, PRICES, Shop, by
from tests.devices.orders.test_deciding import decide

COLAS = {"cola": 2}


async def count(shop: Shop, session: DoorSession | None = None, **found: int) -> None:
    """Somebody says how many there are, when filling up (in this session) or in passing."""
    await shop.db.write(goods.take_page, [said(sku) for sku in PRICES], (), "")
    await shop.db.write(_count, 0 if session is None else session.id, found)
    shop.clock.advance(seconds=1)


def said(sku: str) -> GoodSaid:
    return GoodSaid(sku=sku, name=sku, price_fen=PRICES[sku], version=1)


def _count(tx: Tx, session_id: int, found: Mapping[str, int]) -> None:
    counted = tuple(Counted(sku, quantity) for sku, quantity in found.items())
    wanted = Count(door_no=1, counted=counted, session_id=session_id)
    stock.count(tx, DEVICE, wanted, by=by(), once_key=f"count:{tx.now}")


def seen(tx: Tx, /, session: DoorSession, **times: int) -> None:
    """What the door told of itself."""
    sessions.note(tx, session, **times)


async def restocking(shop: Shop) -> DoorSession:
    session = await shop.visit(pay_with="none", purpose="restock", state=State.OPEN)
    await shop.db.write(sessions.move, session, State.NO_PURCHASE)
    return session


async def test_an_order_of_before_a_restocking_was_seen_by_who_counted(shop: Shop) -> None:
    await shop.grant(50_000)
    session = await shop.visit(hold=10_000)
    await count(shop, await restocking(shop), cola=12)

    await shop.told(session, {"cola": 2, "nuts": 1})
    assert await shop.stock() == {"cola": 12, "nuts": 19, "tea": 5}
    await shop.told(session, {"cola": 1}, 2)

    assert (await shop.order(session)).state is OrderState.PAID
    assert await shop.stock() == {"cola": 12, "nuts": 20, "tea": 5}


async def test_an_order_of_after_a_restocking_leaves_the_shelf(shop: Shop) -> None:
    await shop.grant(50_000)
    filling = await restocking(shop)
    session = await shop.visit(hold=10_000)
    await count(shop, filling, cola=12)

    await shop.told(session, COLAS)
    await shop.told(session, {"cola": 1}, 2)

    assert await shop.stock() == {"cola": 11, "nuts": 20, "tea": 5}


async def test_a_count_that_finds_what_was_thought_is_a_count(shop: Shop) -> None:
    await shop.grant(50_000)
    session = await shop.visit(hold=10_000)
    await shop.db.write(seen, session, opened_at=shop.clock.now(), closed_at=shop.clock.now())
    await count(shop, cola=10)

    await shop.told(session, COLAS)

    assert await shop.stock() == {"cola": 10, "nuts": 20, "tea": 5}


async def test_what_is_taken_while_somebody_counts_is_not_in_the_count(shop: Shop) -> None:
    await shop.grant(50_000)
    session = await shop.visit(hold=10_000, state=State.OPEN)
    await shop.db.write(seen, session, opened_at=shop.clock.now())
    await count(shop, cola=10)

    await shop.told(session, COLAS)

    assert await shop.stock() == {"cola": 8, "nuts": 20, "tea": 5}


async def test_of_a_door_that_nobody_saw_open_the_count_of_later_holds(shop: Shop) -> None:
    await shop.grant(50_000)
    session = await shop.visit(hold=0, state=State.NOT_OPENED)
    shop.clock.advance(seconds=1)
    await count(shop, cola=8)
    await shop.told(session, COLAS)

    await decide(shop, "approve", "late_order", await shop.order(session))

    assert (await shop.order(session)).due_fen == 700
    assert await shop.stock() == {"cola": 8, "nuts": 20, "tea": 5}
