"""Those who must look are told of it, and say when they have."""

from typing import Any

import pytest

from payments.ledger.store import BOOKS
from sql.alerts import raise_alert
from tests.money.desk import PRICE_FEN, Desk

REASON = {"reason": "compared with WeChat's platform: an attack"}


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    """The queries are tried on both in tests/accounts/alerts."""
    return sqlite_url


async def items(desk: Desk, path: str, **by: str) -> list[dict[str, Any]]:
    answer = await desk.ask("GET", f"/admin/{path}", **({"by": "admin-li"} | by))
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["items"]
    return found


async def mismatch(desk: Desk) -> str:
    """WeChat's notice names another amount than was asked for."""
    order = await desk.order(3)
    desk.spoil("notify.pay", "tampered_amount")
    await desk.scan(order["code_url"])
    return str(order["out_trade_no"])


async def test_a_wrong_amount_is_told_looked_at_and_cleared(desk: Desk) -> None:
    number = await mismatch(desk)

    (alert,) = await items(desk, "alerts")
    (incident,) = await items(desk, "incidents?kind=payment.mismatch")
    cleared = await desk.ask("POST", f"/admin/alerts/{alert['id']}/clear", REASON, by="admin-li")

    assert (alert["kind"], alert["cleared_at"], alert["clearable"]) == (
        "payment.mismatch", None, True
    )  # fmt: skip
    assert alert["subject"].startswith(number)
    assert incident["subject"] == number
    assert f'"amount_fen":{3 * PRICE_FEN + 1}' in incident["raw"]
    assert '"openid":"o-so…"' in incident["raw"]
    assert (cleared.status_code, cleared.json()["clearable"]) == (200, False)
    assert await items(desk, "alerts") == []
    assert await items(desk, "alerts?open=false&kind=payment.mismatch") == [cleared.json()]
    rows = await desk.rows()
    last = rows["staff_audit"][-1]
    assert ("alert.clear", f"alert:{alert['id']}", REASON["reason"]) == (last[5], last[6], last[9])


async def test_while_the_books_are_wrong_nobody_says_that_they_are_well(desk: Desk) -> None:
    # The check that is due now finds all well.
    await desk.app.jobs.stop()
    order = await desk.order(3)
    await desk.app.db.write(raise_alert, BOOKS, "I6 asset CNY", "all accounts hold 1")
    (alert,) = await items(desk, f"alerts?kind={BOOKS}")

    refused = await desk.ask("POST", f"/admin/alerts/{alert['id']}/clear", REASON, by="admin-li")

    assert (refused.status_code, refused.json()["code"]) == (409, "alerts.watched")
    assert not alert["clearable"]
    stopped = await desk.renew()
    assert (stopped.status_code, stopped.json()["code"]) == (503, "payments.stopped")
    assert await desk.app.books.check() == []
    assert await items(desk, "alerts") == []
    await desk.scan(order["code_url"])
    await desk.agree()


@pytest.mark.parametrize("body", [{}, {"reason": ""}, {"reason": " "}, {"reason": "x" * 201}])
async def test_nothing_is_cleared_without_a_reason(desk: Desk, body: dict[str, str]) -> None:
    await mismatch(desk)
    (alert,) = await items(desk, "alerts")

    refused = await desk.ask("POST", f"/admin/alerts/{alert['id']}/clear", body, by="admin-li")

    assert (refused.status_code, refused.json()["code"]) == (400, "body.invalid")
    assert await items(desk, "alerts") == [alert]
