"""What crosses a threshold is one alert, as long as it does."""

from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from sqlalchemy import insert, update

from devices.desk.store import clear_exception, raise_exception
from devices.inbox.refusals import store as refusals
from devices.reports.model import Thresholds
from devices.reports.rules.store import KINDS
from devices.reports.service import Reports
from sql.alerts import last_alerts, open_alerts, raise_alert
from sql.database import Tx
from sql.outbox import enqueue
from sql.tables import metadata
from sql.tables.devices import cabinet_orders, callback_inbox, complaints, devices, door_sessions
from sql.tables.payments import payment_attempts
from tests.devices.orders.shop import Shop

STRICT = Thresholds(
    payments_least=4,
    devices_least=1,
    callbacks_failed=3,
    callbacks_forged=3,
    account_openings=5,
    account_unfinished=3,
    account_complaints=2,
)


def filled(table: Any, **values: Any) -> dict[str, Any]:
    """A row in which all that matters is set, and the rest is what it may be."""
    row = {
        column.name: None
        if column.nullable
        else 0
        if column.type.python_type is int
        else b""
        if column.type.python_type is bytes
        else ""
        for column in table.columns
        if column.name != "id"
    }
    return {**row, **values}


def execute(tx: Tx, statement: Any) -> None:
    tx.execute(statement)


async def put(shop: Shop, table: Any, **values: Any) -> None:
    await shop.db.write(execute, insert(table).values(filled(table, **values)))


async def change(shop: Shop, table: Any, **values: Any) -> None:
    await shop.db.write(execute, update(table).values(values))


async def watch(shop: Shop, limits: Thresholds = STRICT) -> list[tuple[str, str]]:
    await Reports(shop.db, thresholds=limits).watch()
    found = await shop.db.read(open_alerts)
    return sorted((each.kind, each.subject) for each in found if each.kind in KINDS)


async def test_all_is_well(shop: Shop) -> None:
    assert await watch(shop, Thresholds()) == []
    assert await Reports(shop.db).watch() == "0 hold"


async def test_an_alert_is_raised_once_and_cleared(shop: Shop) -> None:
    await change(shop, devices, link="offline")

    for _ in range(3):
        assert await watch(shop) == [("system.offline", "devices")]
    (alert,) = await shop.db.read(last_alerts)
    assert alert.text == "1 of 1 devices are offline"
    await change(shop, devices, link="online")

    assert await watch(shop) == []
    (alert,) = await shop.db.read(last_alerts)
    assert alert.cleared_at is not None


async def test_few_devices_are_no_share(one_shop: Shop) -> None:
    await change(one_shop, devices, link="offline")

    assert await watch(one_shop, Thresholds()) == []


async def test_callbacks_that_fail(shop: Shop) -> None:
    for n, state in enumerate(("quarantined", "dead", "done", "dead")):
        values = {"vendor": "xiaomai", "event_id": f"e{n}", "received_at": shop.clock.now()}
        await put(shop, callback_inbox, state=state, **values)

    assert await watch(shop) == [("system.callbacks", "xiaomai")]
    assert await watch(shop, msgspec.structs.replace(STRICT, callbacks_failed=4)) == []
    assert await watch(shop) == [("system.callbacks", "xiaomai")]
    shop.clock.advance(hours=2)
    assert await watch(shop) == []


async def test_parcels_that_lie(shop: Shop) -> None:
    await shop.db.write(enqueue, "cabinet.confirm", {})
    assert await watch(shop) == []

    shop.clock.advance(minutes=11)

    assert await watch(shop) == [("system.outbox", "cabinet.confirm")]
    await change(shop, metadata.tables["outbox"], state="done")
    assert await watch(shop) == []


async def test_payments_that_fail(shop: Shop) -> None:
    for n, state in enumerate(("success", "success", "failed", "closed", "closed")):
        values = {"out_trade_no": f"n{n}", "trade_type": "JSAPI", "amount_fen": 1}
        await put(shop, payment_attempts, state=state, ended_at=shop.clock.now(), **values)
    assert await watch(shop) == []

    await put(shop, payment_attempts, out_trade_no="n9", trade_type="JSAPI", amount_fen=1,
              state="failed", ended_at=shop.clock.now())  # fmt: skip

    assert await watch(shop) == [("business.payments", "attempts")]
    lenient = msgspec.structs.replace(STRICT, payments_success_permille=500)
    assert await watch(shop, lenient) == []
    # Rows made by hand are no books.
    await shop.execute("DELETE FROM payment_attempts")


async def test_orders_that_stay_unpaid(shop: Shop) -> None:
    for n, state in enumerate(("paid", "unpaid", "unpaid", "unpaid", "empty")):
        values = {"no": f"C{n}", "vendor": "v", "kind": "normal", "lines": "[]"}
        await put(shop, cabinet_orders, state=state, ordered_at=shop.clock.now(), **values)

    assert await watch(shop) == [("business.payments", "cabinet orders")]
    await shop.execute("DELETE FROM cabinet_orders")


async def test_what_nobody_decides(shop: Shop) -> None:
    await shop.db.write(raise_exception, "offline", "d", severity="low", text="t")
    assert await watch(shop) == []

    shop.clock.advance(hours=25)

    assert await watch(shop) == [("business.exceptions", "desk")]
    await shop.db.write(clear_exception, "offline", "d", "well")
    assert await watch(shop) == []


async def test_callbacks_that_are_forged(shop: Shop) -> None:
    signature, replay = "callback.signature", "callback.replay"
    await shop.db.write(refusals.add, {("xiaomai", signature): 1, ("maker", signature): 2})
    assert await watch(shop) == []

    shop.clock.advance(minutes=15)
    await shop.db.write(refusals.add, {("xiaomai", signature): 1, ("xiaomai", replay): 1})

    assert await watch(shop) == [("security.callbacks", "xiaomai")]
    (alert,) = await shop.db.read(open_alerts)
    assert alert.text == "1 callback.replay, 2 callback.signature in 60 min"
    # What was the most is forgotten by tens of minutes.
    shop.clock.advance(minutes=55)
    assert await watch(shop) == []


async def test_however_many_are_forged_there_is_one_row_of_them(shop: Shop) -> None:
    for _ in range(30):
        await shop.db.write(refusals.add, {("a-long-name-of-16", "callback.signature"): 50_000})
        shop.clock.advance(minutes=10)

    (row,) = await shop.rows("sync_cursors")
    assert len(row["cursor"].split()) == 7
    assert len(row["cursor"]) < 200
    assert await watch(shop) == [("security.callbacks", "a-long-name-of-16")]
    shop.clock.advance(hours=2)
    assert await watch(shop) == []


def visits(count: int, state: str, account_id: int = 7) -> Callable[[Shop], Any]:
    async def put_all(shop: Shop) -> None:
        for n in range(count):
            mark = f"{state}{account_id}-{n}"
            values = {"no": mark, "request_id": mark, "once_key": mark, "purpose": "shop"}
            times = {"requested_at": shop.clock.now()}
            await put(shop, door_sessions, account_id=account_id, state=state, prices="{}",
                      **values, **times)  # fmt: skip

    return put_all


@pytest.mark.parametrize(
    ("does", "text"),
    [
        (visits(5, "paid"), "5 openings"),
        (visits(3, "no_purchase"), "3 openings for nothing"),
        (visits(5, "abnormal"), "5 openings, 5 openings for nothing"),
    ],
)
async def test_who_opens_much_more_than_people_do(
    one_shop: Shop, does: Callable[[Shop], Any], text: str
) -> None:
    await does(one_shop)
    await visits(2, "paid", account_id=8)(one_shop)

    assert await watch(one_shop) == [("security.account", "account:7")]
    (alert,) = await one_shop.db.read(open_alerts, "security.account")
    assert alert.text == text
    await one_shop.execute("DELETE FROM door_sessions")


async def test_who_complains_much_more_than_people_do(shop: Shop) -> None:
    for n in range(2):
        await put(shop, complaints, order_id=n, account_id=7, pictures="[]", state="refused",
                  created_at=shop.clock.now())  # fmt: skip

    assert await watch(shop) == [("security.account", "account:7")]
    shop.clock.advance(days=8)
    assert await watch(shop) == []


async def test_alerts_of_others_are_left_alone(one_shop: Shop) -> None:
    await one_shop.db.write(raise_alert, "books.other", "x", "y")

    assert await watch(one_shop) == []

    assert [each.kind for each in await one_shop.db.read(open_alerts)] == ["books.other"]
