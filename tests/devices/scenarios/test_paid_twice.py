"""Scenario 24: WeChat is deducting, and the person pays otherwise; exactly one of both stays."""

from typing import Any

import pytest

from devices.orders.model import OrderState
from devices.sessions.model import State
from simulators.wechat.pay.faults import PayFault
from tests.devices.flow.test_paying_later import permit
from tests.devices.flow.town import ANNA, Town

DEDUCTING = 271316754


async def shopped(town: Town, *skus: str) -> int:
    """Anna has a Payscore order running, and the door is closed again."""
    assert town.wechat is not None
    await permit(town)
    opened = await town.open(pay_with="wechat")
    await town.turn(20)
    town.shop(*skus)
    await town.hear()
    await town.turn(10)
    return opened.session.id


def busy(town: Town, verb: str) -> None:
    assert town.wechat is not None
    town.wechat.pay.faults.add(
        PayFault(
            endpoint=f"v3.score.{verb}",
            kind="errcode",
            err_code="INVALID_REQUEST",
            number=DEDUCTING,
        )
    )


def deducted_fen(town: Town) -> int:
    """What WeChat has of ours, after what went back."""
    assert town.wechat is not None
    entries = town.wechat.pay.ledger.entries
    return sum(e.amount_fen if e.direction == "in" else -e.amount_fen for e in entries)


async def score(town: Town) -> dict[str, Any]:
    (row,) = await town.rows("payscore_orders")
    return row


async def pay_with_tickets(town: Town) -> None:
    await town.grant(5_000)
    (order,) = await town.rows("cabinet_orders")
    assert order["state"] == OrderState.CHARGING
    await town.orders.pay(order["id"], ANNA, means="ticket", openid="", client_ip="", key="k")


async def test_24_a_sync_that_is_busy_is_repeated_after_three_minutes(pay_town: Town) -> None:
    assert pay_town.wechat is not None
    pay_town.wechat.pay.score.failures_planned = 1_000
    session = await shopped(pay_town, "cola")
    assert await pay_town.state(session) is State.SETTLING
    busy(pay_town, "sync")

    await pay_with_tickets(pay_town)
    await pay_town.hear()
    assert await pay_town.state(session) is State.PAID
    assert (await score(pay_town))["next_at"] == pay_town.clock.now() + 180_000
    assert (await score(pay_town))["wanted"] == "sync"
    await pay_town.pass_by(200, step=20)

    assert (await score(pay_town))["phase"] == "paid"
    assert deducted_fen(pay_town) == 0
    assert await pay_town.tickets() == 5_000 - 5 * 350


async def test_24_a_deduction_that_was_faster_goes_back(pay_town: Town) -> None:
    assert pay_town.wechat is not None
    pay_town.wechat.pay.score.failures_planned = 1_000
    session = await shopped(pay_town, "cola")
    busy(pay_town, "sync")

    await pay_with_tickets(pay_town)
    await pay_town.hear()
    for order in pay_town.wechat.pay.score.all.values():
        order.deduct_failures = 0
    await pay_town.pass_by(7_200, step=300)

    assert await pay_town.state(session) is State.PAID
    (order_row,) = await pay_town.rows("cabinet_orders")
    assert order_row["paid_fen"] - order_row["refunded_fen"] == 350
    paid = 5_000 - await pay_town.tickets()
    assert paid // 5 + deducted_fen(pay_town) == 350


@pytest.mark.parametrize("verb", ["cancel"])
async def test_24_a_cancelling_that_is_busy_is_repeated(pay_town: Town, verb: str) -> None:
    busy(pay_town, verb)
    session = await shopped(pay_town)
    assert await pay_town.state(session) is State.NO_PURCHASE
    assert (await score(pay_town))["phase"] == "running"

    await pay_town.pass_by(240, step=20)

    assert (await score(pay_town))["phase"] == "cancelled"
    assert deducted_fen(pay_town) == 0
