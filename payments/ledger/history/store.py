"""What the check of the books reads."""

import re
from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import bindparam, func, select, text

from payments.ledger.history.replay import AccountRow, Chapter, EntryRow
from payments.ledger.model import Violation
from payments.ledger.store import BOOKS
from sql import alerts
from sql.tables.payments import ledger_accounts, ledger_entries, ledger_head, ledger_journals
from sql.transaction import Dialect, Tx
from sql.triggers import missing_triggers

_MONEY = re.compile(r"(^|_)(fen|amount|balance|balance_after|floor)$")

_HEAD = select(ledger_head.c.journals).where(ledger_head.c.id == 1)
_JOURNALS = select(ledger_journals.c.id).where(
    ledger_journals.c.id > bindparam("after"), ledger_journals.c.id <= bindparam("last")
)
_ENTRIES = (
    select(
        ledger_entries.c.journal_id,
        ledger_entries.c.seq,
        ledger_entries.c.account_id,
        ledger_entries.c.amount,
        ledger_entries.c.balance_after,
        ledger_entries.c.version,
        ledger_accounts.c.asset,
        ledger_accounts.c.floor,
    )
    .outerjoin(ledger_accounts, ledger_accounts.c.id == ledger_entries.c.account_id)
    .where(
        ledger_entries.c.journal_id > bindparam("after"),
        ledger_entries.c.journal_id <= bindparam("last"),
    )
    .order_by(ledger_entries.c.journal_id, ledger_entries.c.seq)
)
_ACCOUNTS = (
    select(
        ledger_accounts.c.id,
        ledger_accounts.c.owner,
        ledger_accounts.c.kind,
        ledger_accounts.c.asset,
        ledger_accounts.c.balance,
        ledger_accounts.c.floor,
        ledger_accounts.c.version,
    )
    .where(ledger_accounts.c.id > bindparam("after"))
    .order_by(ledger_accounts.c.id)
    .limit(bindparam("most"))
)
_TOTALS = select(
    ledger_accounts.c.asset, func.sum(ledger_accounts.c.balance).label("total")
).group_by(ledger_accounts.c.asset)
_COLUMNS: dict[Dialect, str] = {
    "sqlite": "SELECT m.name, c.name, c.type FROM sqlite_master m, pragma_table_info(m.name) c"
    " WHERE m.type = 'table'",
    "mysql": "SELECT table_name, column_name, data_type FROM information_schema.columns"
    " WHERE table_schema = DATABASE()",
}


def read_chapter(tx: Tx, *, after: int, most: int) -> Chapter:
    """The next journals, at most so many."""
    head = tx.execute(_HEAD).scalar() or 0
    bounds = {"after": after, "last": min(head, after + most)}
    return Chapter(
        bounds["last"],
        head,
        frozenset(tx.execute(_JOURNALS, bounds).scalars()),
        [EntryRow._make(row) for row in tx.execute(_ENTRIES, bounds)],
    )


def read_page(
    tx: Tx, *, after: int, most: int, after_account: int
) -> tuple[Chapter, list[AccountRow]]:
    """What was posted meanwhile, and the next accounts, as of one moment."""
    chapter = read_chapter(tx, after=after, most=most)
    rows = tx.execute(_ACCOUNTS, {"after": after_account, "most": most})
    return chapter, [AccountRow._make(row) for row in rows]


def check_whole(tx: Tx) -> list[Violation]:
    """What is seen without the history: totals, ends, the kinds of columns, the triggers."""
    return [*_totals(tx), *_ends(tx), *_columns(tx), *_triggers(tx)]


def _totals(tx: Tx) -> list[Violation]:
    return [
        Violation("I6", f"asset {row.asset}", f"all accounts together hold {row.total}")
        for row in tx.execute(_TOTALS)
        if row.total
    ]


def _ends(tx: Tx) -> list[Violation]:
    """Journals and entries beyond the head: nobody posted them."""
    head = tx.execute(_HEAD).scalar() or 0
    last = max(
        tx.execute(select(func.max(column))).scalar() or 0
        for column in (ledger_journals.c.id, ledger_entries.c.journal_id)
    )
    if last <= head:
        return []
    return [Violation("I5", "head", f"the head is at {head}, but there is journal {last}")]


def _columns(tx: Tx) -> list[Violation]:
    rows: Sequence[Any] = tx.execute(text(_COLUMNS[tx.dialect])).all()
    return [
        Violation("I35", f"column {table}.{column}", f"it is {kind}")
        for table, column, kind in rows
        if _MONEY.search(column) and "INT" not in kind.upper()
    ]


def _triggers(tx: Tx) -> list[Violation]:
    return [
        Violation("I5", f"trigger {name}", "it is not there as we make it")
        for name in missing_triggers(tx)
    ]


def note_violations(tx: Tx, found: Iterable[Violation], *, whole: bool) -> list[Violation]:
    """Raise an alert for each; those that are new.

    whole: all was looked at, so that alerts of what was not found again are cleared.
    """
    wanted = {f"{each.invariant} {each.subject}"[:120]: each for each in found}
    gone = [each.subject for each in alerts.open_alerts(tx, BOOKS) if each.subject not in wanted]
    for subject in gone if whole else ():
        alerts.clear_alert(tx, BOOKS, subject)
    return [
        each
        for subject, each in wanted.items()
        if alerts.raise_alert(tx, BOOKS, subject, each.text)
    ]
