"""Two processes at once on one MariaDB: locks keep them apart, and one of them finds it done."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from devices.orders.model import OrderChanged, OrderState, PaymentOpen
from sql.database import open_database
from tests.clock import Clock
from tests.devices.orders.shop import BUYER, Shop, by

pytestmark = pytest.mark.mariadb

COLAS = {"cola": 2}


@pytest.fixture
async def shops(mariadb_url: str, clock: Clock) -> AsyncIterator[tuple[Shop, Shop]]:
    """The same shop, as two processes have it."""
    one = await open_database(mariadb_url, now=clock.now)
    two = await open_database(mariadb_url, now=clock.now)
    first = Shop(one, clock)
    second = Shop(two, clock, first.bank)
    await first.furnish()
    await first.execute("UPDATE door_stock SET quantity = 10000")
    yield first, second
    assert await first.is_well()
    await one.close()
    await two.close()


async def test_the_same_order_told_to_both(shops: tuple[Shop, Shop]) -> None:
    first, second = shops
    await first.grant(1_000_000)
    sessions = [await first.visit(hold=5_000, key=f"k{n}") for n in range(4)]

    for session in sessions:
        taken = await asyncio.gather(
            *(shop.told(session, COLAS) for shop in (first, second) for _ in range(3))
        )
        assert sorted(each.outcome for each in taken) == ["accepted", *["repeated"] * 5]

    assert len(await first.rows("order_charges")) == 4
    assert await first.tickets() == 1_000_000 - 4 * 3_500


async def test_the_same_nobodys_order_told_to_both(shops: tuple[Shop, Shop]) -> None:
    first, second = shops

    for number in range(5):
        told = (shop.told(None, COLAS, vendor_order_no=f"W-{number}") for shop in (first, second))
        taken = await asyncio.gather(*told)
        assert len({each.order_id for each in taken}) == 1

    assert len(await first.rows("cabinet_orders")) == 5
    assert len(await first.rows("order_revisions")) == 5


async def test_tickets_for_one_of_two(shops: tuple[Shop, Shop]) -> None:
    first, second = shops
    for n in range(3):
        account_id = 100 + n
        await first.grant(3_600, account_id)
        one = await first.visit(hold=0, account_id=account_id, key=f"a{n}")
        two = await first.visit(hold=0, account_id=account_id, key=f"b{n}")

        await asyncio.gather(first.told(one, COLAS), second.told(two, COLAS))

        orders = [await first.order(each) for each in (one, two)]
        assert sorted(order.paid_fen for order in orders) == [20, 700]
        assert await first.tickets(account_id) == 0


async def test_paid_by_hand_while_payscore_deducts(shops: tuple[Shop, Shop]) -> None:
    first, second = shops
    for n in range(3):
        session = await first.visit(pay_with="wechat", key=f"k{n}")
        await first.told(session, COLAS)
        number = await first.pays(await first.order(session))
        second.deducted = first.deducted

        await asyncio.gather(first.confirms(number), second.deduct(session, 700))

        order = await first.order(session)
        assert (order.state, order.paid_fen) == (OrderState.PAID, 700)
        assert len(await first.rows("refunds")) == n + 1


async def test_tickets_twice_for_one_remainder(shops: tuple[Shop, Shop]) -> None:
    first, second = shops
    for n in range(3):
        account_id = 200 + n
        session = await first.visit(hold=0, account_id=account_id, key=f"k{n}")
        await first.told(session, COLAS)
        await first.grant(10_000, account_id)
        order = await first.order(session)

        done = await asyncio.gather(
            first.pays(order, "ticket"), second.pays(order, "ticket"), return_exceptions=True
        )

        assert sum(isinstance(each, Exception) for each in done) == 1
        assert await first.tickets(account_id) == 6_500


async def test_two_payments_of_one_remainder(shops: tuple[Shop, Shop]) -> None:
    first, second = shops
    for n in range(2):
        account_id = 300 + n
        session = await first.visit(hold=0, account_id=account_id, key=f"k{n}")
        await first.told(session, COLAS)
        await first.grant(10_000, account_id)
        order = await first.order(session)

        done = await asyncio.gather(
            first.pays(order), second.pays(order, "ticket"), return_exceptions=True
        )

        refused = [each for each in done if isinstance(each, Exception)]
        assert len(refused) == 1
        assert isinstance(refused[0], PaymentOpen) or (await first.order(session)).tickets
        assert len(await first.rows("debts")) <= n + 1


async def test_two_clerks(shops: tuple[Shop, Shop]) -> None:
    first, second = shops
    await first.grant(1_000_000)
    for n in range(3):
        session = await first.visit(hold=5_000, key=f"k{n}")
        await first.told(session, COLAS)
        order = await first.order(session)

        done = await asyncio.gather(
            *(
                shop.orders.correct(
                    order.id, {"cola": 1 + at * 2}, version=order.version, reason="x", by=by()
                )
                for at, shop in enumerate((first, second))
            ),
            return_exceptions=True,
        )

        assert [type(each) for each in done if each] == [OrderChanged]
        assert len(await first.rows("staff_audit")) == n + 1
    assert all(each.account_id == BUYER for each in await first.orders.unpaid(BUYER))
