"""How it is now, for the metrics: equal to the tables."""

from collections import Counter
from typing import Any

from devices.desk.model import UNDECIDED
from devices.desk.store import raise_exception
from devices.reports import store
from devices.reports.service import Reports
from devices.sessions.model import FINAL, State
from tests.devices.orders.shop import Shop
from tests.devices.reports.conftest import busy_day


def by(rows: list[dict[str, Any]], name: str, values: set[Any] | None = None) -> dict[str, int]:
    found = Counter(row[name] for row in rows)
    return {each: n for each, n in found.items() if values is None or each in values}


async def test_gauges_equal_the_tables(shop: Shop) -> None:
    await busy_day(shop)
    await shop.visit(account_id=30, state=State.OPEN)
    await shop.db.write(
        raise_exception, "no_session", "device:1", severity="high", text="opened", device_id=1
    )

    found = await Reports(shop.db).gauges()

    orders = await shop.rows("cabinet_orders")
    unsettled: set[Any] = {"pushed", "review", "charging", "unpaid"}
    assert found.sessions == by(await shop.rows("door_sessions"), "state", set(State) - FINAL)
    assert found.sessions[State.OPEN] == 1
    assert found.orders == by(orders, "state", unsettled)
    today = [row for row in orders if row["ordered_at"] >= shop.clock.now() - 3_600_000]
    assert 0 < len(today) < len(orders)
    assert found.ordered == by(today, "state")
    assert found.attempts == by(await shop.rows("payment_attempts"), "state") != {}
    waiting = [row for row in await shop.rows("cabinet_exceptions") if row["state"] in UNDECIDED]
    assert found.exceptions == by(waiting, "kind") != {}
    assert found.links == by(await shop.rows("devices"), "link")


async def test_of_attempts_only_the_latest_count(shop: Shop, monkeypatch: Any) -> None:
    await busy_day(shop)
    attempts = await shop.rows("payment_attempts")
    monkeypatch.setattr(store, "ATTEMPTS", len(attempts) - 1)

    found = await Reports(shop.db).gauges()

    assert sum(found.attempts.values()) == len(attempts) - 1
