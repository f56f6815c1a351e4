"""What hardly ever happens to an order, and must come to the same all the same."""

from types import SimpleNamespace
from typing import Any

import pytest

from devices.orders import money, paying
from devices.orders.model import (
    DEBT,
    ChargeState,
    Means,
    OrderNotFound,
    OrderState,
    SessionMissing,
)
from devices.orders.rows import store as rows
from payments.ledger.store import balance
from payments.model import DebtState
from payments.store import load_debt, owe
from payments.wechat.payscore_model import Phase
from tests.devices.orders.shop import BUYER, DEVICE, Shop, by, fact
from tests.devices.orders.test_deciding import correct, decide
from tests.devices.orders.test_scores import arrived

COLAS = {"cola": 2}


async def test_tickets_that_were_spent_this_moment(
    one_shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is read before the lock may be more than there is under it."""
    await one_shop.grant(1_000)
    session = await one_shop.visit(hold=0)
    reads: list[int] = []

    def stale(*args: Any) -> int:
        reads.append(balance(*args))
        return reads[-1] + (5_000 if len(reads) == 1 else 0)

    monkeypatch.setattr(money, "balance", stale)
    await one_shop.told(session, COLAS)

    order = await one_shop.order(session)
    assert (order.state, order.paid_fen, len(reads)) == (OrderState.UNPAID, 200, 2)


async def test_an_order_that_is_not_there(one_shop: Shop) -> None:
    with pytest.raises(OrderNotFound):
        await one_shop.orders.own(999, BUYER)
    with pytest.raises(OrderNotFound):
        await one_shop.orders.detail(999, by=by())


async def test_an_order_that_another_process_has_just_written(shop: Shop) -> None:
    await shop.take(fact(None, COLAS, vendor_order_no="W-9"))
    (row,) = await shop.rows("cabinet_orders")
    same = ("no", "vendor", "vendor_order_no", "device_id", "store_id", "account_id", "pay_with")

    written = await shop.db.write(rows.insert_order, {name: row[name] for name in same})

    assert written is None
    assert len(await shop.rows("cabinet_orders")) == 1


async def test_nothing_is_in_the_way_of_another_payment(one_shop: Shop) -> None:
    session = await one_shop.visit()
    await one_shop.told(session, COLAS)
    order = await one_shop.order(session)

    for with_tickets in (True, False):
        assert not await one_shop.db.write(
            paying.wrong_payment, order.id, BUYER, with_tickets=with_tickets
        )
    await one_shop.orders._close_other(order.id, BUYER, "ticket")


async def test_money_for_a_debt_that_nothing_was_charged_by(one_shop: Shop) -> None:
    debt = await one_shop.db.write(
        owe, kind=DEBT, subject=1, payer_id=BUYER, amount_fen=300, description="x"
    )
    request = await one_shop.payments.pay(
        debt.id, trade_type="NATIVE", openid="", client_ip="10.0.0.1", key=""
    )
    await one_shop.confirms(request.out_trade_no)
    await one_shop.refunds_arrive()

    assert (await one_shop.db.read(load_debt, debt.id)).state is DebtState.CANCELLED
    assert one_shop.bank.money == 0


async def test_goods_that_nobody_counts_any_more(one_shop: Shop) -> None:
    await one_shop.grant(30_000)
    session = await one_shop.visit(hold=0)
    one_shop.clock.advance(seconds=1)
    other = await one_shop.visit(hold=0, door_no=2)
    await one_shop.execute("UPDATE door_sessions SET door_no = 1")
    await one_shop.told(other, COLAS)
    await one_shop.execute("DELETE FROM door_stock WHERE sku = 'cola'")

    at = session.requested_at
    assert await one_shop.db.read(rows.stock_at, DEVICE, 1, at) == {"nuts": 20, "tea": 5}
    await one_shop.told(session, {"cola": 9})
    assert (await one_shop.order(session)).state is OrderState.PAID


async def test_a_score_that_is_over_is_not_lowered(one_shop: Shop) -> None:
    """It is deducted already, and its notice is on its way."""
    session = await one_shop.visit(pay_with="wechat")
    await one_shop.told(session, {"cola": 2, "tea": 1})
    await one_shop.execute("UPDATE payscore_orders SET phase = 'paid'")

    await one_shop.told(session, COLAS, 2)

    (charge,) = await one_shop.charges(await one_shop.order(session))
    assert (charge.amount_fen, charge.state) == (1_200, ChargeState.PENDING)
    await one_shop.execute("UPDATE payscore_orders SET phase = 'collecting'")
    await one_shop.deduct(session, 1_200)
    await one_shop.parcels()
    order = await one_shop.order(session)
    assert (order.state, order.paid_fen) == (OrderState.PAID, 1_200)
    (refund,) = await one_shop.rows("refunds")
    assert (refund["amount_fen"], refund["out_refund_no"]) == (500, f"CO{order.id}R1")
    await arrived(one_shop, refund)


async def test_tickets_for_a_score_that_is_over(one_shop: Shop) -> None:
    session = await one_shop.visit(pay_with="wechat")
    await one_shop.told(session, COLAS)
    await one_shop.grant(3_500)
    await one_shop.execute("UPDATE payscore_orders SET phase = 'paid'")

    await one_shop.pays(await one_shop.order(session), "ticket")

    order = await one_shop.order(session)
    assert order.tickets == 3_500
    # It was deducted before: when that is told, it goes back.
    await one_shop.execute("UPDATE payscore_orders SET phase = 'collecting'")
    await one_shop.deduct(session, 700)
    assert (await one_shop.order(session)).paid_fen == 700
    assert [row["amount_fen"] for row in await one_shop.rows("refunds")] == [700]


async def test_a_score_that_ends_while_a_payment_by_hand_is_open(one_shop: Shop) -> None:
    session = await one_shop.visit(pay_with="wechat")
    await one_shop.told(session, COLAS)
    order = await one_shop.order(session)
    number = await one_shop.pays(order)
    score = await one_shop.score(session)

    await one_shop.hears(one_shop.found(score.out_order_no, Phase.CANCELLED))

    states = [(each.means, each.state) for each in await one_shop.charges(order)]
    assert states == [(Means.SCORE, ChargeState.CANCELLED), (Means.WECHAT, ChargeState.PENDING)]
    await one_shop.confirms(number)
    assert (await one_shop.order(session)).state is OrderState.PAID


async def test_finance_sends_back_what_a_person_had_stopped(one_shop: Shop) -> None:
    one_shop.start(rules=type(one_shop.rules)(two_person_above_fen=100))
    session = await one_shop.visit(pay_with="wechat")
    await one_shop.told(session, {"cola": 2, "tea": 1})
    await one_shop.deduct(session)
    await one_shop.told(session, COLAS, 2)
    (stopped,) = await one_shop.rows("refunds")
    await one_shop.payments.reject_refund(stopped["out_refund_no"], by=by(12), reason="no")
    await one_shop.orders.look_after()
    score = await one_shop.score(session)
    one_shop.start()

    await one_shop.payments.refund(
        score.out_order_no, amount_fen=500, reason="after all", by=by(12), key="f"
    )
    refund = (await one_shop.rows("refunds"))[-1]
    await arrived(one_shop, refund)

    order = await one_shop.order(session)
    assert (order.due_fen, order.net_fen) == (700, 700)


async def test_finance_sends_back_while_an_order_is_in_review(one_shop: Shop) -> None:
    session = await one_shop.visit(pay_with="wechat")
    await one_shop.told(session, COLAS)
    await one_shop.deduct(session)
    await one_shop.told(session, {"tea": 9})
    score = await one_shop.score(session)

    await one_shop.payments.refund(
        score.out_order_no, amount_fen=200, reason="after all", by=by(12), key="f"
    )
    (refund,) = await one_shop.rows("refunds")
    await arrived(one_shop, refund)

    order = await one_shop.order(session)
    assert (order.due_fen, order.net_fen) == (500, 500)
    assert ("abnormal", f"{order.no}:back") in await one_shop.exceptions()


async def test_nobodys_order_is_not_corrected(one_shop: Shop) -> None:
    taken = await one_shop.take(fact(None, COLAS, vendor_order_no="W-9"))
    await decide(one_shop, "reject", "no_session", SimpleNamespace(id=taken.order_id))
    order = await one_shop.db.read(rows.load, taken.order_id)

    with pytest.raises(SessionMissing):
        await correct(one_shop, order, COLAS)
