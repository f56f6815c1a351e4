"""Sales: written once a step, cut into batches once, sent until the ERP has them."""

import asyncio
from typing import Any

import pytest

from accounts.messages import Dead, Delivered, Retry
from commerce.sales import store
from commerce.sales.model import Batch, BatchNotFound, PaidBy, SaleLine
from commerce.sales.service import Sales
from simulators.erp import ErpFault
from sql.alerts import open_alerts
from tests.commerce.conftest import Shop

TODAY = 20261120


def line(sku: str = "SKU-1001", quantity: int = 1, fen: int = 200, **more: int) -> SaleLine:
    return SaleLine(sku, f"good {sku}", quantity, fen, more.get("tickets", 0))


async def sell(
    shop: Shop, number: str, *lines: SaleLine, step: str = "pay", paid_by: PaidBy = "wechat"
) -> None:
    await shop.db.write(
        store.record_sale,
        biz="cabinet",
        biz_no=number,
        step=step,
        store_code="S-1",
        device_code="D-1",
        paid_by=paid_by,
        lines=lines or (line(),),
    )


async def tomorrow(shop: Shop) -> list[Batch]:
    """After midnight: the batches that were cut."""
    shop.clock.advance(days=1)
    return await shop.sales.cut()


def received(shop: Shop) -> dict[str, Any]:
    return shop.sim.books.totals()


# ---------------------------------------------------------------- the history


async def test_a_step_is_written_once_and_a_refund_with_minus_signs(shop: Shop) -> None:
    for _ in range(2):
        await sell(shop, "A", line(), line("SKU-1002", 2, 600))
    await sell(shop, "A", line("SKU-1002", -1, -300), step="refund-1")
    await sell(shop, "B", line(fen=200, tickets=1000), paid_by="ticket")
    await shop.db.write(
        store.record_sale,
        biz="cabinet",
        biz_no="C",
        step="pay",
        store_code="",
        device_code="",
        paid_by="wechat",
        lines=(),
    )

    totals = await shop.sales.totals(TODAY)
    assert (totals.lines, totals.amount_fen, totals.tickets) == (4, 700, 1000)
    assert (totals.sent_lines, totals.sent_fen, totals.sent_tickets) == (0, 0, 0)
    empty = await shop.sales.totals(20260101)
    assert (empty.lines, empty.amount_fen, empty.tickets) == (0, 0, 0)


# ---------------------------------------------------------------- batches


async def test_a_days_sales_are_cut_once_and_todays_wait(shop: Shop) -> None:
    for number in range(5):
        await sell(shop, f"A{number}")
    assert await shop.sales.cut() == []
    shop.clock.advance(days=1)
    await sell(shop, "B")
    made = await shop.db.write(store.cut_batches, most=2)
    again = await shop.sales.cut()

    assert [(b.batch_no, b.lines, b.amount_fen) for b in made] == [
        ("S20261120-0001", 2, 400),
        ("S20261120-0002", 2, 400),
        ("S20261120-0003", 1, 200),
    ]
    assert again == []
    (later,) = await tomorrow(shop)
    assert (later.batch_no, later.lines) == ("S20261121-0001", 1)
    total, page = await shop.sales.batches(state="waiting", day=TODAY, offset=1, most=1)
    assert (total, [b.batch_no for b in page]) == (3, ["S20261120-0002"])
    assert (await shop.sales.batches(state=None, day=0, offset=0, most=9))[0] == 4
    batch, lines = await shop.sales.batch(made[0].id)
    assert (batch, [sale.biz_no for sale in lines]) == (made[0], ["A0", "A1"])
    with pytest.raises(BatchNotFound):
        await shop.sales.batch(99)


async def test_two_processes_that_cut_at_once_cut_once(shop: Shop) -> None:
    for number in range(20):
        await sell(shop, f"A{number}")
    shop.clock.advance(days=1)

    made = await asyncio.gather(*(shop.sales.cut() for _ in range(4)))

    assert sum(len(each) for each in made) == 1
    await shop.outbox.deliver_due()
    assert received(shop)["2026-11-20"]["lines"] == 20


async def test_what_was_paid_is_what_the_erp_has(shop: Shop) -> None:
    await sell(shop, "A", line(), line("SKU-1002", 2, 600))
    await sell(shop, "B", line(fen=200, tickets=1000), paid_by="ticket")
    await sell(shop, "A", line("SKU-1002", -1, -300), step="refund-1")
    (batch,) = await tomorrow(shop)
    await shop.outbox.deliver_due()

    assert received(shop) == {
        "2026-11-20": {
            "lines": 4,
            "amount_fen": 700,
            "tickets": 1000,
            "wechat_fen": 500,
            "ticket_fen": 200,
        }
    }
    totals = await shop.sales.totals(TODAY)
    assert (totals.sent_lines, totals.sent_fen, totals.sent_tickets) == (4, 700, 1000)
    sent, _ = await shop.sales.batch(batch.id)
    assert (sent.state, sent.erp_no) == ("sent", "E00000001")
    assert await shop.sales.send({"batch_id": batch.id}) == Delivered()
    assert len(shop.sim.calls) == 1


@pytest.mark.parametrize(
    "fault",
    [
        ErpFault("sales", "drop"),
        ErpFault("sales", "drop", is_done=True),
        ErpFault("sales", "http_502", is_done=True),
        ErpFault("sales", "nonsense", is_done=True),
        ErpFault("sales", "busy"),
        ErpFault("sales", "unauthorised"),
    ],
    ids=lambda fault: f"{fault.kind}-{fault.is_done}",
)
async def test_a_broken_run_resumes_with_the_same_content(one_shop: Shop, fault: ErpFault) -> None:
    shop = one_shop
    for number in range(3):
        await sell(shop, f"A{number}")
    shop.clock.advance(days=1)
    await shop.db.write(store.cut_batches, most=1)
    shop.sim.faults.add(ErpFault(fault.endpoint, fault.kind, times=2, is_done=fault.is_done))

    await shop.outbox.deliver_due()
    halfway = len(shop.sim.batches)
    for _ in range(4):
        shop.clock.advance(minutes=1)
        await shop.outbox.deliver_due()

    assert halfway == (3 if fault.is_done else 1)
    assert received(shop)["2026-11-20"]["amount_fen"] == 600
    assert (await shop.sales.totals(TODAY)).sent_lines == 3
    assert len(shop.sim.batches) == 3
    assert await shop.db.read(open_alerts) == []


async def test_a_batch_the_erp_refuses_is_told_of_and_tried_again(one_shop: Shop) -> None:
    shop = one_shop
    await sell(shop, "A", line(fen=200, tickets=1), paid_by="ticket")
    (batch,) = await tomorrow(shop)
    outcome = await shop.sales.send({"batch_id": batch.id})
    (alert,) = await shop.db.read(open_alerts)

    assert isinstance(outcome, Retry)
    assert "batch.line" in outcome.reason
    assert (alert.kind, alert.subject) == ("sales.refused", batch.batch_no)
    assert (await shop.sales.batch(batch.id))[0].state == "waiting"

    shop.sim.faults.add(ErpFault("sales", "unauthorised"))
    await sell(shop, "B")
    (other,) = await tomorrow(shop)
    await shop.sales.send({"batch_id": other.id})
    assert len(await shop.db.read(open_alerts)) == 2
    assert await shop.sales.send({"batch_id": other.id}) == Delivered()
    assert [a.subject for a in await shop.db.read(open_alerts)] == [batch.batch_no]


async def test_a_parcel_of_nothing_is_dead_and_without_an_erp_it_waits(one_shop: Shop) -> None:
    await sell(one_shop, "A")
    (batch,) = await tomorrow(one_shop)
    nobody = Sales(one_shop.db, None)

    assert await nobody.send({"batch_id": batch.id}) == Retry("no ERP is set up")
    assert await nobody.send({"batch_id": 99}) == Dead("no batch 99")
