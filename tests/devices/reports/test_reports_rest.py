"""Statistics and reports over REST, as the console asks for them."""

from typing import Any

import pytest

from devices.reports.service import Reports
from tests.devices.fleet.maker import Office
from tests.devices.orders.shop import Shop
from tests.devices.reports.conftest import busy_day


async def get(office: Office, path: str, token: str = "boss") -> Any:
    answer = await office.ask("GET", path, token=token)
    assert answer.status == 200, answer.body
    return answer.json


async def test_sales_of_days(one_shop: Shop, office: Office) -> None:
    await busy_day(one_shop)

    today = await get(office, "/admin/statistics/sales")
    both = await get(office, "/admin/statistics/sales?from=2026-11-20&to=2026-11-21")
    grouped = await get(
        office, "/admin/statistics/sales?from=2026-11-20&group_by=payment,store,store"
    )

    assert [row["day"] for row in today["rows"]] == ["2026-11-21"]
    assert [row["day"] for row in both["rows"]] == ["2026-11-20", "2026-11-21"]
    assert both["total"]["orders"] == 6
    assert both["total"]["day"] is None
    assert [(row["store_id"], row["pay_with"]) for row in grouped["rows"]] == [
        (1, "ticket"),
        (1, "wechat"),
    ]
    empty = await get(office, "/admin/statistics/sales?to=2026-11-20&group_by=&pay_with=wechat")
    assert (empty["rows"], empty["total"]["orders"]) == ([], 1)
    assert (await get(office, "/admin/statistics/sales", "foreigner"))["rows"] == []


@pytest.mark.parametrize(
    "query",
    [
        "from=2026-11-21&to=2026-11-20",
        "from=2024-01-01&to=2026-11-20",
        "from=2026-02-30",
        "from=yesterday",
        "group_by=person",
        "pay_with=cash",
        "store_id=-1",
    ],
)
async def test_questions_that_are_none(office: Office, query: str) -> None:
    answer = await office.ask("GET", f"/admin/statistics/sales?{query}")

    assert (answer.status, answer.json["code"]) == (400, "query.invalid")


async def test_reports_and_their_spreadsheets(one_shop: Shop, office: Office) -> None:
    await busy_day(one_shop)
    await Reports(one_shop.db).make_daily()

    listed = await get(office, "/admin/reports?day=2026-11-20&kind=operation")
    (shown,) = listed["items"]
    assert (shown["kind"], shown["day"]) == ("operation", "2026-11-20")
    whole = await get(office, f"/admin/reports/{shown['id']}")
    assert whole["body"]["sales"]["orders"] == 4
    assert (await get(office, "/admin/reports"))["total"] == 21
    sheet = await office.ask("GET", f"/admin/reports/{shown['id']}/report.xlsx", token="finance")
    assert (sheet.status, sheet.body[:2]) == (200, b"PK")
    assert "operation-20261120.xlsx" in sheet.header("content-disposition")
    line = (await one_shop.rows("staff_audit"))[-1]
    assert (line["action"], line["subject"]) == ("report.export", f"report:{shown['id']}")
    missing = await office.ask("GET", "/admin/reports/999")
    assert (missing.status, missing.json["code"]) == (404, "reports.not_found")
    kept = await office.ask("GET", "/admin/reports", token="foreigner")
    assert (kept.status, kept.json["code"]) == (403, "reports.of_all_stores")
    for token in ("support", "buyer"):
        assert (await office.ask("GET", "/admin/reports", token=token)).status == 403
    assert (await office.ask("GET", "/admin/reports?day=2026-13-01")).status == 400
