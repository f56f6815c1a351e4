"""What people decide: corrections up and down, refunds, waivers, and what is on the desk."""

import asyncio
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from accounts.audit.model import By
from devices.desk.model import (
    CabinetException,
    ExceptionState,
    NothingToApprove,
    Ruling,
)
from devices.desk.store import end, raise_exception
from devices.orders.model import (
    ItemsMissing,
    ItemUnknown,
    Kind,
    NothingWaived,
    NotPaidYet,
    Order,
    OrderChanged,
    OrderInReview,
    OrderNotFound,
    OrderState,
    SessionMissing,
    TooMuchBack,
)
from devices.orders.rows.store import Filter
from devices.sessions.model import DoorSession, State
from devices.vendors.port import Certainty
from payments.model import RefundStatus
from sql.database import Tx
from sql.idempotency import KeyReused
from tests.devices.orders.shop import BOSS, BUYER, CLERK, FOREIGNER, RULES, Shop, by, fact

COLAS = {"cola": 2}


async def paid(shop: Shop, pay_with: str = "ticket") -> DoorSession:
    await shop.grant(10_000)
    session = await shop.visit(pay_with=pay_with)
    await shop.told(session, COLAS)
    if pay_with == "wechat":
        await shop.deduct(session)
    return session


async def correct(
    shop: Shop, order: Order, taken: dict[str, int], *, who: int = CLERK, **values: Any
) -> None:
    given = {"version": order.version, "reason": "by the film", "key": "", **values}
    await shop.orders.correct(order.id, taken, by=by(who), **given)


async def decide(shop: Shop, verb: str, kind: str, order: Any, **details: Any) -> None:
    """As the desk does it: the action runs, then the exception is decided, or none of both."""
    raised = await exception(shop, kind, order.id)
    await shop.db.write(decided, shop, verb, raised, by(details.pop("who", CLERK)), details)


async def exception(shop: Shop, kind: str, order_id: int | None) -> CabinetException:
    rows = await shop.rows("cabinet_exceptions")
    (row,) = (
        row
        for row in rows
        if (row["kind"], row["order_id"]) == (kind, order_id) and row["open_key"]
    )
    plain = {str(name): value for name, value in row.items() if name != "open_key"}
    return msgspec.convert(plain, CabinetException)


def decided(tx: Tx, shop: Shop, verb: str, raised: CabinetException, who: By, details: Any) -> None:
    act = getattr(shop.orders.action, verb)
    act(tx, raised, who, Ruling("seen", details))
    to = {"approve": ExceptionState.APPROVED, "reject": ExceptionState.REJECTED}[verb]
    end(tx, raised, to, who, "seen")


def listed(**taken: int) -> list[dict[str, object]]:
    return [{"sku": sku, "quantity": quantity} for sku, quantity in taken.items()]


# ---------------------------------------------------------------- corrections


async def test_up_down_and_twice(shop: Shop) -> None:
    session = await paid(shop)
    await correct(shop, await shop.order(session), {"cola": 2, "tea": 1})

    # Paid as the original was, since one of us has decided it.
    main, more = await shop.chain(session)
    assert (main.kind, main.due_fen, main.paid_fen) == (Kind.CORRECTED, 700, 700)
    assert (more.kind, more.related_no, more.paid_fen) == (Kind.SUPPLEMENT, main.no, 500)
    assert (more.state, await shop.tickets()) == (OrderState.PAID, 4_000)

    await correct(shop, main, {"nuts": 1})

    main, more = await shop.chain(session)
    assert (main.due_fen, main.net_fen, more.due_fen, more.net_fen) == (100, 100, 0, 0)
    assert await shop.tickets() == 9_500
    assert await shop.stock() == {"cola": 10, "nuts": 19, "tea": 5}
    assert await shop.sold(main) == {"nuts": (1, 100)}

    await correct(shop, main, {"nuts": 1})

    assert [each.due_fen for each in await shop.chain(session)] == [100, 0]
    audit = await shop.rows("staff_audit")
    assert [row["action"] for row in audit] == ["cabinet_order.correct"] * 3
    assert {row["reason"] for row in audit} == {"by the film"}
    sources = [each.source for each in await shop.revisions(main)]
    assert sources == ["vendor:push", *[f"staff:{CLERK}"] * 3]


async def test_of_two_corrections_one_wins_whichever_order_of_the_chain_they_name(
    shop: Shop,
) -> None:
    session = await paid(shop)
    await correct(shop, await shop.order(session), {"cola": 2, "tea": 1})
    main, more = await shop.chain(session)

    # Nothing of this is the supplement's own, whose row stays as it was.
    await correct(shop, main, {"cola": 2, "tea": 1})
    with pytest.raises(OrderChanged):
        await correct(shop, more, {"nuts": 1})
    with pytest.raises(OrderChanged):
        await correct(shop, more, {"nuts": 1}, version=main.version)

    assert [each.due_fen for each in await shop.chain(session)] == [700, 500]
    main, more = await shop.chain(session)
    await correct(shop, more, {"nuts": 1}, version=main.version)
    assert [each.due_fen for each in await shop.chain(session)] == [100, 0]


async def test_a_supplement_that_tickets_do_not_cover_stays_unpaid(one_shop: Shop) -> None:
    session = await paid(one_shop)
    await correct(one_shop, await one_shop.order(session), {"tea": 5})

    _, more = await one_shop.chain(session)

    # Of 1,800 fen more 1,300 are there, and none of them is taken.
    assert (more.due_fen, more.paid_fen, more.state) == (1_800, 0, OrderState.UNPAID)
    assert await one_shop.tickets() == 6_500
    assert [each.id for each in await one_shop.orders.unpaid(BUYER)] == [more.id]


async def test_by_wechat_it_is_never_silent(one_shop: Shop) -> None:
    session = await paid(one_shop, "wechat")

    await correct(one_shop, await one_shop.order(session), {"cola": 3})

    _, more = await one_shop.chain(session)
    assert (more.state, more.due_fen) == (OrderState.UNPAID, 350)
    assert await one_shop.charges(more) == []


async def test_two_at_once_and_one_wins(shop: Shop) -> None:
    session = await paid(shop)
    order = await shop.order(session)

    done = await asyncio.gather(
        correct(shop, order, {"cola": 1}, who=CLERK),
        correct(shop, order, {"cola": 3}, who=BOSS),
        return_exceptions=True,
    )

    assert [type(each) for each in done if each] == [OrderChanged]
    due = sum(each.due_fen for each in await shop.chain(session))
    assert due in {350, 1_050}
    assert len(await shop.rows("staff_audit")) == 1


async def test_the_same_key_corrects_once(one_shop: Shop) -> None:
    session = await paid(one_shop)
    order = await one_shop.order(session)

    await correct(one_shop, order, {"cola": 1}, key="k")
    await correct(one_shop, order, {"cola": 1}, key="k")

    assert len(await one_shop.rows("staff_audit")) == 1
    with pytest.raises(KeyReused):
        await correct(one_shop, order, {"cola": 2}, key="k")


async def test_what_was_never_for_sale_cannot_be_listed(one_shop: Shop) -> None:
    session = await paid(one_shop)
    order = await one_shop.order(session)

    with pytest.raises(ItemUnknown, match="gum"):
        await correct(one_shop, order, {"gum": 1})

    assert await one_shop.order(session) == order


async def test_what_waits_for_the_desk_is_not_corrected(one_shop: Shop) -> None:
    await one_shop.grant(10_000)
    session = await one_shop.visit()
    await one_shop.told(session, COLAS, certainty=Certainty.PROVISIONAL)
    with pytest.raises(OrderInReview):
        await correct(one_shop, await one_shop.order(session), COLAS)

    await one_shop.told(session, COLAS, 2, total_fen=1)
    with pytest.raises(OrderInReview):
        await correct(one_shop, await one_shop.order(session), COLAS)


async def test_after_a_decision_the_vendor_does_not_overrule_it(one_shop: Shop) -> None:
    session = await paid(one_shop)
    await correct(one_shop, await one_shop.order(session), {"cola": 1})

    await one_shop.told(session, {"cola": 4}, 3)

    order = await one_shop.order(session)
    assert (order.due_fen, order.net_fen) == (350, 350)
    assert await one_shop.exceptions() == [("conflict", order.no)]
    assert (await one_shop.session(session)).state is State.ABNORMAL


# ---------------------------------------------------------------- refunds


async def test_some_of_it_and_then_the_rest(shop: Shop) -> None:
    session = await paid(shop)
    order = await shop.order(session)

    await shop.orders.refund(order.id, 200, reason="warm", by=by(), key="r1")
    await shop.orders.refund(order.id, 200, reason="warm", by=by(), key="r1")
    order = await shop.order(session)
    assert (order.due_fen, order.net_fen, order.kind) == (500, 500, Kind.NORMAL)
    assert await shop.tickets() == 7_500

    await shop.orders.refund(order.id, None, reason="all of it", by=by(), key="r2")

    order = await shop.order(session)
    assert (order.due_fen, order.net_fen, order.state) == (0, 0, OrderState.PAID)
    assert await shop.tickets() == 10_000
    # The goods are gone all the same.
    assert await shop.sold(order) == {"cola": (2, 0)}
    assert await shop.stock() == {"cola": 8, "nuts": 20, "tea": 5}
    assert [told[0] for told in await shop.confirmed()] == ["paid", "refunded", "refunded"]
    assert (await shop.confirmed())[-1] == ("refunded", 1, 0, 0)
    with pytest.raises(TooMuchBack):
        await shop.orders.refund(order.id, None, reason="again", by=by(), key="r3")


async def test_a_correction_keeps_what_was_let_off(one_shop: Shop) -> None:
    session = await paid(one_shop)
    order = await one_shop.order(session)
    await one_shop.orders.refund(order.id, 200, reason="warm", by=by(), key="r1")

    await correct(one_shop, await one_shop.order(session), {"cola": 1})

    order = await one_shop.order(session)
    assert (order.due_fen, order.net_fen) == (150, 150)


async def test_by_wechat_it_may_wait_for_a_second_person(one_shop: Shop) -> None:
    one_shop.start(rules=type(RULES)(two_person_above_fen=300))
    session = await paid(one_shop, "wechat")
    order = await one_shop.order(session)

    await one_shop.orders.refund(order.id, 500, reason="broken", by=by(), key="r1")

    (refund,) = await one_shop.rows("refunds")
    assert (refund["status"], refund["asked_by"]) == (RefundStatus.WAITING, CLERK)
    assert refund["reason"] == "broken"


@pytest.mark.parametrize("fen", [0, -1, 701])
async def test_no_more_than_was_paid(one_shop: Shop, fen: int) -> None:
    order = await one_shop.order(await paid(one_shop))

    with pytest.raises(TooMuchBack):
        await one_shop.orders.refund(order.id, fen, reason="x", by=by(), key="")


async def test_what_is_not_paid_does_not_go_back(one_shop: Shop) -> None:
    session = await one_shop.visit()
    await one_shop.told(session, COLAS)
    order = await one_shop.order(session)
    with pytest.raises(NotPaidYet):
        await one_shop.orders.refund(order.id, 1, reason="x", by=by(), key="")

    await one_shop.told(session, {"tea": 1})
    with pytest.raises(OrderInReview):
        await one_shop.orders.refund(order.id, 1, reason="x", by=by(), key="")


async def test_a_supplement_goes_back_by_itself(one_shop: Shop) -> None:
    session = await paid(one_shop)
    await correct(one_shop, await one_shop.order(session), {"cola": 2, "tea": 1})
    main, more = await one_shop.chain(session)

    await one_shop.orders.refund(more.id, 100, reason="warm", by=by(), key="")

    again, more = await one_shop.chain(session)
    assert (again.due_fen, again.net_fen) == (main.due_fen, main.net_fen)
    assert (more.due_fen, more.net_fen) == (400, 400)


async def test_a_complaint_that_is_right_sends_back_in_its_own_transaction(
    one_shop: Shop,
) -> None:
    session = await paid(one_shop)
    order = await one_shop.order(session)

    await one_shop.db.write(one_shop.orders.send_back, order.id, 350, reason="warm " * 80, by=by())

    order = await one_shop.order(session)
    assert (order.due_fen, order.net_fen) == (350, 350)
    (line,) = await one_shop.rows("staff_audit")
    assert len(line["reason"]) == 200


# ---------------------------------------------------------------- waivers


async def test_a_waiver_opens_the_next_door(shop: Shop) -> None:
    await shop.grant(500)
    session = await shop.visit()
    await shop.told(session, COLAS)
    order = await shop.order(session)

    await shop.orders.waive(order.id, reason="good customer", by=by())

    order = await shop.order(session)
    assert (order.state, order.due_fen, order.paid_fen) == (OrderState.WAIVED, 700, 100)
    assert await shop.orders.unpaid(BUYER) == []
    assert (await shop.session(session)).state is State.PAID
    assert (await shop.confirmed())[-1] == ("unpaid", 1, 700, 100)
    with pytest.raises(NothingWaived):
        await shop.orders.waive(order.id, reason="again", by=by())

    # It becomes cheaper than what was paid, and that goes back; dearer is a supplement.
    await shop.told(session, {"cola": 3}, 2)
    _, more = await shop.chain(session)
    assert (more.state, more.due_fen) == (OrderState.UNPAID, 350)
    await shop.told(session, {}, 3)
    order, more = await shop.chain(session)
    assert (order.state, order.net_fen, more.state) == (OrderState.PAID, 0, OrderState.EMPTY)
    assert await shop.tickets() == 500


@pytest.mark.parametrize(("first", "rest"), [(30, 70), (None, None), (100, None)])
async def test_of_a_waived_order_what_was_paid_may_go_back(
    shop: Shop, first: int | None, rest: int | None
) -> None:
    await shop.grant(500)
    session = await shop.visit()
    await shop.told(session, COLAS)
    order = await shop.order(session)
    await shop.orders.waive(order.id, reason="good customer", by=by())
    for too_much in (0, 101, 700):
        with pytest.raises(TooMuchBack):
            await shop.orders.refund(order.id, too_much, reason="warm", by=by(), key="")

    await shop.orders.refund(order.id, first, reason="warm", by=by(), key="1")

    order = await shop.order(session)
    left = 100 - (first or 100)
    assert (order.state, order.due_fen, order.net_fen) == (OrderState.PAID, left, left)
    assert await shop.tickets() == 5 * (100 - left)
    assert await shop.sold(order) == {"cola": (2, left)}
    if rest is not None:
        await shop.orders.refund(order.id, rest, reason="warm", by=by(), key="2")
        assert (await shop.order(session)).net_fen == 0
        assert await shop.sold(order) == {"cola": (2, 0)}
    with pytest.raises(TooMuchBack):
        await shop.orders.refund(order.id, None, reason="warm", by=by(), key="3")
    assert await shop.tickets() == 500
    assert await shop.is_well()


async def test_of_a_waived_order_nothing_goes_back_that_was_not_paid(one_shop: Shop) -> None:
    session = await one_shop.visit()
    await one_shop.told(session, COLAS)
    order = await one_shop.order(session)
    await one_shop.orders.waive(order.id, reason="good customer", by=by())

    with pytest.raises(TooMuchBack):
        await one_shop.orders.refund(order.id, None, reason="warm", by=by(), key="")

    assert (await one_shop.order(session)).state is OrderState.WAIVED


async def test_a_payment_that_was_open_when_it_was_waived_goes_back(one_shop: Shop) -> None:
    session = await one_shop.visit()
    await one_shop.told(session, COLAS)
    order = await one_shop.order(session)
    number = await one_shop.pays(order)
    await one_shop.orders.waive(order.id, reason="good customer", by=by())

    await one_shop.confirms(number)
    await one_shop.parcels()
    await one_shop.refunds_arrive()

    order = await one_shop.order(session)
    assert (order.state, order.paid_fen) == (OrderState.WAIVED, 0)
    assert one_shop.bank.money == 0


# ---------------------------------------------------------------- the desk


async def in_review(shop: Shop, taken: dict[str, int] = COLAS, **values: Any) -> DoorSession:
    await shop.grant(10_000)
    session = await shop.visit()
    await shop.told(session, taken, **values)
    return session


async def test_what_the_reviewer_lists_is_the_next_revision(shop: Shop) -> None:
    session = await in_review(shop, certainty=Certainty.UNCERTAIN)
    order = await shop.order(session)
    with pytest.raises(ItemsMissing):
        await decide(shop, "approve", "uncertain", order)

    await decide(shop, "approve", "uncertain", order, items=listed(cola=1))

    order = await shop.order(session)
    assert (order.state, order.rev, order.due_fen, order.paid_fen) == (
        OrderState.PAID,
        2,
        350,
        350,
    )
    last = (await shop.revisions(order))[-1]
    assert (last.rev, last.source) == (2, f"staff:{CLERK}")
    assert (await shop.session(session)).state is State.PAID
    assert await shop.exceptions() == []
    (row,) = await shop.rows("cabinet_exceptions")
    assert (row["state"], row["ended_by"]) == ("approved", CLERK)
    actions = [row["action"] for row in await shop.rows("staff_audit")]
    assert actions == ["cabinet_order.approve", "exception.approved"]
    assert await shop.confirmed() == [("paid", 1, 350, 350)]


@pytest.mark.parametrize(
    ("taken", "values", "kind"),
    [(COLAS, {"total_fen": 1}, "mismatch"), ({"tea": 8}, {}, "over_limit")],
)
async def test_what_is_clear_is_approved_as_it_was_said(
    one_shop: Shop, taken: dict[str, int], values: dict[str, Any], kind: str
) -> None:
    session = await in_review(one_shop, taken, **values)

    await decide(one_shop, "approve", kind, await one_shop.order(session))

    order = await one_shop.order(session)
    assert {line.sku: line.quantity for line in order.lines} == taken
    # At our prices, whatever the vendor's sum was.
    assert order.due_fen == sum({"cola": 350, "tea": 500}[sku] * n for sku, n in taken.items())


async def test_a_late_order_is_charged_from_what_there_is(one_shop: Shop) -> None:
    await one_shop.grant(1_000)
    session = await one_shop.visit(hold=0, state=State.NOT_OPENED)
    await one_shop.told(session, COLAS)

    await decide(one_shop, "approve", "late_order", await one_shop.order(session))

    order = await one_shop.order(session)
    assert (order.state, order.paid_fen) == (OrderState.UNPAID, 200)
    assert (await one_shop.session(session)).state is State.UNPAID


async def test_what_is_rejected_is_not_charged(shop: Shop) -> None:
    session = await in_review(shop, total_fen=1)

    await decide(shop, "reject", "mismatch", await shop.order(session))

    order = await shop.order(session)
    assert (order.state, order.due_fen) == (OrderState.EMPTY, 0)
    assert await shop.tickets() == 10_000
    assert (await shop.session(session)).state is State.NO_PURCHASE


@pytest.mark.parametrize(("verb", "tickets"), [("approve", 10_000 - 5 * 350), ("reject", 10_000)])
async def test_what_the_vendor_never_made_out_is_said_by_a_person(
    one_shop: Shop, verb: str, tickets: int
) -> None:
    session = await in_review(one_shop, {"tea": 1}, certainty=Certainty.PROVISIONAL)
    order = await one_shop.order(session)
    assert order.state is OrderState.PUSHED
    await one_shop.db.write(
        raise_exception, "abnormal", f"session:{session.id}", severity="medium",
        text="a day later", order_id=order.id,
    )  # fmt: skip
    if verb == "approve":
        with pytest.raises(ItemsMissing):
            await decide(one_shop, "approve", "abnormal", order)

    await decide(one_shop, verb, "abnormal", order, items=listed(cola=1))

    assert await one_shop.tickets() == tickets
    assert await one_shop.exceptions() == []


async def test_a_rejected_conflict_leaves_what_was_accepted(one_shop: Shop) -> None:
    session = await paid(one_shop)
    await one_shop.told(session, {"tea": 4})

    await decide(one_shop, "reject", "conflict", await one_shop.order(session))

    order = await one_shop.order(session)
    assert (order.state, order.due_fen, order.net_fen) == (OrderState.PAID, 700, 700)
    assert (await one_shop.session(session)).state is State.PAID


async def test_other_kinds_about_the_same_order_are_solved_with_it(one_shop: Shop) -> None:
    session = await in_review(one_shop, total_fen=1)
    await one_shop.told(session, {"gum": 1}, 2)
    order = await one_shop.order(session)
    assert len(await one_shop.exceptions()) == 2

    await decide(one_shop, "approve", "unknown_item", order, items=listed(cola=1))

    assert await one_shop.exceptions() == []
    states = [row["state"] for row in await one_shop.rows("cabinet_exceptions")]
    assert states == ["closed", "approved"]


async def test_nobodys_order_is_linked_by_a_person(shop: Shop) -> None:
    await shop.grant(10_000)
    session = await shop.visit()
    taken = await shop.take(fact(None, COLAS, vendor_order_no="W-9"))
    order = SimpleNamespace(id=taken.order_id)

    for session_id in (0, 999):
        with pytest.raises(SessionMissing):
            await decide(shop, "approve", "no_session", order, session_id=session_id)
    await decide(shop, "approve", "no_session", order, session_id=session.id)

    linked = await shop.order(session)
    assert (linked.id, linked.account_id, linked.due_fen) == (taken.order_id, BUYER, 700)
    assert linked.state is OrderState.PAID
    other = await shop.take(fact(None, {"tea": 1}, vendor_order_no="W-10"))
    with pytest.raises(SessionMissing):
        await decide(
            shop, "approve", "no_session", SimpleNamespace(id=other.order_id),
            session_id=session.id,
        )  # fmt: skip


async def test_nobodys_order_is_rejected(one_shop: Shop) -> None:
    taken = await one_shop.take(fact(None, COLAS, vendor_order_no="W-9"))

    await decide(one_shop, "reject", "no_session", SimpleNamespace(id=taken.order_id))

    (row,) = await one_shop.rows("cabinet_orders")
    assert (row["state"], row["due_fen"]) == ("empty", 0)


async def test_there_must_be_something_to_decide(one_shop: Shop) -> None:
    session = await paid(one_shop)
    await one_shop.told(session, {"tea": 1}, vendor_order_no="W-other")
    order = await one_shop.order(session)

    with pytest.raises(NothingToApprove):
        await decide(one_shop, "approve", "conflict", order)
    raised = await exception(one_shop, "conflict", order.id)
    strange = msgspec.structs.replace(raised, order_id=None)
    with pytest.raises(NothingToApprove):
        await one_shop.db.write(decided, one_shop, "approve", strange, by(), {})
    # A second order of the same session is not ours to charge; the first stays as it is.
    await decide(one_shop, "reject", "conflict", order)
    assert (await one_shop.order(session)).due_fen == order.due_fen
    assert len(await one_shop.revisions(order)) == 1


@pytest.mark.parametrize("details", [{"items": 5}, {"items": [{"sku": "x"}]}, {"session_id": "a"}])
async def test_what_is_no_list_is_refused(one_shop: Shop, details: dict[str, Any]) -> None:
    session = await in_review(one_shop, total_fen=1)

    with pytest.raises(ItemsMissing):
        await decide(one_shop, "approve", "mismatch", await one_shop.order(session), **details)


async def test_a_refund_that_was_stopped_is_asked_for_again_or_kept(one_shop: Shop) -> None:
    one_shop.start(rules=type(RULES)(two_person_above_fen=100))
    session = await paid(one_shop, "wechat")
    await one_shop.told(session, {"cola": 1}, 2)
    await stop_refund(one_shop)
    order = await one_shop.order(session)

    await decide(one_shop, "approve", "abnormal", order)

    first, second = await one_shop.rows("refunds")
    assert (first["status"], second["status"]) == ("withdrawn", "waiting")
    assert (second["amount_fen"], second["out_refund_no"]) == (350, f"CO{order.id}R2")
    await stop_refund(one_shop)
    await decide(one_shop, "reject", "abnormal", order)
    assert len(await one_shop.rows("refunds")) == 2
    assert await one_shop.exceptions() == []


async def stop_refund(shop: Shop) -> None:
    refund = (await shop.rows("refunds"))[-1]
    await shop.payments.reject_refund(refund["out_refund_no"], by=by(12), reason="no")
    await shop.orders.look_after()


# ---------------------------------------------------------------- who sees it


async def test_staff_of_another_store_find_nothing(one_shop: Shop) -> None:
    session = await paid(one_shop)
    order = await one_shop.order(session)
    who = by(FOREIGNER)

    with pytest.raises(OrderNotFound):
        await one_shop.orders.detail(order.id, by=who)
    with pytest.raises(OrderNotFound):
        await correct(one_shop, order, {}, who=FOREIGNER)
    with pytest.raises(OrderNotFound):
        await one_shop.orders.refund(order.id, 1, reason="x", by=who, key="")
    with pytest.raises(OrderNotFound):
        await one_shop.orders.waive(order.id, reason="x", by=who)
    await one_shop.told(session, {"tea": 1})
    for verb in ("approve", "reject"):
        with pytest.raises(OrderNotFound):
            await decide(one_shop, verb, "conflict", order, who=FOREIGNER)
    assert await one_shop.orders.page(Filter(), by=who, offset=0, most=9) == (0, [])
    assert await one_shop.orders.export(Filter(), by=who) == []
    assert (await one_shop.orders.page(Filter(), by=by(), offset=0, most=9))[0] == 1
