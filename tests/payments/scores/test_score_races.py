"""Several at once, and what comes when it is no longer true."""

import asyncio
import contextlib
from typing import Any

import pytest

from payments import store as payment_store
from payments.model import AttemptState, DebtState
from payments.scores import store
from payments.scores.model import ScoreConflict, ScoreOver, ScorePhase, Wanted
from sql.database import Tx
from tests.payments.scores.market import FEE_FEN, Market


async def test_many_at_once_do_it_once(market: Market) -> None:
    number = await market.begin()
    openings = await asyncio.gather(*(market.scores.open(number) for _ in range(4)))
    assert len({opening.out_order_no for opening in openings}) == 1
    await market.confirm(number)
    await market.pass_time(60)

    debts = await asyncio.gather(*(market.complete(number) for _ in range(5)))
    await asyncio.gather(
        *(market.scores.push_due() for _ in range(4)), market.scores.refresh(number)
    )
    await market.idle()

    assert len({debt.id for debt in debts if debt}) == 1
    assert (await market.attempt(number)).state is AttemptState.SUCCESS
    assert (await market.notes())[f"paid {FEE_FEN}"] == 1
    await market.agrees(FEE_FEN)


async def test_cancelling_and_asking_for_a_fee_at_once_one_wins(market: Market) -> None:
    number = await market.running()

    async def cancel() -> None:
        with contextlib.suppress(ScoreConflict):
            await market.db.write(store.want_cancel, number, "没买")

    async def complete() -> None:
        with contextlib.suppress(ScoreOver):
            await market.complete(number)

    await asyncio.gather(cancel(), complete())
    await market.scores.push_due()
    await market.idle()

    score = await market.score(number)
    assert score.phase in {ScorePhase.CANCELLED, ScorePhase.PAID}
    await market.agrees(FEE_FEN if score.phase is ScorePhase.PAID else 0)


async def test_lowered_while_a_lowering_is_on_its_way(market: Market) -> None:
    number = await market.collecting()
    market.fault("v3.score.modify", "delay", seconds=0.3)
    await market.less(number, 700)

    async def once_more() -> None:
        await asyncio.sleep(0.1)
        await market.less(number, 300)

    await asyncio.gather(market.scores.push_due(), once_more())
    assert (await market.score(number)).wanted is Wanted.LESS
    await market.pass_time(60)
    await market.scores.push_due()
    market.deducts()
    await market.pass_time(3600)

    await market.agrees(300)


async def test_what_was_found_out_meanwhile_counts(market: Market) -> None:
    number = await market.paid()
    before = await market.score(number)
    rules, watchers = market.payments.rules, market.scores._watchers

    for late in (
        market.db.write(store.take_up, number),
        market.db.write(store.put_off, number, by_ms=5, why="late", is_stuck=True),
        market.db.write(store.end_unheard, number, watchers),
        market.db.write(store.refuse, number, "late", watchers),
        market.db.write(store.cancelled, number, rules, watchers),
    ):
        assert await late == before

    assert await market.kinds() == []


async def test_completed_by_hand_at_wechat_the_money_waits_for_a_person(market: Market) -> None:
    number = await market.running()
    market.wechat.pay.settings.deduct_takes_s = 60
    order = market.at_wechat(number)
    order.total_amount = 500
    market.wechat.pay.score._ask_for_money(order)

    await market.scores.refresh(number)
    assert (await market.score(number)).phase is ScorePhase.COLLECTING
    await market.scores.push_due()
    await market.pass_time(60)

    assert (await market.score(number)).phase is ScorePhase.PAID
    assert await market.kinds() == ["payment.unknown"]
    assert await market.rows("debts") == []


async def test_a_domain_that_watches_nothing_is_told_nothing(market: Market) -> None:
    number = await market.begin(1, biz="other")
    await market.scores.open(number)
    await market.confirm(number)
    await market.db.write(store.want_cancel, number, "没买")

    await market.scores.push_due()

    assert (await market.score(number)).phase is ScorePhase.CANCELLED
    assert await market.notes() == {}


async def test_a_fee_asked_for_between_two_looks_is_seen(
    market: Market, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first look is before the debt is there; no test can come in between otherwise."""
    number = await market.collecting()
    load = store.load_score

    def too_early(tx: Tx, out_order_no: str, *, lock: bool = False) -> Any:
        score = load(tx, out_order_no, lock=lock)
        if not lock:
            score.debt_id = None
        return score

    def look(tx: Tx) -> Any:
        with monkeypatch.context() as patch:
            patch.setattr(store, "load_score", too_early)
            return store._locked(tx, number)

    score, debt = await market.db.write(look)

    assert debt is not None
    assert debt.id == score.debt_id


async def test_a_debt_that_was_cancelled_by_tickets_and_then_again(market: Market) -> None:
    number = await market.collecting()
    assert await market.db.write(store.paid_outside, number, market.now())
    debt = await market.debt(number)

    cancelled = await market.payments.cancel(debt.id)

    assert cancelled.state is DebtState.CANCELLED


async def test_an_expired_debt_is_collected_no_more(market: Market) -> None:
    """No domain gives such a debt an end; should one do so, it is kept."""
    number = await market.collecting()
    debt = await market.debt(number)

    await market.db.write(payment_store.cancel_overdue, debt.id, market.payments.rules.actions)

    assert (await market.debt(number)).state is DebtState.UNPAID
    assert (await market.attempt(number)).is_live
