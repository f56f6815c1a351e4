"""The books made again from zero: every balance as its journals make it.

What is found is measured against what the tables say. The invariants' numbers are those of
the money reference: I1 a journal comes to zero, I2 and I36 a balance is the sum of its
entries, I3 the chain of an account's entries is whole, I4 no user is below nothing, I5 no row
was changed or removed, I6 all accounts come to zero, I35 money is in integers.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import msgspec

from payments.ledger.model import Account, Violation, floor_of

# A broken ledger is broken in one place or everywhere; a person reads the first ones.
VIOLATIONS_MAX = 100


class EntryRow(NamedTuple):
    """A row of entries; asset and floor are its account's, None when there is no account."""

    journal_id: int
    seq: int
    account_id: int
    amount: int
    balance_after: int
    version: int
    asset: str | None
    floor: int | None


class AccountRow(NamedTuple):
    id: int
    owner: int
    kind: str
    asset: str
    balance: int
    floor: int | None
    version: int


class Chapter(msgspec.Struct, frozen=True):
    """The journals after one and up to another, as the tables hold them.

    head: how many journals there are altogether.
    """

    last: int
    head: int
    journals: frozenset[int]
    entries: Sequence[EntryRow]


class Replay:
    """What the journals read so far have made of the accounts."""

    def __init__(self) -> None:
        self.seq = 0
        self.violations: list[Violation] = []
        # Account id → balance and number of entries.
        self._books: dict[int, tuple[int, int]] = {}

    def read(self, chapter: Chapter) -> None:
        """Go on with what comes next."""
        entries: dict[int, list[EntryRow]] = {}
        for row in chapter.entries:
            entries.setdefault(row.journal_id, []).append(row)
        for journal_id in range(self.seq + 1, chapter.last + 1):
            if journal_id not in chapter.journals:
                self._note("I5", f"journal {journal_id}", "it is missing")
            self._journal(journal_id, entries.get(journal_id, []))
        self.seq = chapter.last

    def _journal(self, journal_id: int, rows: Sequence[EntryRow]) -> None:
        if [row.seq for row in rows] != list(range(len(rows))) or not rows:
            self._note("I5", f"journal {journal_id}", "entries are missing")
        totals: dict[str | None, int] = {}
        for row in rows:
            if self._is_counted(row):
                totals[row.asset] = totals.get(row.asset, 0) + row.amount
                self._entry(row)
        for asset, total in totals.items():
            if total:
                self._note("I1", f"journal {journal_id}", f"it comes to {total} {asset}")

    def _is_counted(self, row: EntryRow) -> bool:
        where = f"journal {row.journal_id}"
        if {type(row.amount), type(row.balance_after), type(row.version)} != {int}:
            self._note("I35", where, f"entry {row.seq} is not in integers")
            return False
        if row.asset is None:
            self._note("I2", where, f"account {row.account_id} is not there")
        return True

    def _entry(self, row: EntryRow) -> None:
        balance, version = self._books.get(row.account_id, (0, 0))
        balance, version = balance + row.amount, version + 1
        self._books[row.account_id] = (balance, version)
        if (balance, version) != (row.balance_after, row.version):
            self._note(
                "I3",
                f"account {row.account_id}",
                f"entry {version} leads to {balance}, but journal {row.journal_id} says"
                f" that entry {row.version} leads to {row.balance_after}",
            )
        if row.floor is not None and balance < row.floor:
            text = f"{balance} after journal {row.journal_id}"
            self._note("I4", f"account {row.account_id}", text)

    def compare(self, accounts: Iterable[AccountRow]) -> None:
        """Hold accounts, read at the same moment, against what their journals make of them."""
        for row in accounts:
            balance, version = self._books.get(row.id, (0, 0))
            if (row.balance, row.version) != (balance, version):
                self._note(
                    "I2",
                    f"account {row.id}",
                    f"it says {row.balance} after {row.version} entries;"
                    f" they are {version} and come to {balance}",
                )
            if row.floor != floor_of(Account(row.owner, row.kind)):
                self._note("I4", f"account {row.id}", f"its floor is {row.floor}")

    def _note(self, invariant: str, subject: str, text: str) -> None:
        if len(self.violations) < VIOLATIONS_MAX:
            self.violations.append(Violation(invariant, subject, text))
