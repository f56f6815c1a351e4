"""The audit: whole, in order, and a change of it shows."""

import asyncio
from collections.abc import Callable

import pytest
from sqlalchemy import delete, insert, text, update
from sqlalchemy.exc import DBAPIError

from accounts.audit import store
from accounts.audit.model import By, Filter, mask_address
from accounts.audit.service import Audit
from sql.alerts import open_alerts
from sql.database import Database, Tx, open_database
from sql.tables.staff import staff_audit, staff_audit_head
from tests.clock import Clock

LI = By("staff", 7, "203.0.113.9")


@pytest.fixture
def audit(db: Database) -> Audit:
    return Audit(db)


def write(tx: Tx, number: int = 0, *, actor: By = LI, action: str = "stall.change") -> None:
    store.record(
        tx,
        actor=actor,
        action=action,
        subject=f"stall:{number}",
        before={"name": "面", "menu": ["牛肉面"]},
        after={"name": f"面 {number}", "menu": []},
        reason="as asked",
    )


async def write_some(db: Database, count: int) -> None:
    for number in range(count):
        await db.write(write, number)


def tamper(tx: Tx, act: Callable[[Tx], object]) -> None:
    """As somebody would who may drop triggers."""
    for event in ("update", "delete"):
        tx.execute(text(f"DROP TRIGGER IF EXISTS staff_audit_no_{event}"))
    act(tx)


async def test_what_was_written_is_read_back(db: Database, audit: Audit, clock: Clock) -> None:
    await db.write(write, 1)
    clock.advance(seconds=1)
    await db.write(write, 2)

    total, (second, first) = await audit.page(Filter(), offset=0, most=10)

    assert total == 2
    assert (first.id, second.id) == (1, 2)
    assert (first.prev_hash, second.prev_hash) == ("", first.hash)
    assert second.at == clock.now()
    assert (second.actor_id, second.actor, second.address) == (7, "staff", "203.0.113.0/24")
    assert (second.action, second.subject, second.reason) == (
        "stall.change",
        "stall:2",
        "as asked",
    )
    assert second.before == '{"menu":["牛肉面"],"name":"面"}'
    assert second.after == '{"menu":[],"name":"面 2"}'
    assert await audit.verify() is None


async def test_an_empty_audit_is_whole(audit: Audit) -> None:
    assert await audit.verify() is None
    assert await audit.page(Filter(), offset=0, most=10) == (0, [])


async def test_what_is_not_committed_leaves_no_line(db: Database, audit: Audit) -> None:
    def fail(tx: Tx) -> None:
        write(tx)
        raise ValueError("undone")

    await db.write(write)
    with pytest.raises(ValueError, match="undone"):
        await db.write(fail)
    await db.write(write)

    assert (await audit.page(Filter(), offset=0, most=10))[0] == 2
    assert await audit.verify() is None


async def test_many_at_once_stand_in_one_line(db: Database, audit: Audit) -> None:
    await asyncio.gather(*(db.write(write, number) for number in range(50)))

    total, found = await audit.page(Filter(), offset=0, most=100)

    assert total == 50
    assert [each.id for each in found] == list(range(50, 0, -1))
    assert await audit.verify() is None


async def test_two_processes_stand_in_one_line(mariadb_url: str, clock: Clock) -> None:
    one = await open_database(mariadb_url, now=clock.now)
    other = await open_database(mariadb_url, now=clock.now)
    try:
        await one.migrate()
        await asyncio.gather(*(db.write(write, n) for n in range(30) for db in (one, other)))

        assert (await Audit(one).page(Filter(), offset=0, most=1))[0] == 60
        assert await Audit(other).verify() is None
    finally:
        await one.close()
        await other.close()


async def test_more_lines_than_one_query_holds_are_checked(
    db: Database, audit: Audit, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "_CHUNK", 3)
    await write_some(db, 7)

    assert await audit.verify() is None


# ---------------------------------------------------------------- tampering


@pytest.mark.parametrize(
    "statement", ["UPDATE staff_audit SET reason = 'x'", "DELETE FROM staff_audit"]
)
async def test_the_database_refuses_to_change_a_line(db: Database, statement: str) -> None:
    await db.write(write)

    with pytest.raises(DBAPIError, match="append-only"):
        await db.write(lambda tx: tx.execute(text(statement)))


COLUMNS = {
    "at": 1,
    "actor_id": 8,
    "actor": "wang",
    "address": "",
    "action": "stall.create",
    "subject": "stall:9",
    "before": "{}",
    "after": "{}",
    "reason": "",
    "prev_hash": "0" * 64,
    "hash": "0" * 64,
}


@pytest.mark.parametrize("column", COLUMNS)
async def test_a_changed_line_is_found(
    db: Database, audit: Audit, expect_log: Callable[[str], None], column: str
) -> None:
    await write_some(db, 4)

    changed = update(staff_audit).where(staff_audit.c.id == 3).values({column: COLUMNS[column]})
    await db.write(tamper, lambda tx: tx.execute(changed))

    expect_log("the audit was tampered with: line 3")
    assert await audit.verify() == 3


@pytest.mark.parametrize("missing", [1, 2, 4])
async def test_a_missing_line_is_found(
    db: Database, audit: Audit, expect_log: Callable[[str], None], missing: int
) -> None:
    await write_some(db, 4)

    gone = delete(staff_audit).where(staff_audit.c.id == missing)
    await db.write(tamper, lambda tx: tx.execute(gone))

    expect_log(f"line {missing}")
    assert await audit.verify() == missing


async def test_a_line_behind_the_end_is_found(
    db: Database, audit: Audit, expect_log: Callable[[str], None]
) -> None:
    await write_some(db, 2)

    def forge(tx: Tx) -> None:
        """A good line by itself, but the end of the chain was put back."""
        write(tx)
        last = tx.execute(staff_audit.select().where(staff_audit.c.id == 2)).one()
        tx.execute(update(staff_audit_head).values(seq=2, hash=last.hash))

    await db.write(forge)

    expect_log("line 3")
    assert await audit.verify() == 3


async def test_a_last_line_written_anew_is_found(
    db: Database, audit: Audit, expect_log: Callable[[str], None]
) -> None:
    await write_some(db, 2)

    def forge(tx: Tx) -> None:
        first = tx.execute(staff_audit.select().where(staff_audit.c.id == 1)).one()
        before = tx.execute(staff_audit_head.select()).one()
        tx.execute(delete(staff_audit).where(staff_audit.c.id == 2))
        tx.execute(update(staff_audit_head).values(seq=1, hash=first.hash))
        write(tx, 99)
        tx.execute(update(staff_audit_head).values(hash=before.hash))

    await db.write(tamper, forge)

    expect_log("line 2")
    assert await audit.verify() == 2


async def test_lines_without_an_end_are_found(
    db: Database, audit: Audit, expect_log: Callable[[str], None]
) -> None:
    await write_some(db, 2)

    await db.write(lambda tx: tx.execute(delete(staff_audit_head)))

    expect_log("line 1")
    assert await audit.verify() == 1


async def test_an_end_without_lines_is_found(
    db: Database, audit: Audit, expect_log: Callable[[str], None]
) -> None:
    await db.write(
        lambda tx: tx.execute(insert(staff_audit_head), {"id": 1, "seq": 2, "hash": "x"})
    )

    expect_log("line 1")
    assert await audit.verify() == 1


async def test_a_broken_chain_is_an_alert_until_it_is_mended(
    db: Database, audit: Audit, expect_log: Callable[[str], None]
) -> None:
    await write_some(db, 2)
    expect_log("line 2")
    assert await audit.check() == "whole"
    assert await db.read(open_alerts) == []

    def change(reason: str) -> Callable[[Tx], object]:
        changed = update(staff_audit).where(staff_audit.c.id == 2).values(reason=reason)
        return lambda tx: tx.execute(changed)

    await db.write(tamper, change("because"))
    assert await audit.check() == "line 2 is not what was written"
    (alert,) = await db.read(open_alerts)
    await db.write(tamper, change("as asked"))

    assert (alert.kind, alert.text) == ("audit.broken", "line 2 is not what was written")
    assert await audit.check() == "whole"
    assert await db.read(open_alerts) == []


# ---------------------------------------------------------------- looking for something


async def test_a_page_is_of_what_was_asked_for(db: Database, audit: Audit, clock: Clock) -> None:
    noon = clock.now()
    await db.write(write, 1)
    clock.advance(hours=1)
    await db.write(write, 2, actor=By("admin", 8))
    clock.advance(hours=1)
    await db.write(write, 3, action="stall.renew")

    async def ids(**wanted: object) -> list[int]:
        _, found = await audit.page(Filter(**wanted), offset=0, most=10)  # type: ignore[arg-type]
        return [each.id for each in found]

    assert await ids() == [3, 2, 1]
    assert await ids(actor_id=8) == [2]
    assert await ids(action="stall.renew") == [3]
    assert await ids(subject="stall:1") == [1]
    assert await ids(from_at=noon + 3_600_000) == [3, 2]
    assert await ids(before_at=noon + 3_600_000) == [1]
    assert await ids(actor_id=7, action="stall.renew", before_at=noon) == []
    assert (await audit.page(Filter(), offset=1, most=1))[1][0].id == 2


@pytest.mark.parametrize(
    ("address", "masked"),
    [
        ("203.0.113.9", "203.0.113.0/24"),
        ("2001:db8:1:2::9", "2001:db8:1::/48"),
        ("", ""),
        ("unix:", ""),
    ],
)
def test_an_address_is_kept_without_its_subscriber(address: str, masked: str) -> None:
    assert mask_address(address) == masked
