"""The ledger's transactions: post many at once, take back, read.

All who post wait for the lock of one row, the head. Under it the accounts are locked in
order, the postings are made in memory one after the other, and what came of them is written
with a handful of statements for the whole list.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, TypeAlias, TypeVar

from sqlalchemy import Row, bindparam, insert, select, tuple_, update
from sqlalchemy.dialects import mysql

from payments.ledger.model import (
    BALANCE_MAX,
    MEMO_MAX,
    Account,
    AlreadyReversed,
    Asset,
    BadPosting,
    Entry,
    Journal,
    JournalDiffers,
    JournalNotFound,
    LedgerError,
    Line,
    Lines,
    Overdrawn,
    Posting,
    StatementLine,
    floor_of,
    opposite,
)
from sql import alerts
from sql.tables.payments import ledger_accounts, ledger_entries, ledger_head, ledger_journals
from sql.transaction import Bulk, Tx, insert_missing

# The kind of the alerts that stop money.
BOOKS = "books"

# MariaDB turns a longer list into a temporary table, and then may not use the index.
_AT_ONCE = 500

T = TypeVar("T")
Place: TypeAlias = tuple[int, str, str]
"""Owner, kind and asset of an account."""
Key: TypeAlias = tuple[str, str, str]
"""Biz, biz_id and step of a journal."""

# ---------------------------------------------------------------- posting


def post(
    tx: Tx,
    biz: str,
    biz_id: str,
    step: str,
    entries: Lines,
    memo: str = "",
    reverses: int | None = None,
) -> Journal:
    """Enter a journal; the same again gives the first one.

    Raises Overdrawn, JournalDiffers, AlreadyReversed, JournalNotFound, BadPosting.
    """
    (outcome,) = post_many(tx, [Posting(biz, biz_id, step, entries, memo, reverses)])
    if isinstance(outcome, Exception):
        raise outcome
    return outcome


def post_many(tx: Tx, postings: Sequence[Posting]) -> list[Journal | Exception]:
    """As `post` for each, one after the other; one that is refused changes nothing."""
    asked = [(posting, _lines_of(posting)) for posting in postings]
    work = _Work(tx, [posting for posting, lines in asked if isinstance(lines, tuple)])
    outcomes = [work.outcome_of(posting, lines) for posting, lines in asked]
    work.save()
    return outcomes


class _Balance:
    """An account while postings are made on it."""

    __slots__ = ("balance", "floor", "id", "place", "version", "was")

    def __init__(self, place: Place, row: Row[Any]) -> None:
        self.place = place
        self.id: int = row.id
        self.balance: int = row.balance
        self.floor: int | None = row.floor
        self.version: int = row.version
        self.was = self.version

    def add(self, line: Line) -> int:
        """The new balance. Raises Overdrawn, and BadPosting for what cannot be counted."""
        balance = self.balance + line.amount
        if self.floor is not None and balance < self.floor:
            raise Overdrawn(line.account, line.asset, self.floor - balance)
        if abs(balance) > BALANCE_MAX:
            raise BadPosting(f"{line.account} holds too much")
        self.balance = balance
        self.version += 1
        return balance

    def take_back(self, line: Line) -> None:
        self.balance -= line.amount
        self.version -= 1


class _Work:
    """One list of postings under way, of those that are right in themselves."""

    def __init__(self, tx: Tx, postings: Sequence[Posting]) -> None:
        self.tx = tx
        self.head = self.first = _lock_head(tx)
        self.known = _by_keys(tx, {posting.key for posting in postings})
        self.reversals: set[int] = set()
        self._find_reversed({each.reverses for each in postings if each.reverses is not None})
        new = [posting for posting in postings if posting.key not in self.known]
        self.balances = _lock_accounts(tx, {_place(e) for each in new for e in each.entries})
        self.moved: dict[int, _Balance] = {}
        self.journals: list[tuple[Any, ...]] = []
        self.entries: list[tuple[Any, ...]] = []

    def _find_reversed(self, ids: set[int]) -> None:
        self.originals = read_journals(self.tx, ids)
        for part in _parts(sorted(self.originals)):
            self.reversals |= set(self.tx.execute(_REVERSALS, {"ids": part}).scalars())

    def outcome_of(
        self, posting: Posting, lines: tuple[Line, ...] | LedgerError
    ) -> Journal | Exception:
        if isinstance(lines, LedgerError):
            return lines
        try:
            return self._once(posting, lines)
        except LedgerError as refusal:
            return refusal

    def _once(self, posting: Posting, lines: tuple[Line, ...]) -> Journal:
        first = self.known.get(posting.key)
        if first is None:
            first = self._journal(posting, lines)
            self.known[posting.key] = first
        elif not first.is_of(lines, posting.reverses):
            raise JournalDiffers(first)
        return first

    def _journal(self, posting: Posting, lines: tuple[Line, ...]) -> Journal:
        if posting.reverses is not None:
            self._check_reversal(posting.reverses, lines)
        entries = self._enter(lines)
        if posting.reverses is not None:
            self.reversals.add(posting.reverses)
        memo = _as_text(posting.memo)[:MEMO_MAX]
        journal = Journal(self.head, *posting.key, memo, posting.reverses, self.tx.now, entries)
        self.journals.append((self.head, *posting.key, memo, posting.reverses, self.tx.now))
        return journal

    def _check_reversal(self, reverses: int, lines: tuple[Line, ...]) -> None:
        original = self.originals.get(reverses)
        if original is None:
            raise JournalNotFound(f"journal {reverses}")
        if original.reverses is not None or opposite(original) != lines:
            raise BadPosting(f"journal {reverses} is not reversed like this")
        if reverses in self.reversals:
            raise AlreadyReversed(f"journal {reverses}")

    def _enter(self, lines: tuple[Line, ...]) -> tuple[Entry, ...]:
        """Make the entries of the next journal, or none of them."""
        entries, rows = [], []
        touched = [self.balances[_place(line)] for line in lines]
        for seq, (line, balance) in enumerate(zip(lines, touched, strict=True)):
            try:
                after = balance.add(line)
            except LedgerError:
                for done in range(seq):
                    touched[done].take_back(lines[done])
                raise
            entries.append(Entry(*line, after))
            rows.append((self.head + 1, seq, balance.id, line.amount, after, balance.version))
        self.head += 1
        self.entries += rows
        self.moved.update((balance.id, balance) for balance in touched)
        return tuple(entries)

    def save(self) -> None:
        """Write the journals, their entries, the new balances and the head."""
        if not self.journals:
            return
        self.tx.execute_many(_INSERT_JOURNAL, self.journals)
        self.tx.execute_many(_INSERT_ENTRY, self.entries)
        _update_balances(self.tx, list(self.moved.values()))
        moved = self.tx.execute(_ADVANCE, {"was": self.first, "is": self.head})
        assert moved.rowcount == 1, "the head of the ledger was not locked"


def _lines_of(posting: Posting) -> tuple[Line, ...] | LedgerError:
    try:
        return posting.lines()
    except LedgerError as refusal:
        return refusal


def _as_text(text: str) -> str:
    """What no database stores, half a surrogate pair, is written as an escape."""
    return text.encode(errors="backslashreplace").decode()


def _place(entry: tuple[Account, Asset, int]) -> Place:
    account, asset, _ = entry
    return account.owner, account.kind, asset


_HEAD = select(ledger_head.c.journals).where(ledger_head.c.id == 1)
_LOCK_HEAD = _HEAD.with_for_update()
_ADVANCE = (
    update(ledger_head)
    .where(ledger_head.c.id == 1, ledger_head.c.journals == bindparam("was"))
    .values(journals=bindparam("is"))
)


def _lock_head(tx: Tx) -> int:
    """Wait for those who post, and stop others until the commit; how many journals there are."""
    found = tx.execute(_LOCK_HEAD).scalar()
    if found is None:
        insert_missing(tx, ledger_head, [{"id": 1, "journals": 0}])
        found = tx.execute(_LOCK_HEAD).scalar_one()
    return int(found)


_ACCOUNT_KEY = tuple_(ledger_accounts.c.owner, ledger_accounts.c.kind, ledger_accounts.c.asset)
_LOCK_ACCOUNTS = (
    select(ledger_accounts)
    .where(_ACCOUNT_KEY.in_(bindparam("places", expanding=True)))
    .order_by(ledger_accounts.c.owner, ledger_accounts.c.kind, ledger_accounts.c.asset)
    .with_hint(ledger_accounts, "FORCE INDEX (uq_ledger_accounts_owner_kind_asset)", "mysql")
    .with_for_update()
)


def _lock_accounts(tx: Tx, places: set[Place]) -> dict[Place, _Balance]:
    """Lock accounts in the order of their names; those that are not there are made, with 0."""
    # Plain texts for the driver, not members of an enumeration.
    wanted = sorted((owner, kind, str(asset)) for owner, kind, asset in places)
    found = _select_accounts(tx, wanted)
    missing = [place for place in wanted if place not in found]
    if missing:
        insert_missing(tx, ledger_accounts, [_new_row(*place) for place in missing])
        found |= _select_accounts(tx, missing)
    return found


def _new_row(owner: int, kind: str, asset: str) -> dict[str, Any]:
    return {
        "owner": owner,
        "kind": kind,
        "asset": asset,
        "balance": 0,
        "floor": floor_of(Account(owner, kind)),
        "version": 0,
    }


def _select_accounts(tx: Tx, places: Sequence[Place]) -> dict[Place, _Balance]:
    rows = [row for part in _parts(places) for row in tx.execute(_LOCK_ACCOUNTS, {"places": part})]
    found = ((row.owner, row.kind, row.asset) for row in rows)
    return {place: _Balance(place, row) for place, row in zip(found, rows, strict=True)}


_INSERT_JOURNAL = Bulk(
    insert(ledger_journals), ("id", "biz", "biz_id", "step", "memo", "reverses", "at")
)
_INSERT_ENTRY = Bulk(
    insert(ledger_entries),
    ("journal_id", "seq", "account_id", "amount", "balance_after", "version"),
)
_UPDATE_SQLITE = Bulk(
    update(ledger_accounts)
    .where(
        ledger_accounts.c.id == bindparam("row_id"), ledger_accounts.c.version == bindparam("was")
    )
    .values(balance=bindparam("new_balance"), version=bindparam("new_version")),
    ("new_balance", "new_version", "row_id", "was"),
)
_mysql_insert = mysql.insert(ledger_accounts)
_UPDATE_MYSQL = Bulk(
    _mysql_insert.on_duplicate_key_update(
        balance=_mysql_insert.inserted.balance, version=_mysql_insert.inserted.version
    ),
    ("id", "owner", "kind", "asset", "balance", "floor", "version"),
)


def _update_balances(tx: Tx, moved: Sequence[_Balance]) -> None:
    """Write balances. Their rows are locked, and the database itself checks their floors.

    MySQL has no UPDATE of many rows with a value each: an INSERT that finds its primary key
    taken is one, in a single round trip.
    """
    if tx.dialect == "mysql":
        rows = [(each.id, *each.place, each.balance, each.floor, each.version) for each in moved]
        tx.execute_many(_UPDATE_MYSQL, rows)
        return
    done = tx.execute_many(
        _UPDATE_SQLITE, [(each.balance, each.version, each.id, each.was) for each in moved]
    )
    assert done.rowcount == len(moved), f"{done.rowcount} of {len(moved)} accounts were locked"


def reverse(tx: Tx, journal_id: int, memo: str = "") -> Journal:
    """Take a journal back by its opposite. The same again gives the first reversal.

    A hold is released instead, and a reversal stays.
    Raises JournalNotFound, AlreadyReversed, BadPosting, and Overdrawn when somebody has spent
    since what is to be taken back.
    """
    original = read_journals(tx, [journal_id]).get(journal_id)
    if original is None:
        raise JournalNotFound(f"journal {journal_id}")
    return post(
        tx, "reversal", str(journal_id), "post", opposite(original), memo, reverses=journal_id
    )


# ---------------------------------------------------------------- reading

_JOURNALS = select(ledger_journals).order_by(ledger_journals.c.id)
# One list of texts: a list of whole keys takes SQLAlchemy three times as long.
_BY_KEYS = _JOURNALS.where(
    ledger_journals.c.biz == bindparam("biz"),
    ledger_journals.c.step == bindparam("step"),
    ledger_journals.c.biz_id.in_(bindparam("ids", expanding=True)),
)
_BY_IDS = _JOURNALS.where(ledger_journals.c.id.in_(bindparam("ids", expanding=True)))
_REVERSALS = select(ledger_journals.c.reverses).where(
    ledger_journals.c.reverses.in_(bindparam("ids", expanding=True))
)
_ENTRIES = (
    select(
        ledger_entries.c.journal_id,
        ledger_accounts.c.owner,
        ledger_accounts.c.kind,
        ledger_accounts.c.asset,
        ledger_entries.c.amount,
        ledger_entries.c.balance_after,
    )
    .join(ledger_accounts, ledger_accounts.c.id == ledger_entries.c.account_id)
    .where(ledger_entries.c.journal_id.in_(bindparam("ids", expanding=True)))
    .order_by(ledger_entries.c.journal_id, ledger_entries.c.seq)
)


def _by_keys(tx: Tx, keys: Iterable[Key]) -> dict[Key, Journal]:
    groups: dict[tuple[str, str], list[str]] = {}
    for biz, biz_id, step in sorted(keys):
        groups.setdefault((biz, step), []).append(biz_id)
    found = [
        row
        for (biz, step), ids in groups.items()
        for part in _parts(ids)
        for row in tx.execute(_BY_KEYS, {"biz": biz, "step": step, "ids": part})
    ]
    return {(each.biz, each.biz_id, each.step): each for each in _with_entries(tx, found)}


def read_journals(tx: Tx, ids: Iterable[int]) -> dict[int, Journal]:
    """Journals by id; those that are not there are left out."""
    wanted = sorted(set(ids))
    found = [row for part in _parts(wanted) for row in tx.execute(_BY_IDS, {"ids": part})]
    return {each.id: each for each in _with_entries(tx, found)}


def journal_of(tx: Tx, biz: str, biz_id: str, step: str) -> Journal | None:
    """What was posted under a key."""
    key = (biz, biz_id, step)
    return _by_keys(tx, [key]).get(key)


def journals_of(tx: Tx, biz: str, biz_id: str) -> list[Journal]:
    """All that was posted about one thing, oldest first."""
    query = _JOURNALS.where(ledger_journals.c.biz == biz, ledger_journals.c.biz_id == biz_id)
    return _with_entries(tx, tx.execute(query).all())


def _with_entries(tx: Tx, rows: Sequence[Row[Any]]) -> list[Journal]:
    entries: dict[int, list[Entry]] = {row.id: [] for row in rows}
    for part in _parts(list(entries)):
        for row in tx.execute(_ENTRIES, {"ids": part}):
            account = Account(row.owner, row.kind)
            entry = Entry(account, Asset(row.asset), row.amount, row.balance_after)
            entries[row.journal_id].append(entry)
    return [
        Journal(
            row.id,
            row.biz,
            row.biz_id,
            row.step,
            row.memo,
            row.reverses,
            row.at,
            tuple(entries[row.id]),
        )
        for row in rows
    ]


def _parts(whole: Sequence[T]) -> Iterator[Sequence[T]]:
    for begin in range(0, len(whole), _AT_ONCE):
        yield whole[begin : begin + _AT_ONCE]


def balance(tx: Tx, account: Account, asset: Asset) -> int:
    """What is in an account now; 0 for one that nothing was ever posted to."""
    query = select(ledger_accounts.c.balance).where(
        ledger_accounts.c.owner == account.owner,
        ledger_accounts.c.kind == account.kind,
        ledger_accounts.c.asset == asset.value,
    )
    return tx.execute(query).scalar() or 0


def balances(tx: Tx, owner: int) -> dict[tuple[Account, Asset], int]:
    """All accounts of a user, or (0) of the house."""
    query = select(ledger_accounts).where(ledger_accounts.c.owner == owner)
    return {
        (Account(owner, row.kind), Asset(row.asset)): row.balance
        for row in tx.execute(query.order_by(ledger_accounts.c.id))
    }


def statement(
    tx: Tx, account: Account, asset: Asset, *, most: int = 100, before: int | None = None
) -> list[StatementLine]:
    """What was posted to an account, newest first; further back from `before`, a version."""
    query = (
        select(
            ledger_entries.c.version,
            ledger_entries.c.amount,
            ledger_entries.c.balance_after,
            ledger_journals,
        )
        .join(ledger_accounts, ledger_accounts.c.id == ledger_entries.c.account_id)
        .join(ledger_journals, ledger_journals.c.id == ledger_entries.c.journal_id)
        .where(
            ledger_accounts.c.owner == account.owner,
            ledger_accounts.c.kind == account.kind,
            ledger_accounts.c.asset == asset.value,
        )
        .order_by(ledger_entries.c.version.desc())
        .limit(most)
    )
    if before is not None:
        query = query.where(ledger_entries.c.version < before)
    return [
        StatementLine(
            row.version,
            row.amount,
            row.balance_after,
            row.id,
            row.biz,
            row.biz_id,
            row.step,
            row.memo,
            row.at,
        )
        for row in tx.execute(query)
    ]


def is_stopped(tx: Tx) -> bool:
    """Whether the books are violated: no new money moves until they are right again."""
    return alerts.is_raised(tx, BOOKS)
