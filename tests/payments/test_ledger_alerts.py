"""An alert is raised once and lasts until it is cleared; an incident is kept as it came."""

import pytest

from sql import alerts
from sql.database import Database, Tx
from sql.tables.payments import alerts as table
from tests.clock import Clock


async def test_an_alert_is_raised_once(db: Database, clock: Clock) -> None:
    first_at = clock.now()
    assert await db.write(alerts.raise_alert, "bill", "2026-11-20", "one row is missing")
    clock.advance(minutes=1)

    assert not await db.write(alerts.raise_alert, "bill", "2026-11-20", "two rows")

    (alert,) = await db.read(alerts.open_alerts)
    assert (alert.kind, alert.subject, alert.text) == ("bill", "2026-11-20", "two rows")
    assert (alert.raised_at, alert.cleared_at) == (first_at, None)


async def test_a_cleared_alert_may_be_raised_anew(db: Database, clock: Clock) -> None:
    await db.write(alerts.raise_alert, "bill", "1", "x")
    clock.advance(minutes=1)
    assert await db.write(alerts.clear_alert, "bill", "1")
    assert not await db.write(alerts.clear_alert, "bill", "1")
    assert await db.read(alerts.open_alerts) == []

    assert await db.write(alerts.raise_alert, "bill", "1", "again")
    await db.write(alerts.clear_alert, "bill", "1")
    await db.write(alerts.raise_alert, "bill", "1", "and again")

    newest, middle, oldest = await db.read(alerts.last_alerts)
    assert [each.text for each in (oldest, middle, newest)] == ["x", "again", "and again"]
    assert [each.cleared_at for each in (oldest, middle, newest)] == [
        clock.now(),
        clock.now(),
        None,
    ]
    assert await db.read(alerts.last_alerts, most=1, before=newest.id) == [middle]


async def test_alerts_are_told_apart_by_kind_and_subject(db: Database) -> None:
    for kind, subject in (("bill", "1"), ("bill", "2"), ("refund", "1")):
        assert await db.write(alerts.raise_alert, kind, subject, "")
    await db.write(alerts.clear_alert, "bill", "1")

    assert [each.subject for each in await db.read(alerts.open_alerts, "bill")] == ["2"]
    assert len(await db.read(alerts.open_alerts)) == 2
    assert await db.read(alerts.is_raised, "refund")
    assert not await db.read(alerts.is_raised, "books")


async def test_an_alert_another_process_raises_at_the_same_moment_is_one(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its row is committed between our look and our row."""
    await db.write(alerts.raise_alert, "bill", "1", "theirs")
    monkeypatch.setattr(alerts, "_change", lambda *_, **__: False)

    def raise_and_count(tx: Tx) -> tuple[bool, int]:
        new = alerts.raise_alert(tx, "bill", "1", "ours")
        return new, len(tx.execute(table.select()).all())

    assert await db.write(raise_and_count) == (False, 1)


async def test_an_incident_is_kept_with_what_was_received(db: Database, clock: Clock) -> None:
    first = await db.write(
        alerts.record_incident, "notice.forged", "T1", "no signature", b"<xml>\xff\x00</xml>"
    )
    second = await db.write(alerts.record_incident, "late", "T2", "after the end")

    found = await db.read(alerts.last_incidents)

    assert [each.id for each in found] == [second, first]
    assert (found[1].kind, found[1].subject, found[1].text) == (
        "notice.forged",
        "T1",
        "no signature",
    )
    assert (found[1].raw, found[1].at) == ("<xml>\\xff\x00</xml>", clock.now())
    assert await db.read(alerts.last_incidents, kind="late") == [found[0]]
    assert await db.read(alerts.last_incidents, before=second) == [found[1]]


async def test_what_is_too_long_or_no_unicode_is_kept_as_far_as_it_goes(
    db: Database,
) -> None:
    await db.write(alerts.record_incident, "odd", "", "\ud800", "字" * 20_000)
    await db.write(alerts.raise_alert, "odd", "", "\U0001f35a" * 20_000)

    (incident,) = await db.read(alerts.last_incidents)
    (alert,) = await db.read(alerts.open_alerts)
    assert (incident.text, incident.raw) == ("\\ud800", "字" * alerts.TEXT_MAX)
    assert alert.text == "\U0001f35a" * alerts.TEXT_MAX
