"""Reports of a day: their figures equal the tables, they are made once, and a spreadsheet runs
nothing."""

import io
import zipfile
from collections import Counter
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from sqlalchemy import insert

from devices.desk.store import raise_exception
from devices.reports import store
from devices.reports.model import Report, ReportKind, ReportNotFound, ReportsOfAll
from devices.reports.service import Reports
from devices.reports.sheet import as_xlsx
from devices.reports.statistics.store import Wanted, sales_of
from payments.model import day_bounds
from sql.alerts import raise_alert
from sql.outbox import enqueue
from sql.tables.core import job_runs
from tests.devices.desk.conftest import complaints_of
from tests.devices.desk.test_complaints import resolve
from tests.devices.orders.shop import FOREIGNER, Shop, by
from tests.devices.reports.conftest import busy_day
from tests.devices.reports.test_rules import execute

DAY = 20261120


async def bodies(shop: Shop) -> dict[str, dict[str, Any]]:
    """The reports of the first day, made the morning after."""
    reports = Reports(shop.db)
    await reports.make_daily()
    _, found = await reports.page(kind="", day=DAY, by=by(), offset=0, most=9)
    return {each.kind: dict(each.body) for each in found}


async def test_the_operation_report_equals_the_queries(shop: Shop) -> None:
    await busy_day(shop)
    begins, ends = day_bounds(DAY)

    body = (await bodies(shop))["operation"]

    wanted = Wanted(from_at=begins, before_at=ends)
    totals = await shop.db.read(sales_of, wanted, ())
    assert body["sales"]["net_fen"] == totals.total.net_fen
    assert body["sales"]["orders"] == totals.total.orders == 4
    for name, group, column in (
        ("by_store", "store", "store_id"),
        ("by_payment", "payment", "pay_with"),
        ("by_device", "device", "device_id"),
    ):
        grouped = await shop.db.read(sales_of, wanted, (group,))  # type: ignore[arg-type]
        assert [(row[column], row["paid_fen"]) for row in body[name]] == [
            (getattr(row, column), row.paid_fen) for row in grouped.rows
        ]
    sold: Counter[str] = Counter()
    for line in await shop.rows("sales"):
        if line["day"] == DAY:
            sold[line["sku"]] += line["amount_fen"]
    assert {good["sku"]: good["amount_fen"] for good in body["goods"]} == dict(sold)
    sessions = Counter(
        row["state"]
        for row in await shop.rows("door_sessions")
        if begins <= row["requested_at"] < ends
    )
    assert body["sessions"] == dict(sessions)
    assert body["purposes"] == {"shop": 5}


async def test_the_exception_report_equals_the_tables(shop: Shop, tmp_path: Any) -> None:
    await busy_day(shop)
    order = next(row for row in await shop.rows("cabinet_orders") if row["paid_fen"])
    owner = order["account_id"]
    desk = complaints_of(shop, tmp_path)
    made = await desk.complain(order["id"], owner, text="坏的", pictures=(), key="")
    await resolve(shop, tmp_path, made.id, refund_fen=100)
    shop.clock.advance(days=1)
    reports = Reports(shop.db)
    await reports.make_daily()

    _, (report,) = await reports.page(kind="exception", day=DAY + 1, by=by(), offset=0, most=9)

    body = report.body
    raised = Counter(
        row["kind"]
        for row in await shop.rows("cabinet_exceptions")
        if day_bounds(DAY + 1)[0] <= row["raised_at"]
    )
    assert body["raised"] == dict(raised) == {"uncertain": 1}
    assert body["waiting"] == {"uncertain": 1}
    assert body["oldest"]["raised_at"] is not None
    assert body["complaints"] == {"opened": 1, "refunded": 1, "refund_fen": 100}


async def test_the_health_report_equals_the_tables(one_shop: Shop) -> None:
    await busy_day(one_shop)
    await one_shop.db.write(raise_alert, "system.offline", "devices", "x")
    await one_shop.db.write(enqueue, "later", {})
    run = {"job": "x", "runner": "r", "due_at": 0, "started_at": one_shop.clock.now()}
    for error in ("", "failed"):
        row = {**run, "finished_at": None, "result": "", "error": error}
        await one_shop.db.write(execute, insert(job_runs).values(row))
    one_shop.clock.advance(seconds=90)

    body = await one_shop.db.read(store.make, ReportKind.HEALTH, DAY + 1)

    assert body["devices"] == {"online": 1}
    assert body["locked"] == {}
    assert body["outbox"]["oldest_age_s"] >= 90
    assert body["outbox"]["waiting"] >= 1
    assert body["jobs"] == {"runs": 2, "failed": 1}
    assert body["alerts"]["system.offline"] == body["alerts_open"]["system.offline"] == 1
    first = await one_shop.db.read(store.make, ReportKind.HEALTH, DAY)
    assert first["payments"] == {"success": 1, "success_permille": 1000}
    assert (await one_shop.db.read(store.make, ReportKind.HEALTH, DAY - 9))["payments"] == {
        "success_permille": None
    }
    empty = await one_shop.db.read(store.make, ReportKind.OPERATION, DAY - 9)
    assert (empty["goods"], empty["sales"]["orders"]) == ([], 0)


async def test_made_once_and_missed_days_are_made_up_for(one_shop: Shop) -> None:
    reports = Reports(one_shop.db)

    assert await reports.make_daily() == "21 reports"
    assert await reports.make_daily() == "0 reports"
    one_shop.clock.advance(days=2)
    assert await reports.make_daily() == "6 reports"
    await one_shop.db.write(store.keep, ReportKind.HEALTH, DAY, {"other": {}})

    total, found = await reports.page(kind="health", day=0, by=by(), offset=0, most=3)
    assert (total, [each.day for each in found]) == (9, [20261121, 20261120, 20261119])
    assert "other" not in found[1].body


async def test_reports_are_of_all_stores(one_shop: Shop) -> None:
    reports = Reports(one_shop.db)
    await reports.make_daily()

    for refused in (
        reports.page(kind="", day=0, by=by(FOREIGNER), offset=0, most=9),
        reports.report(1, by=by(FOREIGNER)),
        reports.xlsx(1, by=by(FOREIGNER)),
    ):
        with pytest.raises(ReportsOfAll):
            await refused
    with pytest.raises(ReportNotFound):
        await reports.report(999, by=by())


# ---------------------------------------------------------------- spreadsheets


def cells(data: bytes) -> tuple[list[str], str]:
    """All texts, and the XML of all sheets."""
    with zipfile.ZipFile(io.BytesIO(data)) as book:
        assert book.testzip() is None
        texts = ET.fromstring(book.read("xl/sharedStrings.xml"))  # noqa: S314
        names = [name for name in book.namelist() if name.startswith("xl/worksheets/sheet")]
        sheets = "".join(book.read(name).decode() for name in names)
    return [text.text or "" for text in texts.iter() if text.tag.endswith("}t")], sheets


async def test_a_spreadsheet_holds_the_report(one_shop: Shop) -> None:
    await busy_day(one_shop)
    reports = Reports(one_shop.db)
    await reports.make_daily()
    _, (found,) = await reports.page(kind="operation", day=DAY, by=by(), offset=0, most=9)

    report, data = await reports.xlsx(found.id, by=by())
    texts, sheets = cells(data)

    assert report == found
    assert {"订单数", "净额(元)", "Cola", "wechat", "ticket"} <= set(texts)
    net_fen = report.body["sales"]["net_fen"]
    assert f"<v>{net_fen / 100:g}</v>" in sheets
    assert as_xlsx(report) == data


@pytest.mark.parametrize("kind", list(ReportKind))
async def test_every_kind_becomes_a_spreadsheet(one_shop: Shop, kind: ReportKind) -> None:
    await one_shop.db.write(raise_exception, "offline", "d", severity="low", text="t")
    body = await one_shop.db.read(store.make, kind, DAY)

    texts, _ = cells(as_xlsx(Report(id=1, kind=kind, day=DAY, body=body, made_at=5)))

    assert "项目" in texts


@pytest.mark.parametrize("evil", ["=1+1", "+1", "-1", "@SUM(A1)", '=HYPERLINK("http://x")'])
def test_no_cell_is_a_formula_or_a_link(evil: str) -> None:
    goods = [{"sku": evil, "name": evil, "quantity": 1, "amount_fen": -5, "note": None}]
    body = {evil[1:9].replace("(", "").replace('"', ""): {evil: evil}, "goods": goods}
    report = Report(id=1, kind=ReportKind.OPERATION, day=DAY, body=body, made_at=5)

    texts, sheets = cells(as_xlsx(report))

    assert not {text for text in texts if text.startswith(("=", "+", "-", "@"))}
    assert f"'{evil}" in texts
    assert "<f>" not in sheets
    assert "hyperlink" not in sheets
    assert "<v>-0.05</v>" in sheets
