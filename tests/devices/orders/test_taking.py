"""What vendors tell of orders: repeated, reordered, contradicted, late, and nobody's."""

import asyncio
from typing import Any

import pytest

from commerce.goods.model import GoodSaid
from commerce.goods.store import take_page
from devices.orders.model import OrderState, Outcome, Verdict, Why
from devices.sessions.model import State
from devices.vendors.port import Certainty, Item
from tests.devices.orders.shop import Shop, by, fact

COLAS = {"cola": 2}
PROVISIONAL, UNCERTAIN = Certainty.PROVISIONAL, Certainty.UNCERTAIN


async def test_what_is_being_looked_at_waits_and_then_settles(one_shop: Shop) -> None:
    await one_shop.grant(10_000)
    session = await one_shop.visit()

    first = await one_shop.told(session, COLAS, certainty=PROVISIONAL)

    order = await one_shop.order(session)
    assert (first.outcome, order.state) == (Outcome.WAITING, OrderState.PUSHED)
    assert (await one_shop.session(session)).state is State.SETTLING
    assert await one_shop.tickets() == 0
    assert await one_shop.exceptions() == []
    assert await one_shop.confirmed() == []

    then = await one_shop.told(session, COLAS)

    assert then.outcome is Outcome.ACCEPTED
    assert (await one_shop.order(session)).state is OrderState.PAID
    assert await one_shop.tickets() == 6_500


async def test_what_waits_after_payment_changes_nothing(one_shop: Shop) -> None:
    await one_shop.grant(10_000)
    session = await one_shop.visit()
    await one_shop.told(session, COLAS)

    await one_shop.told(session, {"tea": 1}, 2, certainty=PROVISIONAL)

    assert (await one_shop.order(session)).state is OrderState.PAID
    assert (await one_shop.session(session)).state is State.PAID


@pytest.mark.parametrize("state", [State.OPENING, State.OPEN])
async def test_an_order_before_the_close_infers_it(one_shop: Shop, state: State) -> None:
    await one_shop.grant(10_000)
    session = await one_shop.visit(state=state)

    await one_shop.told(session, COLAS)

    after = await one_shop.session(session)
    assert (after.state, after.closed_at) == (State.PAID, None)
    assert not after.is_physical
    names = [row["name"] for row in await one_shop.rows("events")]
    assert names.index("door.closed") < names.index("door.settling") < names.index("door.paid")


async def test_a_session_in_trouble_settles_when_its_order_comes(one_shop: Shop) -> None:
    await one_shop.grant(10_000)
    session = await one_shop.visit(state=State.ABNORMAL)

    await one_shop.told(session, COLAS)

    assert (await one_shop.session(session)).state is State.PAID


async def test_an_old_revision_is_only_kept(one_shop: Shop) -> None:
    await one_shop.grant(10_000)
    session = await one_shop.visit()
    await one_shop.told(session, COLAS, 2)

    old = await one_shop.told(session, {"tea": 1}, 1)

    assert old.outcome is Outcome.OLD
    order = await one_shop.order(session)
    assert (order.rev, order.due_fen, order.state) == (2, 700, OrderState.PAID)
    kept, _ = await one_shop.revisions(order)
    assert (kept.rev, kept.verdict, kept.why) == (1, Verdict.REFUSED, Why.OLD)
    assert await one_shop.exceptions() == []


async def test_the_same_number_with_another_content_is_a_conflict(shop: Shop) -> None:
    await shop.grant(10_000)
    session = await shop.visit()
    await shop.told(session, COLAS)

    other = await shop.told(session, {"tea": 2})
    again = await shop.told(session, {"tea": 2})

    order = await shop.order(session)
    assert (other.outcome, again.outcome) == (Outcome.REVIEW, Outcome.REPEATED)
    assert (order.state, order.due_fen, order.paid_fen) == (OrderState.PAID, 700, 700)
    assert (await shop.session(session)).state is State.ABNORMAL
    assert await shop.exceptions() == [("conflict", order.no)]
    kept = await shop.revisions(order)
    assert [(each.rev, each.n, each.total_fen) for each in kept] == [(1, 1, 700), (1, 2, 1_000)]
    assert await shop.tickets() == 6_500

    # A higher number settles it, and the desk has nothing to do any more.
    await shop.told(session, COLAS, 2)

    assert (await shop.session(session)).state is State.PAID
    assert await shop.exceptions() == []


@pytest.mark.parametrize(
    ("taken", "values", "kind"),
    [
        (COLAS, {"certainty": UNCERTAIN}, "uncertain"),
        (COLAS, {"abnormal": ("gravity",)}, "abnormal"),
        ({"gum": 1}, {}, "unknown_item"),
        (COLAS, {"total_fen": 1}, "mismatch"),
        ({"gold": 1}, {}, "over_limit"),
        ({"tea": 8}, {}, "over_limit"),
    ],
)
async def test_what_is_in_doubt_charges_nothing_and_is_on_the_desk(
    one_shop: Shop, taken: dict[str, int], values: dict[str, Any], kind: str
) -> None:
    await one_shop.grant(200_000)
    session = await one_shop.visit()

    told = await one_shop.told(session, taken, **values)

    order = await one_shop.order(session)
    assert (told.outcome, order.state) == (Outcome.REVIEW, OrderState.REVIEW)
    assert (order.due_fen, await one_shop.charges(order)) == (0, [])
    assert (await one_shop.session(session)).state is State.ABNORMAL
    assert await one_shop.exceptions() == [(kind, order.no)]
    # What was set aside stays so until somebody has decided.
    assert await one_shop.tickets() == 100_000
    assert await one_shop.alerts() == (["cabinet.amount_mismatch"] if kind == "mismatch" else [])
    assert await one_shop.stock() == {"cola": 10, "nuts": 20, "tea": 5}

    await one_shop.told(session, {"cola": 1}, 2)

    assert (await one_shop.order(session)).state is OrderState.PAID
    assert await one_shop.exceptions() == []


async def test_the_limit_of_the_store_counts_before_ours(one_shop: Shop) -> None:
    await one_shop.grant(10_000)
    await one_shop.execute("UPDATE stores SET review_limit_fen = 600")
    session = await one_shop.visit()

    assert (await one_shop.told(session, COLAS)).outcome is Outcome.REVIEW


async def test_a_session_without_a_limit_has_the_stores(one_shop: Shop) -> None:
    await one_shop.grant(10_000)
    session = await one_shop.visit()
    await one_shop.execute("UPDATE door_sessions SET limit_fen = 0")

    assert (await one_shop.told(session, COLAS)).outcome is Outcome.ACCEPTED


async def test_the_stock_is_that_of_the_opening(one_shop: Shop) -> None:
    """What others take meanwhile, and what is put in, is not counted."""
    await one_shop.grant(100_000)
    first = await one_shop.visit(hold=0)
    one_shop.clock.advance(seconds=5)
    second = await one_shop.visit(hold=0, door_no=2)
    await one_shop.execute("UPDATE door_sessions SET door_no = 1")
    one_shop.clock.advance(seconds=5)
    await one_shop.told(second, {"tea": 5})

    # Of five there are none left now; but there were five when this door was opened.
    taken = await one_shop.told(first, {"tea": 5})

    assert taken.outcome is Outcome.ACCEPTED
    assert (await one_shop.stock())["tea"] == -5


@pytest.mark.parametrize("state", [State.NOT_OPENED, State.REJECTED, State.TIMEOUT])
async def test_an_order_after_the_session_was_over_is_reviewed(
    one_shop: Shop, state: State
) -> None:
    await one_shop.grant(10_000)
    session = await one_shop.visit(hold=0, state=state)

    late = await one_shop.told(session, COLAS)
    later = await one_shop.told(session, COLAS, 2)

    order = await one_shop.order(session)
    assert (late.outcome, later.outcome) == (Outcome.REVIEW, Outcome.REVIEW)
    assert order.state is OrderState.REVIEW
    assert await one_shop.exceptions() == [("late_order", order.no)]
    assert (await one_shop.session(session)).state is State.ABNORMAL
    assert await one_shop.tickets() == 10_000


async def test_nothing_taken_after_the_session_was_over_stays_so(one_shop: Shop) -> None:
    session = await one_shop.visit(state=State.NOT_OPENED)

    waiting = await one_shop.told(session, COLAS, certainty=PROVISIONAL)
    assert (await one_shop.session(session)).state is State.NOT_OPENED
    nothing = await one_shop.told(session, {}, 2)

    assert (waiting.outcome, nothing.outcome) == (Outcome.WAITING, Outcome.ACCEPTED)
    assert (await one_shop.session(session)).state is State.NOT_OPENED
    assert await one_shop.exceptions() == []


async def test_nothing_taken_after_a_timeout_is_reviewed_as_well(one_shop: Shop) -> None:
    session = await one_shop.visit(state=State.TIMEOUT)

    assert (await one_shop.told(session, {})).outcome is Outcome.REVIEW


async def test_goods_after_nothing_was_taken_are_reviewed(one_shop: Shop) -> None:
    await one_shop.grant(10_000)
    session = await one_shop.visit()
    await one_shop.told(session, {})

    late = await one_shop.told(session, COLAS, 2)

    assert late.outcome is Outcome.REVIEW
    assert (await one_shop.session(session)).state is State.ABNORMAL
    assert await one_shop.tickets() == 10_000


# ---------------------------------------------------------------- whose it is


async def test_a_session_is_found_by_any_of_its_numbers(one_shop: Shop) -> None:
    await one_shop.grant(30_000)
    first = await one_shop.visit(hold=0)
    second = await one_shop.visit(hold=0)
    third = await one_shop.visit(hold=0)
    await one_shop.execute(
        f"UPDATE door_sessions SET vendor_order_no = 'W{third.id}' WHERE id = {third.id}"
    )

    await one_shop.take(fact(first, COLAS))
    await one_shop.take(fact(second, COLAS, session_no="", request_id=second.request_id))
    await one_shop.take(fact(third, COLAS, session_no=""))
    # And once it is known, by its order's number alone.
    await one_shop.take(fact(first, {"cola": 1}, 2, session_no=""))

    for session in (first, second, third):
        assert (await one_shop.session(session)).vendor_order_no == f"W{session.id}"
        assert (await one_shop.order(session)).state is OrderState.PAID
    assert (await one_shop.order(first)).due_fen == 350


async def test_an_order_that_is_nobodys_waits_to_be_linked(shop: Shop) -> None:
    said = fact(None, COLAS, vendor_order_no="W-9")

    first = await shop.take(said)
    again = await shop.take(said)

    assert (first.outcome, again.outcome) == (Outcome.NO_SESSION, Outcome.NO_SESSION)
    assert first.order_id == again.order_id > 0
    (order,) = await shop.rows("cabinet_orders")
    assert (order["state"], order["account_id"], order["session_id"]) == ("review", 0, None)
    assert await shop.exceptions() == [("no_session", order["no"])]
    assert len(await shop.rows("order_revisions")) == 1

    # Told later with its session, it is that session's.
    await shop.grant(10_000)
    session = await shop.visit()
    linked = await shop.take(fact(session, COLAS, 2, vendor_order_no="W-9"))

    assert linked.outcome is Outcome.ACCEPTED
    assert (await shop.order(session)).state is OrderState.PAID
    assert await shop.exceptions() == []


async def test_a_device_that_is_not_known_has_no_orders(one_shop: Shop) -> None:
    session = await one_shop.visit()

    strange = await one_shop.take(fact(session, COLAS, device_code="XM-9"))

    assert (strange.outcome, strange.order_id) == (Outcome.NO_SESSION, 0)
    assert await one_shop.rows("cabinet_orders") == []


async def test_another_vendor_cannot_tell_of_our_session(one_shop: Shop) -> None:
    session = await one_shop.visit()

    other = await one_shop.take(fact(session, COLAS), vendor="sim")

    assert (other.outcome, other.order_id) == (Outcome.NO_SESSION, 0)


async def test_a_session_that_was_never_sent_has_no_order(one_shop: Shop) -> None:
    session = await one_shop.visit(state=State.REQUESTED)

    assert (await one_shop.told(session, COLAS)).outcome is Outcome.NO_SESSION
    assert (await one_shop.session(session)).state is State.REQUESTED


async def test_who_works_on_a_cabinet_buys_nothing(one_shop: Shop) -> None:
    session = await one_shop.visit(pay_with="none", purpose="restock")

    taken = await one_shop.told(session, COLAS)

    assert taken.outcome is Outcome.NO_MONEY
    assert await one_shop.rows("cabinet_orders") == []


async def test_a_second_order_of_a_session_is_for_a_person(one_shop: Shop) -> None:
    await one_shop.grant(10_000)
    session = await one_shop.visit()
    await one_shop.told(session, COLAS)

    second = await one_shop.told(session, {"tea": 1}, vendor_order_no="W-other")
    again = await one_shop.told(session, {"tea": 1}, vendor_order_no="W-other")

    assert (second.outcome, again.outcome) == (Outcome.REVIEW, Outcome.REPEATED)
    order = await one_shop.order(session)
    assert await one_shop.exceptions() == [("conflict", f"{order.no}:W-other")]
    (kept,) = await one_shop.rows("incidents")
    assert '"tea"' in kept["raw"]
    assert (order.due_fen, await one_shop.tickets()) == (700, 6_500)


async def test_the_same_order_many_times_at_once_is_one(shop: Shop) -> None:
    await shop.grant(10_000)
    session = await shop.visit()

    taken = await asyncio.gather(*(shop.told(session, COLAS) for _ in range(8)))

    assert sorted(each.outcome for each in taken) == ["accepted", *["repeated"] * 7]
    assert len(await shop.rows("cabinet_orders")) == 1
    assert len(await shop.rows("order_charges")) == 1
    assert await shop.tickets() == 6_500


async def test_a_name_longer_than_there_is_room_for_is_settled_all_the_same(shop: Shop) -> None:
    """A vendor may call goods by 200 characters; the history of sales has 100."""
    await shop.grant(10_000)
    session = await shop.visit()
    long = Item(sku="cola", quantity=2, price_fen=350, name="可" * 200)

    taken = await shop.take(fact(session, COLAS, items=(long,)))

    order = await shop.order(session)
    assert (taken.outcome, order.state) == (Outcome.ACCEPTED, OrderState.PAID)
    assert [line.name for line in order.lines] == ["可" * 100]
    assert [row["name"] for row in await shop.rows("sales")] == ["可" * 100]


async def test_goods_are_called_as_we_call_them(shop: Shop) -> None:
    await shop.grant(10_000)
    session = await shop.visit()
    await shop.db.write(
        take_page, [GoodSaid(sku="cola", name="可乐", price_fen=1, version=1)], (), ""
    )

    await shop.take(fact(session, {"cola": 1, "nuts": 1}))
    named = await shop.order(session)
    await shop.orders.correct(
        named.id, {"cola": 1}, version=named.version, reason="no nuts", by=by()
    )

    corrected = await shop.order(session)
    assert [line.name for line in named.lines] == ["可乐", "Nuts"]
    assert [line.name for line in corrected.lines] == ["可乐"]
    assert {row["name"] for row in await shop.rows("sales")} == {"可乐", "Nuts"}
