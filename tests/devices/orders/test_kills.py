"""Killed between any two steps: nobody pays twice, and nothing is taken without a trace."""

import contextlib
from collections.abc import Awaitable, Callable
from typing import Any

from devices.orders.model import OrderState
from devices.sessions.model import DoorSession
from payments.model import PaymentError
from tests.devices.orders.shop import BUYER, Shop, by
from tests.payments.core.kills import Killed, Life, mortal_database

COLAS = {"cola": 2}
Step = Callable[[DoorSession], Awaitable[Any]]


async def killed_everywhere(
    shop: Shop, prepare: Callable[[], Awaitable[DoorSession]], tell: Step, check: Step
) -> int:
    """Tell the story in a process that dies at its first step, its second, and so on.

    prepare and check see a process that lives. Returns how many steps there were.
    """
    at = 0
    await shop.execute("UPDATE door_stock SET quantity = 10000")
    while True:
        session = await prepare()
        life = Life(at)
        dying = Shop.__new__(Shop)
        dying.__dict__ |= shop.__dict__
        dying.db = mortal_database(shop.db, life)
        dying.start(dying.db, shop.rules)
        with contextlib.suppress(Killed):
            await _as(shop, dying, tell, session)
        shop.start(rules=shop.rules)
        await check(session)
        assert await shop.is_well()
        if not life.is_dead:
            return life.steps
        at += 1


async def _as(shop: Shop, dying: Shop, tell: Step, session: DoorSession) -> None:
    """The story is told by the dying one's services."""
    kept = shop.__dict__.copy()
    shop.__dict__ |= {name: dying.__dict__[name] for name in ("db", "payments", "orders")}
    try:
        await tell(session)
    finally:
        shop.__dict__ |= kept


async def test_settling_in_tickets(one_shop: Shop) -> None:
    await one_shop.grant(1_000_000)

    async def prepare() -> DoorSession:
        return await one_shop.visit(hold=5_000, key=f"k{await count(one_shop)}")

    async def tell(session: DoorSession) -> None:
        await one_shop.told(session, {"cola": 2, "tea": 1})
        await one_shop.told(session, COLAS, 2)

    async def check(session: DoorSession) -> None:
        # Whoever was not answered is told again, in whatever order.
        await one_shop.told(session, {"cola": 2, "tea": 1})
        await one_shop.told(session, COLAS, 2)
        order = await one_shop.order(session)
        assert (order.state, order.net_fen, order.due_fen) == (OrderState.PAID, 700, 700)
        assert await one_shop.sold(order) == {"cola": (2, 700)}

    assert await killed_everywhere(one_shop, prepare, tell, check) >= 4


async def test_paying_a_remainder(one_shop: Shop) -> None:
    async def prepare() -> DoorSession:
        session = await one_shop.visit(hold=0, key=f"k{await count(one_shop)}")
        await one_shop.told(session, COLAS)
        return session

    async def tell(session: DoorSession) -> None:
        number = await one_shop.pays(await one_shop.order(session), key=f"p{session.id}")
        await one_shop.confirms(number)

    async def check(session: DoorSession) -> None:
        order = await one_shop.order(session)
        if order.state is OrderState.UNPAID:
            with contextlib.suppress(PaymentError):
                number = await one_shop.pays(order, key=f"p{session.id}")
                if one_shop.bank.orders[number].transactions:
                    # Paid already; it is only not known here.
                    await one_shop.payments.refresh(number)
                else:
                    await one_shop.confirms(number)
        order = await one_shop.order(session)
        assert (order.state, order.paid_fen) == (OrderState.PAID, 700)
        assert len([each for each in await one_shop.charges(order) if each.debt_id]) == 1
        assert await one_shop.orders.unpaid(BUYER) == []

    assert await killed_everywhere(one_shop, prepare, tell, check) >= 10


async def test_too_much_paid_and_its_way_back(one_shop: Shop) -> None:
    numbers: dict[int, str] = {}

    async def prepare() -> DoorSession:
        session = await one_shop.visit(hold=0, key=f"k{await count(one_shop)}")
        await one_shop.told(session, COLAS)
        numbers[session.id] = await one_shop.pays(await one_shop.order(session))
        return session

    async def tell(session: DoorSession) -> None:
        await one_shop.told(session, {"cola": 1}, 2)
        await one_shop.confirms(numbers[session.id])
        await one_shop.parcels()

    async def check(session: DoorSession) -> None:
        await one_shop.told(session, {"cola": 1}, 2)
        number = numbers[session.id]
        if not one_shop.bank.orders[number].transactions:
            one_shop.bank.pay(number)
        await one_shop.payments.apply(one_shop.bank.fact(number))
        await one_shop.parcels()
        await one_shop.refunds_arrive()
        order = await one_shop.order(session)
        assert (order.state, order.net_fen) == (OrderState.PAID, 350)
        mine = [row for row in await one_shop.rows("refunds") if row["out_trade_no"] == number]
        assert [row["amount_fen"] for row in mine] == [350]

    assert await killed_everywhere(one_shop, prepare, tell, check) >= 8


async def test_payscore_and_a_correction(one_shop: Shop) -> None:
    async def prepare() -> DoorSession:
        return await one_shop.visit(pay_with="wechat", key=f"k{await count(one_shop)}")

    async def tell(session: DoorSession) -> None:
        await one_shop.told(session, {"cola": 2, "tea": 1})
        await one_shop.told(session, COLAS, 2)
        await one_shop.deduct(session, 1_200)

    async def check(session: DoorSession) -> None:
        await one_shop.told(session, {"cola": 2, "tea": 1})
        await one_shop.told(session, COLAS, 2)
        score = await one_shop.score(session)
        if not score.is_over:
            await one_shop.deduct(session, one_shop.deducted.get(score.out_order_no, 700))
        await one_shop.parcels()
        order = await one_shop.order(session)
        back = [
            row["amount_fen"]
            for row in await one_shop.rows("refunds")
            if row["out_trade_no"] == score.out_order_no
        ]
        assert order.state is OrderState.PAID
        assert order.paid_fen - sum(back) == 700 == order.due_fen

    assert await killed_everywhere(one_shop, prepare, tell, check) >= 6


async def test_deciding(one_shop: Shop) -> None:
    await one_shop.grant(1_000_000)

    async def prepare() -> DoorSession:
        session = await one_shop.visit(hold=5_000, key=f"k{await count(one_shop)}")
        await one_shop.told(session, COLAS)
        return session

    async def tell(session: DoorSession) -> None:
        order = await one_shop.order(session)
        await one_shop.orders.refund(order.id, 200, reason="warm", by=by(), key=f"r{session.id}")

    async def check(session: DoorSession) -> None:
        await tell(session)
        order = await one_shop.order(session)
        assert (order.net_fen, order.refunded_fen) == (500, 200)

    assert await killed_everywhere(one_shop, prepare, tell, check) >= 2


async def count(shop: Shop) -> int:
    return len(await shop.rows("door_sessions"))
