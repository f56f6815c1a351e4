"""What needs a person: put on the desk once, taken, approved, rejected, closed: each once."""

import asyncio
from typing import Any

import pytest
from sqlalchemy import insert

from accounts.store import block_account
from devices.desk import store
from devices.desk.model import (
    Action,
    ExceptionDecided,
    ExceptionNotFound,
    ExceptionState,
    ExceptionTaken,
    NothingToApprove,
    OrderUndecided,
    Ruling,
)
from devices.desk.service import Desk
from devices.desk.store import Wanted
from devices.orders.model import ItemUnknown, OrderState
from devices.sessions.model import DoorSession, State
from devices.vendors.port import Certainty
from sql.database import Tx, open_database
from sql.tables import metadata
from sql.tables.accounts import accounts
from tests.clock import Clock
from tests.devices.desk.conftest import desk_of
from tests.devices.orders.shop import BOSS, CLERK, DEVICE, FOREIGNER, OTHER, STORE, Shop, by

COLAS = {"cola": 2}
SAID = Ruling("看过录像")


async def put(shop: Shop, kind: str = "delivery", subject: str = "parcel:5", **values: Any) -> int:
    given = {"severity": "medium", "text": "three tries", "store_id": STORE, **values}
    return await shop.db.write(store.raise_exception, kind, subject, **given)


async def uncertain(shop: Shop) -> tuple[DoorSession, int]:
    """An order that a person must decide about, and its exception."""
    await shop.grant(10_000)
    session = await shop.visit()
    await shop.told(session, COLAS, certainty=Certainty.UNCERTAIN)
    _, (found,) = await desk_of(shop).page(Wanted(kind="uncertain"), by=by(), offset=0, most=9)
    return session, found.id


async def load(shop: Shop, exception_id: int) -> Any:
    return await shop.db.read(store.load_exception, exception_id)


# ---------------------------------------------------------------- by the machine


async def test_the_same_is_there_once_and_gets_the_new_words(shop: Shop) -> None:
    first = await put(shop)
    again = await put(shop, text="four tries", severity="high")
    other = await put(shop, subject="parcel:6")

    assert first == again != other
    found = await load(shop, first)
    assert (found.text, found.severity, found.state) == ("four tries", "high", ExceptionState.OPEN)


async def test_many_at_once_put_one_thing_there(shop: Shop) -> None:
    ids = await asyncio.gather(*(put(shop, text=f"try {n}") for n in range(8)))

    assert len(set(ids)) == 1


@pytest.mark.mariadb
async def test_two_processes_put_one_thing_there(mariadb_url: str, clock: Clock) -> None:
    first = await open_database(mariadb_url, now=clock.now)
    second = await open_database(mariadb_url, now=clock.now)
    ids = await asyncio.gather(
        *(
            database.write(
                store.raise_exception, "offline", f"device:{n}", severity="low", text="t"
            )
            for n in range(20)
            for database in (first, second)
        )
    )

    assert len(set(ids)) == 20
    await first.close()
    await second.close()


async def test_what_another_process_has_just_put_there_is_found(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the look and the insert; no test can come in between otherwise."""
    there = await put(shop)
    looks: list[int | None] = [None]
    find = store._open_id

    def late(tx: Tx, key: str) -> int | None:
        return looks.pop() if looks else find(tx, key)

    monkeypatch.setattr(store, "_open_id", late)

    assert await put(shop) == there


async def test_what_has_solved_itself_is_closed_and_may_come_again(shop: Shop) -> None:
    first = await put(shop)

    assert await shop.db.write(store.clear_exception, "delivery", "parcel:5", "it has arrived")
    assert not await shop.db.write(store.clear_exception, "delivery", "parcel:5", "once more")

    found = await load(shop, first)
    assert (found.state, found.ended_by, found.decision) == (
        ExceptionState.CLOSED,
        0,
        "it has arrived",
    )
    assert await put(shop) != first


# ---------------------------------------------------------------- by people


async def test_taken_once_and_decided_by_who_took_it(shop: Shop) -> None:
    desk, exception_id = desk_of(shop), await put(shop)

    taken = await desk.take(exception_id, by=by())
    assert (taken.state, taken.taken_by) == (ExceptionState.TAKEN, CLERK)
    assert await desk.take(exception_id, by=by()) == taken
    for verb in (
        desk.take(exception_id, by=by(BOSS)),
        desk.approve(exception_id, SAID, by=by(BOSS)),
        desk.reject(exception_id, SAID, by=by(BOSS)),
        desk.close(exception_id, by=by(BOSS), reason="x"),
    ):
        with pytest.raises(ExceptionTaken):
            await verb

    closed = await desk.close(exception_id, by=by(), reason="已处理")
    assert (closed.state, closed.ended_by, closed.decision) == (
        ExceptionState.CLOSED,
        CLERK,
        "已处理",
    )
    with pytest.raises(ExceptionDecided):
        await desk.take(exception_id, by=by())
    audit = await shop.rows("staff_audit")
    assert [line["action"] for line in audit] == ["exception.take", "exception.closed"]


async def test_what_was_taken_may_be_let_go_again(shop: Shop) -> None:
    desk, exception_id = desk_of(shop), await put(shop)
    await desk.take(exception_id, by=by())

    with pytest.raises(ExceptionTaken):
        await desk.release(exception_id, by=by(BOSS), anyones=False)
    with pytest.raises(ExceptionNotFound):
        await desk.release(exception_id, by=by(FOREIGNER), anyones=True)
    free = await desk.release(exception_id, by=by(), anyones=False)
    assert (free.state, free.taken_by, free.taken_at) == (ExceptionState.OPEN, 0, None)
    assert await desk.release(exception_id, by=by(), anyones=False) == free

    await desk.take(exception_id, by=by(BOSS))
    await desk.release(exception_id, by=by(), anyones=True)
    await desk.close(exception_id, by=by(), reason="seen")
    for anyones in (True, False):
        with pytest.raises(ExceptionDecided):
            await desk.release(exception_id, by=by(), anyones=anyones)
    audit = [(line["actor_id"], line["action"]) for line in await shop.rows("staff_audit")]
    assert audit == [
        (CLERK, "exception.take"),
        (CLERK, "exception.release"),
        (BOSS, "exception.take"),
        (CLERK, "exception.release"),
        (CLERK, "exception.closed"),
    ]


async def test_what_somebody_holds_who_has_left_is_free(shop: Shop) -> None:
    desk = desk_of(shop)
    taken = [await put(shop, subject=f"parcel:{n}") for n in range(4)]
    for exception_id in taken:
        await desk.take(exception_id, by=by(BOSS))
    await shop.db.write(leave, BOSS)

    again = await desk.take(taken[0], by=by())
    assert (again.state, again.taken_by) == (ExceptionState.TAKEN, CLERK)
    with pytest.raises(ExceptionTaken):
        await desk.take(taken[0], by=by(OTHER))
    assert (await desk.release(taken[1], by=by(), anyones=False)).state is ExceptionState.OPEN
    closed = await desk.close(taken[2], by=by(), reason="seen")
    assert closed.state is ExceptionState.CLOSED
    rejected = await desk.reject(taken[3], SAID, by=by())
    assert rejected.state is ExceptionState.REJECTED


def leave(tx: Tx, account_id: int) -> None:
    row = {"id": account_id, "app": "staff", "openid": "boss", "created_at": 1, "blocked_at": None}
    tx.execute(insert(accounts), row)
    block_account(tx, account_id)


async def test_an_order_is_approved_with_what_was_taken(shop: Shop) -> None:
    session, exception_id = await uncertain(shop)
    items = [{"sku": "cola", "quantity": 1}]

    ended = await desk_of(shop).approve(
        exception_id, Ruling("看过录像", {"items": items, "session_id": 0}), by=by()
    )

    assert (ended.state, ended.ended_by) == (ExceptionState.APPROVED, CLERK)
    order = await shop.order(session)
    assert (order.state, order.paid_fen) == (OrderState.PAID, 350)
    assert await shop.exceptions() == []


async def test_an_order_is_rejected_and_nothing_is_charged(shop: Shop) -> None:
    session, exception_id = await uncertain(shop)

    ended = await desk_of(shop).reject(exception_id, SAID, by=by())

    assert ended.state is ExceptionState.REJECTED
    assert (await shop.order(session)).paid_fen == 0
    assert await shop.tickets() == 10_000


@pytest.mark.parametrize("verbs", [("approve", "approve"), ("approve", "reject"), ("reject",) * 3])
async def test_of_several_who_decide_at_once_one_does(shop: Shop, verbs: tuple[str, ...]) -> None:
    session, exception_id = await uncertain(shop)
    desk = desk_of(shop)
    ruling = Ruling("看过录像", {"items": [{"sku": "cola", "quantity": 2}], "session_id": 0})

    outcomes = await asyncio.gather(
        *(
            getattr(desk, verb)(exception_id, ruling, by=by(who))
            for who, verb in zip((CLERK, BOSS, 14), verbs, strict=False)
        ),
        return_exceptions=True,
    )

    done = [each for each in outcomes if not isinstance(each, BaseException)]
    assert len(done) == 1
    assert all(
        isinstance(each, ExceptionDecided) for each in outcomes if isinstance(each, BaseException)
    )
    paid = (await shop.order(session)).paid_fen
    assert paid == (700 if done[0].state is ExceptionState.APPROVED else 0)
    decided = [line for line in await shop.rows("staff_audit") if "exception" in line["action"]]
    assert len(decided) == 1


async def test_a_decision_that_is_refused_leaves_all_as_it_was(shop: Shop) -> None:
    _, exception_id = await uncertain(shop)
    items = [{"sku": "nobody-sells-this", "quantity": 1}]

    with pytest.raises(ItemUnknown):
        await desk_of(shop).approve(
            exception_id, Ruling("x", {"items": items, "session_id": 0}), by=by()
        )

    assert (await load(shop, exception_id)).state is ExceptionState.OPEN


async def test_an_order_without_anybody_to_decide_is_not_left(shop: Shop) -> None:
    session, exception_id = await uncertain(shop)
    desk = desk_of(shop)

    with pytest.raises(OrderUndecided):
        await desk.close(exception_id, by=by(), reason="无")
    order = await shop.order(session)
    second = await put(shop, "abnormal", "more", order_id=order.id, device_id=DEVICE)
    await desk.close(second, by=by(), reason="已处理")
    with pytest.raises(OrderUndecided):
        await desk.close(exception_id, by=by(), reason="无")
    await desk.reject(exception_id, SAID, by=by())
    third = await put(shop, "abnormal", "more", order_id=order.id)

    assert (await desk.close(third, by=by(), reason="无")).state is ExceptionState.CLOSED


async def test_a_session_without_an_order_is_decided_by_its_domain(shop: Shop) -> None:
    await shop.grant(500)
    session = await shop.visit()
    exception_id = await put(shop, "no_order", f"session:{session.id}", session_id=session.id)

    ended = await desk_of(shop).approve(exception_id, SAID, by=by())

    assert ended.state is ExceptionState.APPROVED
    assert (await shop.session(session)).state is State.NO_PURCHASE
    assert await shop.tickets() == 500


async def test_what_nobody_can_approve_is_closed(one_shop: Shop) -> None:
    exception_id = await put(one_shop, "unheard_of", "x")
    desk = Desk(one_shop.db, actions={})
    for verb in (desk.approve, desk.reject):
        with pytest.raises(NothingToApprove):
            await verb(exception_id, SAID, by=by())

    assert (await desk.close(exception_id, by=by(), reason="无")).is_decided


async def test_a_mistake_in_an_action_decides_nothing(one_shop: Shop) -> None:
    exception_id = await put(one_shop)

    def fails(tx: Tx, exception: Any, by: Any, ruling: Any) -> None:
        raise ZeroDivisionError

    desk = Desk(one_shop.db, actions={"delivery": Action(fails, fails)})
    with pytest.raises(ZeroDivisionError):
        await desk.approve(exception_id, SAID, by=by())

    assert (await load(one_shop, exception_id)).state is ExceptionState.OPEN


async def test_what_solves_itself_meanwhile_is_told_so(one_shop: Shop) -> None:
    """The machine clears it between the look and the end, and the action finds nothing to do."""
    exception_id = await put(one_shop)

    def clears(tx: Tx, exception: Any, by: Any, ruling: Any) -> None:
        store.clear_exception(tx, exception.kind, exception.subject, "gone")
        raise NothingToApprove

    def long_ago(tx: Tx, exception: Any, by: Any, ruling: Any) -> None:
        store.clear_exception(tx, exception.kind, exception.subject, "gone")
        rows = metadata.tables["cabinet_exceptions"]
        tx.execute(rows.update().values(ended_at=tx.now - 1))

    for action in (clears, long_ago):
        desk = Desk(one_shop.db, actions={"delivery": Action(action, action)})
        with pytest.raises(ExceptionDecided):
            await desk.approve(exception_id, SAID, by=by())

    # And nothing of it stays.
    assert (await load(one_shop, exception_id)).state is ExceptionState.OPEN


# ---------------------------------------------------------------- who sees what


async def test_lists_and_their_filters(shop: Shop) -> None:
    session, exception_id = await uncertain(shop)
    order = await shop.order(session)
    other = await put(shop, severity="low", store_id=2)
    ended = await put(shop, subject="parcel:9")
    await desk_of(shop).close(ended, by=by(), reason="无")

    async def ids(**wanted: Any) -> list[int]:
        total, found = await desk_of(shop).page(Wanted(**wanted), by=by(), offset=0, most=9)
        assert total == len(found)
        return [each.id for each in found]

    assert await ids() == [ended, other, exception_id]
    assert await ids(is_open=True) == [other, exception_id]
    assert await ids(is_open=False) == await ids(state="closed") == [ended]
    assert await ids(kind="uncertain") == await ids(order_id=order.id) == [exception_id]
    assert await ids(session_id=session.id) == await ids(device_id=DEVICE) == [exception_id]
    assert await ids(severity="low") == await ids(store_id=2) == [other]


async def test_staff_of_another_store_see_and_decide_nothing(shop: Shop) -> None:
    desk, exception_id = desk_of(shop), await put(shop)
    theirs = await put(shop, subject="parcel:7", store_id=2)
    nobodys = await put(shop, subject="parcel:8", store_id=None)
    stranger = by(FOREIGNER)

    total, found = await desk.page(Wanted(), by=stranger, offset=0, most=9)
    assert (total, [each.id for each in found]) == (1, [theirs])
    for hidden in (exception_id, nobodys, 99):
        for verb in (
            desk.exception(hidden, by=stranger),
            desk.take(hidden, by=stranger),
            desk.approve(hidden, SAID, by=stranger),
            desk.close(hidden, by=stranger, reason="x"),
        ):
            with pytest.raises(ExceptionNotFound):
                await verb
    assert (await desk.exception(theirs, by=stranger)).id == theirs


async def test_two_who_take_it_at_once(shop: Shop) -> None:
    desk, exception_id = desk_of(shop), await put(shop)

    outcomes = await asyncio.gather(
        *(desk.take(exception_id, by=by(who)) for who in (CLERK, BOSS)), return_exceptions=True
    )

    assert sum(isinstance(each, ExceptionTaken) for each in outcomes) == 1
