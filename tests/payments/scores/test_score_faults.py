"""WeChat does not answer, answers late, refuses, forgets, or says things in another order."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec
import pytest

from payments.gateway import PaymentFact
from payments.ledger.model import Violation
from payments.ledger.store import BOOKS
from payments.model import DebtState, Outcome, PaymentsStopped, PaymentUnknown
from payments.scores import store
from payments.scores.model import (
    DEDUCTING_MS,
    IN_FLIGHT_MS,
    PAUSES_MS,
    UNHEARD_MS,
    ScoreOver,
    ScorePhase,
    ScoreRefused,
    ScoreUnavailable,
    Wanted,
    pause_after,
)
from payments.scores.service import Scores
from payments.wechat.payscore_model import Phase
from simulators.wechat import WeChat
from sql.alerts import clear_alert, raise_alert
from tests.payments.scores.market import CHARGE, DINER, FEE_FEN, LINES, OPENID, Market


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    """Which database it is makes no difference to WeChat."""
    return sqlite_url


# ---------------------------------------------------------------- opening


@pytest.mark.parametrize("is_done", [False, True])
async def test_an_opening_without_an_answer_is_asked_again(market: Market, is_done: bool) -> None:
    number = await market.begin()
    market.fault("v3.score.create", "drop", is_done=is_done)

    with pytest.raises(PaymentUnknown):
        await market.scores.open(number)
    opening = await market.scores.open(number)

    assert opening.view is not None
    await market.confirm(number)
    assert (await market.score(number)).phase is ScorePhase.RUNNING
    assert len(market.wechat.pay.score.all) == 1


async def test_an_opening_that_was_only_found_by_asking_gets_its_package(market: Market) -> None:
    number = await market.begin()
    market.fault("v3.score.create", "drop", is_done=True)
    with pytest.raises(PaymentUnknown):
        await market.scores.open(number)
    await market.pass_time(60)
    await market.scores.push_due()
    assert (await market.score(number)).phase is ScorePhase.CREATED
    assert (await market.score(number)).package == ""

    opening = await market.scores.open(number)

    assert opening.view is not None
    assert opening.view["extraData"]["package"] == market.at_wechat(number).package


async def test_whoever_began_and_died_is_followed(market: Market) -> None:
    number = await market.begin()

    await market.pass_time(31)
    await market.scores.push_due()

    assert (await market.score(number)).phase is ScorePhase.CREATED


async def test_nobody_waits_for_ever_for_an_opening(market: Market) -> None:
    number = await market.begin()
    await market.pass_time(UNHEARD_MS / 1000)
    with pytest.raises(ScoreOver):
        await market.scores.open(number)

    await market.pass_time(60)
    await market.scores.push_due()

    assert (await market.score(number)).phase is ScorePhase.CANCELLED
    assert await market.notes() == {"over cancelled": 1}
    assert market.wechat.pay.score.all == {}


async def test_an_opening_on_its_way_is_cancelled_where_it_arrives(market: Market) -> None:
    number = await market.begin()
    market.fault("v3.score.create", "drop", is_done=True)
    with pytest.raises(PaymentUnknown):
        await market.scores.open(number)

    await market.db.write(store.want_cancel, number, "走了")
    with pytest.raises(ScoreOver):
        await market.scores.open(number)
    await market.scores.push_due()
    assert market.at_wechat(number).state == "CREATED"
    await market.pass_time(IN_FLIGHT_MS / 1000)
    for _ in range(2):
        await market.scores.push_due()

    assert market.at_wechat(number).state == "REVOKED"
    assert (await market.score(number)).phase is ScorePhase.CANCELLED


@pytest.mark.parametrize("trait", ["unfit", "overdue"])
async def test_a_user_whom_wechat_does_not_trust(market: Market, trait: str) -> None:
    await market.permit()
    getattr(market.wechat.pay.score, trait).add(OPENID)
    number = await market.begin()

    with pytest.raises(ScoreRefused):
        await market.scores.open(number)
    with pytest.raises(ScoreOver):
        await market.scores.open(number)

    assert (await market.score(number)).phase is ScorePhase.REFUSED
    assert await market.notes() == {"over refused": 1}
    assert await market.kinds() == []


async def test_three_orders_at_a_time_are_the_most(market: Market) -> None:
    await market.permit()
    for biz_id in (1, 2, 3):
        await market.scores.open(await market.begin(biz_id))

    with pytest.raises(ScoreRefused):
        await market.scores.open(await market.begin(4))


async def test_refused_at_a_look_it_is_over_as_well(market: Market) -> None:
    await market.permit()
    market.wechat.pay.score.unfit.add(OPENID)
    number = await market.begin()

    await market.pass_time(31)
    await market.scores.push_due()

    assert (await market.score(number)).phase is ScorePhase.REFUSED


async def test_a_permission_that_is_no_more_is_asked_for_again(market: Market) -> None:
    await market.permit()
    (permission,) = market.wechat.pay.permissions.all.values()
    market.wechat.pay.permissions.end(permission, "用户关闭")
    number = await market.begin()

    opening = await market.scores.open(number)

    assert not opening.is_confirmed
    assert market.at_wechat(number).created.need_user_confirm
    assert not await market.db.read(store.is_permitted, OPENID)


async def test_a_merchant_who_may_not_is_told_so_once(market: Market) -> None:
    number = await market.begin()
    market.fault("v3.score.create", "errcode", err_code="NO_AUTH", number=268503786, status=403)

    with pytest.raises(ScoreUnavailable):
        await market.scores.open(number)

    assert await market.kinds() == ["payments.setup"]


async def test_wechat_is_busy_when_it_is_opened(market: Market) -> None:
    number = await market.begin()
    market.fault("v3.score.create", "errcode", err_code="RATELIMIT_EXCEED", status=429)

    with pytest.raises(PaymentUnknown):
        await market.scores.open(number)

    assert (await market.scores.open(number)).view is not None


async def test_the_number_used_with_other_data_is_for_a_person(market: Market) -> None:
    number = await market.begin()
    market.fault("v3.score.create", "errcode", err_code="INVALID_REQUEST", number=271316598)

    with pytest.raises(PaymentUnknown):
        await market.scores.open(number)

    assert await market.kinds() == [store.STUCK]
    assert (await market.scores.open(number)).view is not None
    await market.confirm(number)
    await market.complete(number, 0)
    await market.pass_time(60)
    await market.scores.push_due()
    assert await market.kinds() == []


# ---------------------------------------------------------------- not set up


async def test_without_payscore_nothing_is_opened_and_nothing_breaks(market: Market) -> None:
    number = await market.begin()
    scores = Scores(market.db, market.payments, None)
    market.payments.ask_score = type(market.payments)(
        market.db, market.pay.gateway, merchant=market.pay.who_we_are
    ).ask_score

    assert not scores.is_available
    with pytest.raises(ScoreUnavailable) as refused:
        await scores.open(number)
    assert refused.value.code == "payments.score_unavailable"
    for ask in (scores.refresh(number), scores.detail_view(number)):
        with pytest.raises(ScoreUnavailable):
            await ask
    with pytest.raises(ScoreUnavailable):
        await scores.ask_permission(DINER, openid=OPENID)
    assert await scores.push_due() == "off"


async def test_a_deduction_waits_while_payscore_is_not_set_up(market: Market) -> None:
    number = await market.collecting()
    market.start()
    market.payments.ask_score = type(market.payments)(
        market.db, market.pay.gateway, merchant=market.pay.who_we_are
    ).ask_score

    with pytest.raises(PaymentUnknown):
        await market.payments.refresh(number)


@pytest.mark.parametrize("missing", ["PAYSCORE_SERVICE_ID", "API_V3_KEY"])
async def test_what_is_not_set_up_is_off(
    database_url: str, wechat: WeChat, tmp_path: Path, missing: str
) -> None:
    market = Market(database_url, wechat, tmp_path)
    market.score_settings = {f"CALLME_WECHATPAY__{missing}": ""}
    await market.open()

    assert not market.scores.is_available

    await market.close()


async def test_nothing_is_begun_or_pushed_while_the_books_do_not_add_up(market: Market) -> None:
    number = await market.running()
    other = await market.begin(2)
    await market.db.write(raise_alert, BOOKS, "I1", "wrong")
    await market.complete(number)

    with pytest.raises(PaymentsStopped):
        await market.begin(3)
    with pytest.raises(PaymentsStopped):
        await market.scores.open(other)
    assert await market.scores.push_due() == "stopped"
    await market.db.write(clear_alert, BOOKS, "I1")
    await market.scores.push_due()
    await market.idle()

    assert (await market.debt(number)).state is DebtState.PAID


async def test_a_deduction_told_of_while_money_is_stopped_is_applied_later(market: Market) -> None:
    number = await market.collecting()
    market.deducts()
    await market.db.write(raise_alert, BOOKS, "I1", "wrong")

    await market.pass_time(3600)
    assert (await market.score(number)).phase is ScorePhase.COLLECTING
    await market.db.write(clear_alert, BOOKS, "I1")
    await market.pass_time(60)
    await market.scores.push_due()

    assert (await market.score(number)).phase is ScorePhase.PAID
    await market.agrees(FEE_FEN)


# ---------------------------------------------------------------- asking for the fee


@pytest.mark.parametrize("is_done", [False, True])
@pytest.mark.parametrize("kind", ["drop", "http_502", "nonsense", "system_error"])
async def test_a_fee_asked_for_without_an_answer_is_asked_for_once(
    market: Market, kind: str, is_done: bool
) -> None:
    number = await market.running()
    market.deaf()
    market.fault("v3.score.complete", kind, is_done=is_done)
    await market.complete(number)

    await market.scores.push_due()
    score = await market.score(number)
    assert (score.wanted, score.next_at) == (Wanted.COMPLETE, market.now() + PAUSES_MS[0])
    await market.pass_time(15)
    await market.scores.push_due()
    await market.pass_time(60)
    await market.scores.push_due()

    assert (await market.score(number)).phase is ScorePhase.PAID
    await market.agrees(FEE_FEN)


async def test_the_pauses_grow_and_end_at_half_an_hour(market: Market) -> None:
    number = await market.running()
    market.fault("v3.score.*", "drop", times=None)
    await market.complete(number)

    pauses = []
    for _ in range(7):
        await market.scores.push_due()
        score = await market.score(number)
        assert score.next_at is not None
        pauses.append(score.next_at - market.now())
        await market.pass_time(pauses[-1] / 1000)

    assert tuple(pauses) == (*PAUSES_MS, PAUSES_MS[-1])
    assert pause_after(1) == 15_000


async def test_a_service_that_ended_before_it_began_by_wechats_clock(market: Market) -> None:
    number = await market.begin()
    await market.scores.open(number)
    await market.confirm(number)
    ended_at = market.now() - 30_000
    await market.complete(number, started_at=ended_at - 10_000, ended_at=ended_at)

    for _ in range(3):
        await market.scores.push_due()
        await market.pass_time(15)

    assert (await market.score(number)).phase is ScorePhase.PAID
    assert await market.kinds() == []
    await market.agrees(FEE_FEN)


@pytest.mark.parametrize("verb", ["less", "outside"])
async def test_while_wechat_is_deducting_it_is_asked_again_after_three_minutes(
    market: Market, verb: str
) -> None:
    number = await market.collecting()
    endpoint = {"less": "v3.score.modify", "outside": "v3.score.sync"}[verb]
    market.fault(endpoint, "errcode", err_code="INVALID_REQUEST", number=271316754)
    if verb == "less":
        await market.less(number)
    else:
        await market.db.write(store.paid_outside, number, market.now())

    await market.scores.push_due()
    score = await market.score(number)
    assert (score.next_at, bool(score.wanted)) == (market.now() + DEDUCTING_MS, True)
    await market.pass_time(DEDUCTING_MS / 1000)
    await market.scores.push_due()

    score = await market.score(number)
    assert not score.wanted
    if verb == "less":
        assert market.at_wechat(number).total_amount == 700
    else:
        assert score.phase is ScorePhase.PAID
    assert await market.kinds() == []


@pytest.mark.parametrize("is_done", [False, True])
async def test_a_lowering_without_an_answer(market: Market, is_done: bool) -> None:
    number = await market.collecting()
    market.fault("v3.score.modify", "drop", is_done=is_done)
    await market.less(number)

    await market.scores.push_due()
    await market.pass_time(15)
    await market.scores.push_due()
    market.deducts()
    await market.pass_time(3600)

    await market.agrees(700)


async def test_lowered_twice_by_two_who_do_not_wait(market: Market) -> None:
    number = await market.collecting()

    await market.less(number, 700)
    await market.less(number, 300)
    await asyncio.gather(market.scores.push_due(), market.scores.push_due())
    market.deducts()
    await market.pass_time(3600)

    await market.agrees(300)
    assert await market.kinds() == []


async def test_lowered_further_than_wechat_had_heard_when_it_deducted(market: Market) -> None:
    number = await market.collecting()
    await market.less(number, 700)
    await market.scores.push_due()
    market.deducts()

    await market.less(number, 300)
    await market.pass_time(3600)
    await market.settle()

    (refund,) = await market.payments.refunds(number)
    assert refund.amount_fen == 400
    await market.agrees(300)


async def test_a_refusal_nobody_understands_is_for_a_person_and_goes_on(market: Market) -> None:
    number = await market.running()
    market.fault("v3.score.complete", "errcode", err_code="PARAM_ERROR", number=268435464)
    await market.complete(number)

    await market.scores.push_due()
    assert await market.kinds() == [store.STUCK]
    await market.pass_time(3600)
    await market.scores.push_due()
    await market.idle()

    assert (await market.score(number)).phase is ScorePhase.PAID
    assert await market.kinds() == []


async def test_a_refusal_that_cannot_be_looked_into_is_looked_into_later(market: Market) -> None:
    number = await market.running()
    market.fault("v3.score.complete", "errcode", err_code="PARAM_ERROR", number=268435464)
    market.fault("v3.score.query", "drop")
    await market.complete(number)

    await market.scores.push_due()
    assert await market.kinds() == [store.STUCK]
    await market.pass_time(15)
    await market.scores.push_due()
    await market.idle()

    assert (await market.score(number)).phase is ScorePhase.PAID


async def test_a_wrong_state_is_looked_into(market: Market) -> None:
    """A second process has cancelled it, and this one had not heard."""
    number = await market.running()
    await market.db.write(store.want_cancel, number, "没买")
    market.at_wechat(number).state = "REVOKED"
    market.at_wechat(number).cancel_reason = "别的原因"

    await market.scores.push_due()

    assert (await market.score(number)).phase is ScorePhase.CANCELLED


async def test_an_order_wechat_has_forgotten_is_asked_about_again(market: Market) -> None:
    number = await market.collecting()
    order = market.wechat.pay.score.all.pop(number)

    with pytest.raises(PaymentUnknown):
        await market.scores.refresh(number)
    market.wechat.pay.score.all[number] = order
    market.deducts()
    await market.pass_time(3600)

    await market.agrees(FEE_FEN)


# ---------------------------------------------------------------- being told


async def test_confirmed_without_a_notice_is_found_by_asking(market: Market) -> None:
    number = await market.begin()
    await market.scores.open(number)
    market.deaf()
    await market.confirm(number)

    assert (await market.scores.refresh(number)).phase is ScorePhase.RUNNING
    assert await market.notes() == {"confirmed": 1}


async def test_deducted_without_a_notice_is_found_by_asking(market: Market) -> None:
    number = await market.running()
    market.wechat.pay.settings.deduct_takes_s = 50
    await market.complete(number)
    await market.scores.push_due()
    market.deaf()

    await market.pass_time(60)
    await market.scores.push_due()

    await market.agrees(FEE_FEN)


async def test_notices_come_again_together_and_in_another_order(market: Market) -> None:
    number = await market.begin()
    await market.scores.open(number)
    market.fault("notify.payscore", "delay", seconds=7200)
    market.fault("notify.payscore", "duplicate", copies=5)
    await market.confirm(number)
    await market.scores.refresh(number)
    await market.pass_time(60)
    await market.complete(number)
    await market.scores.push_due()
    await market.idle()
    assert (await market.score(number)).phase is ScorePhase.PAID

    # USER_CONFIRM comes when all is over.
    await market.pass_time(7200)

    assert market.verdicts["score.paid"] >= 2
    assert await market.notes() == {"confirmed": 1, f"paid {FEE_FEN}": 1, "over paid": 1}
    await market.agrees(FEE_FEN)


async def test_paid_is_told_before_the_answer_to_the_demand(market: Market) -> None:
    number = await market.running()
    market.fault("v3.score.complete", "delay", seconds=0.2, is_done=True)
    await market.complete(number)

    await asyncio.gather(market.scores.push_due(), market.idle())

    await market.idle()
    assert (await market.score(number)).phase is ScorePhase.PAID
    await market.agrees(FEE_FEN)


@pytest.mark.parametrize("kind", ["forged_sign", "missing_sign", "nonsense", "signtest"])
async def test_a_notice_that_is_not_wechats_changes_nothing(market: Market, kind: str) -> None:
    number = await market.begin()
    await market.scores.open(number)
    market.fault("notify.payscore", kind)

    await market.confirm(number)
    assert (await market.score(number)).phase is ScorePhase.CREATED
    await market.pass_time(15)

    assert (await market.score(number)).phase is ScorePhase.RUNNING


async def test_a_deduction_for_no_order_of_ours_waits_for_a_person(market: Market) -> None:
    number = await market.paid()
    payscore = market.pay.payscore
    assert payscore is not None
    found = await payscore.query(number)
    assert found is not None
    (deduction,) = found.deductions
    stranger = msgspec.structs.replace(
        found,
        out_order_no="S-elsewhere",
        deductions=(msgspec.structs.replace(deduction, transaction_id="42"),),
    )

    verdict = await market.db.write(
        store.settle, stranger, market.payments.rules, market.scores._watchers, source="query"
    )

    assert verdict == "score.unknown"
    assert "payment.unknown" in await market.kinds()


async def test_a_deduction_of_another_amount_is_for_a_person(market: Market) -> None:
    number = await market.collecting()
    payscore = market.pay.payscore
    assert payscore is not None
    market.deducts()
    market.deaf()
    await market.pass_time(3600)
    found = await payscore.query(number)
    assert found is not None
    (deduction,) = found.deductions
    more = msgspec.structs.replace(
        found,
        total_fen=FEE_FEN + 1,
        deductions=(msgspec.structs.replace(deduction, amount_fen=FEE_FEN + 1),),
    )

    rules, watchers = market.payments.rules, market.scores._watchers
    await market.db.write(store.settle, more, rules, watchers, source="query")

    assert (await market.score(number)).phase is ScorePhase.COLLECTING
    assert (await market.debt(number)).state is DebtState.UNPAID
    assert await market.kinds() == ["payment.mismatch"]


async def test_somebody_who_tells_of_another_amount_lets_wechat_be_asked_soon(
    market: Market,
) -> None:
    number = await market.collecting()
    merchant = market.payments.rules.merchant
    fact = PaymentFact(
        out_trade_no=number,
        transaction_id="4200000001",
        amount_fen=FEE_FEN + 1,
        currency="CNY",
        appid=min(merchant.appids),
        mch_id=merchant.mch_id,
        openid=OPENID,
        paid_at=market.now(),
        source="notify",
    )
    before = (await market.score(number)).next_at

    applied = await market.payments.apply(fact)

    assert applied.outcome is Outcome.MISMATCH
    assert before is not None
    assert before > market.now()
    assert (await market.score(number)).next_at == market.now()


async def test_a_mistake_of_ours_with_a_notice_lets_it_come_again(
    market: Market, expect_log: Callable[[str], None]
) -> None:
    expect_log("Uncaught exception|POST")
    number = await market.collecting()
    market.deducts()
    market.raises = ZeroDivisionError("mistake")

    await market.pass_time(3600)
    assert "payment.failed" in await market.kinds()
    market.raises = None
    await market.pass_time(15)

    assert (await market.score(number)).phase is ScorePhase.PAID
    await market.agrees(FEE_FEN)


async def test_a_mistake_with_one_score_holds_up_no_other(market: Market) -> None:
    first, second = await market.collecting(1), await market.collecting(2)
    market.deducts()
    market.deaf()
    await market.pass_time(3600)
    deliver = market.payments.rules.actions.paid[CHARGE]

    def fails_once(tx: object, debt: object, fact: object) -> None:
        market.payments.rules.actions.paid[CHARGE] = deliver
        raise ZeroDivisionError("mistake")

    market.payments.rules.actions.paid[CHARGE] = fails_once
    with pytest.raises(ZeroDivisionError):
        await market.scores.push_due()
    states = {(await market.score(number)).phase for number in (first, second)}
    assert states == {ScorePhase.PAID, ScorePhase.COLLECTING}

    await market.settle(times=2)
    await market.agrees(2 * FEE_FEN)


async def test_notices_of_payscore_are_kept_where_it_is_off(market: Market) -> None:
    number = await market.begin()
    await market.scores.open(number)
    market.payments.inbox.score_told = None

    await market.confirm(number)

    assert market.verdicts["score.off"] == 1
    assert (await market.score(number)).phase is ScorePhase.CREATED


# ---------------------------------------------------------------- permissions


async def test_a_permission_is_asked_for_given_and_given_back(market: Market) -> None:
    asked = await market.scores.ask_permission(DINER, openid=OPENID)
    again = await market.scores.ask_permission(DINER, openid=OPENID)
    assert asked.authorization_code == again.authorization_code
    assert not await market.scores.permission(openid=OPENID)
    assert not await market.db.read(store.is_permitted, OPENID)

    await market.permit()
    assert await market.db.read(store.is_permitted, OPENID)
    assert await market.scores.permission(openid=OPENID)
    await market.scores.end_permission(openid=OPENID, reason="不用了")

    assert not await market.db.read(store.is_permitted, OPENID)
    assert not await market.scores.permission(openid=OPENID)


async def test_a_permission_is_found_by_asking(market: Market) -> None:
    market.deaf()
    await market.permit()
    assert not await market.db.read(store.is_permitted, OPENID)

    assert await market.scores.permission(openid=OPENID)

    assert await market.db.read(store.is_permitted, OPENID)


async def test_a_closing_told_before_the_opening_counts(market: Market) -> None:
    told = {"authorization_code": "A-1", "openid": OPENID}
    later, earlier = market.now() + 1000, market.now()

    assert await market.db.write(store.note_permission, **told, is_granted=False, changed_at=later)
    assert not await market.db.write(
        store.note_permission, **told, is_granted=True, changed_at=earlier
    )

    assert not await market.db.read(store.is_permitted, OPENID)


async def test_a_closing_without_its_code_closes_what_is_open(market: Market) -> None:
    await market.permit()

    await market.pass_time(10)
    await market.db.write(
        store.note_permission,
        authorization_code="",
        openid=OPENID,
        is_granted=False,
        changed_at=market.now(),
    )

    assert not await market.db.read(store.is_permitted, OPENID)


async def test_closed_by_the_user_at_wechat(market: Market) -> None:
    await market.permit()
    await market.pass_time(5)
    (permission,) = market.wechat.pay.permissions.all.values()
    market.wechat.pay.permissions.end(permission, "用户关闭")
    market.wechat.pay.permission_told(permission)
    await market.idle()

    assert not await market.db.read(store.is_permitted, OPENID)
    assert market.verdicts["permission"] == 2


@pytest.mark.parametrize("call", ["apply", "query", "end"])
async def test_a_permission_without_an_answer(market: Market, call: str) -> None:
    market.fault(f"v3.permissions.{call}", "drop")
    asks: dict[str, Callable[[], Awaitable[object]]] = {
        "apply": lambda: market.scores.ask_permission(DINER, openid=OPENID),
        "query": lambda: market.scores.permission(openid=OPENID),
        "end": lambda: market.scores.end_permission(openid=OPENID, reason="不用了"),
    }

    with pytest.raises(PaymentUnknown):
        await asks[call]()


async def test_the_check_finds_what_was_left_to_lie(
    market: Market, expect_log: Callable[[str], None]
) -> None:
    expect_log("the books are wrong")
    number = await market.collecting()
    assert await market.payments.check_books() == []

    await market.pass_time(3 * 24 * 3600)
    found = await market.payments.check_books()

    assert [(v.invariant, v.subject) for v in found] == [("I29", f"score {number}")]
    assert isinstance(found[0], Violation)


def test_every_phase_of_wechats_is_one_of_ours() -> None:
    assert {ScorePhase(phase.value) for phase in Phase} < set(ScorePhase)
    assert sum(line.amount_fen for line in LINES) == FEE_FEN
