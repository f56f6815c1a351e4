"""A buyer complains, with pictures; somebody sends money back or refuses; the buyer is told."""

import asyncio
import io
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from devices.desk.complaints import store
from devices.desk.complaints.store import Wanted
from devices.desk.model import (
    ComplaintNotFound,
    ComplaintOpen,
    ComplaintResolved,
    ComplaintState,
    OrderNotYours,
    TooManyPictures,
)
from devices.orders.model import NotPaidYet, Order, TooMuchBack
from devices.orders.rows import store as rows
from queueing.stalls.model import BadPicture
from sql.idempotency import KeyReused
from tests.devices.desk.conftest import complaints_of
from tests.devices.orders.shop import BOSS, BUYER, CLERK, FOREIGNER, OTHER, Shop, by

COLAS = {"cola": 2}


def picture(kind: str = "PNG", colour: int = 1) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (40, 30), (colour, 2, 3)).save(out, kind)
    return out.getvalue()


async def bought(shop: Shop) -> Order:
    await shop.grant(10_000)
    session = await shop.visit()
    await shop.told(session, COLAS)
    return await shop.order(session)


async def complain(shop: Shop, folder: Path, order: Order, **values: Any) -> Any:
    given = {"text": "可乐是坏的", "pictures": (), "key": "", **values}
    who = given.pop("who", BUYER)
    return await complaints_of(shop, folder).complain(order.id, who, **given)


async def resolve(shop: Shop, folder: Path, complaint_id: int, **values: Any) -> Any:
    given = {"refund_fen": 0, "reason": "已核实", "by": by(), **values}
    return await complaints_of(shop, folder).resolve(complaint_id, **given)


async def test_with_pictures_drawn_anew(shop: Shop, tmp_path: Path) -> None:
    order = await bought(shop)
    data = [picture("PNG", 1), picture("JPEG", 2), picture("WEBP", 3)]

    made = await complain(shop, tmp_path, order, pictures=data)

    assert (made.state, made.order_id, len(made.pictures)) == (ComplaintState.OPEN, order.id, 3)
    desk = complaints_of(shop, tmp_path)
    for n in (1, 2, 3):
        name, kept = await desk.own_picture(made.id, BUYER, n)
        assert kept not in data
        assert Image.open(io.BytesIO(kept)).size == (40, 30)
        assert (name, kept) == await desk.picture(made.id, n, by=by())
    for refused in (
        desk.own_picture(made.id, OTHER, 1),
        desk.own_picture(made.id, BUYER, 4),
        desk.picture(made.id, 1, by=by(FOREIGNER)),
        desk.picture(99, 1, by=by()),
    ):
        with pytest.raises(ComplaintNotFound):
            await refused
    (tmp_path / made.pictures[0]).unlink()
    with pytest.raises(ComplaintNotFound):
        await desk.own_picture(made.id, BUYER, 1)


async def test_one_open_an_order_whoever_is_fast(shop: Shop, tmp_path: Path) -> None:
    order = await bought(shop)

    outcomes = await asyncio.gather(
        *(complain(shop, tmp_path, order, text=f"{n}") for n in range(6)), return_exceptions=True
    )

    assert sum(not isinstance(each, Exception) for each in outcomes) == 1
    assert sum(isinstance(each, ComplaintOpen) for each in outcomes) == 5
    with pytest.raises(ComplaintOpen):
        await complain(shop, tmp_path, order)


async def test_a_key_complains_once(shop: Shop, tmp_path: Path) -> None:
    order = await bought(shop)

    first = await complain(shop, tmp_path, order, key="k", pictures=[picture()])
    again = await complain(shop, tmp_path, order, key="k", pictures=[picture()])

    assert again == first
    with pytest.raises(KeyReused):
        await complain(shop, tmp_path, order, key="k", text="其他")


async def test_only_of_ones_own_order_with_few_good_pictures(
    one_shop: Shop, tmp_path: Path
) -> None:
    order = await bought(one_shop)

    with pytest.raises(OrderNotYours):
        await complain(one_shop, tmp_path, order, who=OTHER)
    with pytest.raises(TooManyPictures):
        await complain(one_shop, tmp_path, order, pictures=[picture()] * 7)
    with pytest.raises(BadPicture):
        await complain(one_shop, tmp_path, order, pictures=[picture(), b"<script>"])

    desk = complaints_of(one_shop, tmp_path)
    assert await desk.of_order(order.id, BUYER) == []
    with pytest.raises(OrderNotYours):
        await desk.of_order(order.id, OTHER)


async def test_resolved_with_money_back_and_the_buyer_is_told(shop: Shop, tmp_path: Path) -> None:
    order = await bought(shop)
    made = await complain(shop, tmp_path, order)
    before = await shop.tickets()

    ended = await resolve(shop, tmp_path, made.id, refund_fen=350)

    assert (ended.state, ended.refund_fen, ended.resolved_by) == (
        ComplaintState.REFUNDED,
        350,
        CLERK,
    )
    assert await shop.tickets() == before + 350 * 5
    told = [row for row in await shop.rows("events") if row["name"] == "complaint.resolved"]
    assert len(told) == 1
    assert "已核实" in told[0]["data"]
    with pytest.raises(ComplaintResolved):
        await resolve(shop, tmp_path, made.id, refund_fen=1)
    # And another one may be made.
    assert (await complain(shop, tmp_path, order, text="还有")).id != made.id


async def test_refused_with_a_reason(shop: Shop, tmp_path: Path) -> None:
    order = await bought(shop)
    made = await complain(shop, tmp_path, order)

    ended = await resolve(shop, tmp_path, made.id, reason="录像显示完好")

    assert (ended.state, ended.resolution) == (ComplaintState.REFUSED, "录像显示完好")
    assert await shop.tickets() == 10_000 - 700 * 5
    audit = [line["action"] for line in await shop.rows("staff_audit")]
    assert audit == ["complaint.refused"]


async def test_two_who_resolve_it_at_once_send_back_once(shop: Shop, tmp_path: Path) -> None:
    order = await bought(shop)
    made = await complain(shop, tmp_path, order)

    outcomes = await asyncio.gather(
        resolve(shop, tmp_path, made.id, refund_fen=100),
        resolve(shop, tmp_path, made.id, refund_fen=200, by=by(BOSS)),
        resolve(shop, tmp_path, made.id, by=by(BOSS)),
        return_exceptions=True,
    )

    done = [each for each in outcomes if not isinstance(each, BaseException)]
    assert len(done) == 1
    assert sum(isinstance(each, ComplaintResolved) for each in outcomes) == 2
    assert (await shop.order(await shop.session_of(order))).refunded_fen == done[0].refund_fen


async def test_what_cannot_go_back_resolves_nothing(shop: Shop, tmp_path: Path) -> None:
    order = await bought(shop)
    made = await complain(shop, tmp_path, order)
    with pytest.raises(TooMuchBack):
        await resolve(shop, tmp_path, made.id, refund_fen=701)
    session = await shop.visit(account_id=OTHER, hold=0)
    await shop.told(session, COLAS)
    unpaid = await shop.order(session)
    theirs = await complain(shop, tmp_path, unpaid, who=OTHER)
    with pytest.raises(NotPaidYet):
        await resolve(shop, tmp_path, theirs.id, refund_fen=1)

    desk = complaints_of(shop, tmp_path)
    assert (await desk.complaint(made.id, by=by())).state is ComplaintState.OPEN


async def test_of_an_order_whose_rest_was_waived_what_was_paid_goes_back(
    one_shop: Shop, tmp_path: Path
) -> None:
    await one_shop.grant(500)
    session = await one_shop.visit()
    await one_shop.told(session, COLAS)
    order = await one_shop.order(session)
    made = await complain(one_shop, tmp_path, order)
    await one_shop.orders.waive(order.id, reason="ours", by=by())

    ended = await resolve(one_shop, tmp_path, made.id, refund_fen=100)

    assert ended.state is ComplaintState.REFUNDED
    order = await one_shop.order(session)
    assert (order.due_fen, order.net_fen) == (0, 0)
    assert await one_shop.tickets() == 500


async def test_lists_by_the_stores_one_sees(one_shop: Shop, tmp_path: Path) -> None:
    order = await bought(one_shop)
    made = await complain(one_shop, tmp_path, order)
    desk = complaints_of(one_shop, tmp_path)

    async def ids(who: int = CLERK, **wanted: Any) -> list[int]:
        total, found = await desk.page(Wanted(**wanted), by=by(who), offset=0, most=9)
        assert total == len(found)
        return [each.id for each in found]

    assert await ids() == await ids(state="open") == await ids(store_id=1) == [made.id]
    assert await ids(order_id=order.id) == await ids(account_id=BUYER) == [made.id]
    assert await ids(state="refused") == await ids(FOREIGNER) == await ids(order_id=99) == []
    with pytest.raises(ComplaintNotFound):
        await desk.complaint(made.id, by=by(FOREIGNER))
    with pytest.raises(ComplaintNotFound):
        await resolve(one_shop, tmp_path, made.id, by=by(FOREIGNER))


async def test_decided_between_the_look_and_the_end(
    one_shop: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On SQLite writers come one after another; the guard of the row is tried by hand."""
    made = await complain(one_shop, tmp_path, await bought(one_shop))
    await resolve(one_shop, tmp_path, made.id)
    with monkeypatch.context() as patch:
        patch.setattr(store, "seen", lambda tx, complaint_id, by: made)
        with pytest.raises(ComplaintResolved):
            await resolve(one_shop, tmp_path, made.id)

    # And two who complain at once meet at the unique key.
    order = await one_shop.db.read(rows.load, made.order_id)
    await complain(one_shop, tmp_path, order)
    monkeypatch.setattr(store, "see_none_open", lambda tx, order_id, account_id: None)
    with pytest.raises(ComplaintOpen):
        await complain(one_shop, tmp_path, order)
