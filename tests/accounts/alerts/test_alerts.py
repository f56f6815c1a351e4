"""What a person looks at and may clear, and what no hand clears."""

import asyncio

import pytest

from accounts.alerts.model import AlertIsWatched, AlertNotFound, masked
from accounts.alerts.service import Alerts
from accounts.audit import store as audit
from accounts.audit.model import By, Filter
from sql.alerts import (
    clear_alert,
    clear_one,
    last_incidents,
    open_alerts,
    raise_alert,
    record_incident,
)
from sql.database import Database
from tests.clock import Clock

LI = By("staff", 7, "203.0.113.9")


@pytest.fixture
def alerts(db: Database) -> Alerts:
    return Alerts(db, watched={"books"})


async def raised(db: Database, kind: str, subject: str = "1", text: str = "look") -> int:
    await db.write(raise_alert, kind, subject, text)
    (alert,) = [each for each in await db.read(open_alerts, kind) if each.subject == subject]
    return alert.id


async def lines(db: Database) -> list[tuple[str, str, str]]:
    _, found = await db.read(audit.page, Filter(), offset=0, most=100)
    return [(each.action, each.subject, each.reason) for each in found]


async def test_open_ones_come_first_and_in_pages(db: Database, alerts: Alerts) -> None:
    for subject in ("1", "2", "3"):
        await raised(db, "bill", subject)
    await raised(db, "books", "I6")
    await db.write(clear_alert, "bill", "2")

    total, found = await alerts.page(kind="", is_open=True, offset=0, most=2)

    assert total == 3
    assert [each.subject for each in found] == ["I6", "3"]
    assert [each.subject for each in (await alerts.page(
        kind="", is_open=True, offset=2, most=2))[1]] == ["1"]  # fmt: skip
    total, found = await alerts.page(kind="bill", is_open=True, offset=0, most=9)
    assert (total, [each.subject for each in found]) == (2, ["3", "1"])
    total, found = await alerts.page(kind="", is_open=False, offset=0, most=9)
    assert (total, [each.subject for each in found]) == (1, ["2"])


async def test_one_that_was_looked_at_is_cleared_once_with_its_line(
    db: Database, alerts: Alerts, clock: Clock
) -> None:
    alert_id = await raised(db, "payment.mismatch", text="x" * 900)
    clock.advance(minutes=1)

    cleared = await alerts.clear(alert_id, by=LI, reason="an attack")
    clock.advance(minutes=1)
    again = await alerts.clear(alert_id, by=LI, reason="once more")

    assert cleared == again
    assert cleared.cleared_at == clock.now() - 60_000
    assert not alerts.may_clear(cleared)
    assert await lines(db) == [("alert.clear", f"alert:{alert_id}", "an attack")]
    _, (entry,) = await db.read(audit.page, Filter(), offset=0, most=9)
    assert (entry.after, entry.actor_id) == ('{"open":false}', 7)
    assert '"kind":"payment.mismatch"' in entry.before
    assert len(entry.before) < 400
    assert await db.write(raise_alert, "payment.mismatch", "1", "again"), "it may come anew"


async def test_many_who_clear_it_at_once_leave_one_line(db: Database, alerts: Alerts) -> None:
    alert_id = await raised(db, "payment.open")

    await asyncio.gather(*(alerts.clear(alert_id, by=LI, reason=f"{n}") for n in range(10)))

    assert len(await lines(db)) == 1


async def test_another_process_may_be_faster(
    db: Database, alerts: Alerts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It clears the alert between our look and our change."""
    alert_id = await raised(db, "payment.open")
    monkeypatch.setattr("sql.alerts.clear_one", lambda tx, id_: clear_one(tx, id_) and False)

    cleared = await alerts.clear(alert_id, by=LI, reason="late")

    assert cleared.cleared_at is not None
    assert await lines(db) == []


async def test_what_is_watched_is_cleared_by_nobody(db: Database, alerts: Alerts) -> None:
    alert_id = await raised(db, "books", "I6")

    with pytest.raises(AlertIsWatched):
        await alerts.clear(alert_id, by=LI, reason="it annoys me")

    (alert,) = await db.read(open_alerts)
    assert not alerts.may_clear(alert)
    assert await lines(db) == []
    await db.write(clear_alert, "books", "I6")
    assert (await alerts.clear(alert_id, by=LI, reason="well again")).cleared_at is not None


async def test_there_is_no_such_alert(alerts: Alerts) -> None:
    with pytest.raises(AlertNotFound):
        await alerts.clear(1, by=LI, reason="why")


async def test_incidents_are_in_pages(db: Database, alerts: Alerts) -> None:
    for number in range(3):
        await db.write(record_incident, "payment.mismatch", str(number), "x", "raw")
    await db.write(record_incident, "payment.late", "9", "y")

    total, found = await alerts.incidents(kind="", offset=1, most=2)

    assert (total, [each.subject for each in found]) == (4, ["2", "1"])
    total, found = await alerts.incidents(kind="payment.late", offset=0, most=9)
    assert (total, [each.subject for each in found]) == (1, ["9"])


OPENID = "oUpF8uMuAJO_M2pxb1Q9zNjWeS6o"


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        ('{"openid":"somebody","n":1}', '{"openid":"some…","n":1}'),
        ('{"sub_openid": "somebody"}', '{"sub_openid": "some…"}'),
        ('"{\\"openid\\":\\"somebody\\"}"', '"{\\"openid\\":\\"some…\\"}"'),
        ("<openid>somebody</openid>", "<openid>some…</openid>"),
        ("<openid><![CDATA[somebody]]></openid>", "<openid><![CDATA[some…]]></openid>"),
        (f"who is {OPENID}?", "who is oUpF…?"),
        (f"<payer>{OPENID}</payer>", "<payer>oUpF…</payer>"),
        ("<openid></openid>", "<openid></openid>"),
        ('{"out_trade_no":"20261120abc","total_fee":1}',
         '{"out_trade_no":"20261120abc","total_fee":1}'),
        ("", ""),
    ],
)  # fmt: skip
def test_no_openid_is_shown(raw: str, shown: str) -> None:
    assert masked(raw) == shown


async def test_subjects_too_long_for_their_column_stay_apart(db: Database) -> None:
    """A vendor's word for an alarm makes them longer than the column."""
    left, right = ("设" * 130 + end for end in ("left", "right"))

    new = [await db.write(raise_alert, "alarm", each, "hot") for each in (left, right, left)]
    found = [each.subject for each in await db.read(open_alerts, "alarm")]
    await db.write(clear_alert, "alarm", left)
    still = [each.subject for each in await db.read(open_alerts, "alarm")]
    # As it is read out of the table it means the same alert.
    was_there = await db.write(clear_alert, "alarm", still[0])
    await db.write(record_incident, "alarm", left, "it was hot")
    (incident,) = await db.read(last_incidents, kind="alarm")

    assert new == [True, True, False]
    assert [len(each) for each in found] == [120, 120]
    assert len(set(found)) == 2
    assert all(each.startswith("设" * 111 + "~") for each in found)
    assert (still, was_there) == (found[1:], True)
    assert incident.subject == found[0]
