"""The nouns of the ledger: account, posting, journal, entry, and the reasons to refuse.

A *posting* is asked for, a *journal* is what it became. Amounts are whole fen, tickets or
points; each journal comes to zero in each asset, so nothing is made and nothing is lost.

LedgerError
├── BadPosting       our own mistake: it does not come to zero, or names no account of ours
├── Overdrawn        an account with a floor would fall below it
├── JournalDiffers   the same (biz, biz_id, step) was posted before with other entries
├── JournalNotFound  the journal to be reversed, or the hold, is not there
├── AlreadyReversed  the journal was reversed by another one
└── HoldResolved     the hold was captured or released before, in another way
"""

import enum
import re
from collections.abc import Sequence
from typing import Final, NamedTuple, TypeAlias

import msgspec

from payments.money import FEN_MAX, TICKETS_PER_FEN
from sql.types import Millis


class Asset(enum.StrEnum):
    CNY = "CNY"
    """Fen."""
    TICKET = "TICKET"
    POINT = "POINT"


class Account(NamedTuple):
    """Whose, and what for; together with an asset it has a balance.

    owner: an account's id for kinds that begin with "user:", 0 for the house.
    """

    owner: int
    kind: str


class Line(NamedTuple):
    """What is added to an account, or with a minus taken from it."""

    account: Account
    asset: Asset
    amount: int


# The house. Its accounts may be below zero: the gateway's is what WeChat has taken in for us,
# with a minus, until somebody has it.
GATEWAY: Final = Account(0, "gateway:wechat")
SALES: Final = Account(0, "sales")
PROMO: Final = Account(0, "promo")
FORFEIT: Final = Account(0, "forfeit")
REFUND_PENDING: Final = Account(0, "refund:pending")
SUSPENSE: Final = Account(0, "suspense")
OPENING: Final = Account(0, "opening")
TICKET_ISSUE: Final = Account(0, "ticket:issue")
TICKET_REDEEMED: Final = Account(0, "ticket:redeemed")
POINT_ISSUE: Final = Account(0, "point:issue")


def balance_of(user_id: int) -> Account:
    return Account(user_id, "user:balance")


def deposit_of(user_id: int, record: int | str) -> Account:
    return Account(user_id, f"user:deposit:{record}")


def hold_of(user_id: int, biz: str) -> Account:
    return Account(user_id, f"user:hold:{biz}")


def tickets_of(user_id: int) -> Account:
    return Account(user_id, "user:ticket")


def points_of(user_id: int) -> Account:
    return Account(user_id, "user:point")


_CNY = frozenset({Asset.CNY})
_HOUSE: Final = {
    **dict.fromkeys((GATEWAY, SALES, PROMO, FORFEIT, REFUND_PENDING, OPENING), _CNY),
    SUSPENSE: frozenset(Asset),
    TICKET_ISSUE: frozenset({Asset.TICKET}),
    TICKET_REDEEMED: frozenset({Asset.TICKET}),
    POINT_ISSUE: frozenset({Asset.POINT}),
}
_USER: Final = {
    "user:balance": _CNY,
    "user:ticket": frozenset({Asset.TICKET}),
    "user:point": frozenset({Asset.POINT}),
}
_USER_MANY: Final = {"user:deposit:": _CNY, "user:hold:": frozenset(Asset)}

# As long as the columns. Printable ASCII without spaces: with them MySQL would take "7 " for "7".
_KIND: Final = re.compile(r"[!-~]{1,80}")
_BIZ: Final = re.compile(r"[!-~]{1,40}")
_BIZ_ID: Final = re.compile(r"[!-~]{1,64}")
_STEP: Final = _BIZ
MEMO_MAX: Final = 200

AMOUNT_MAX: Final = FEN_MAX * TICKETS_PER_FEN
BALANCE_MAX: Final = 2**63 - 1
"""What the database's integers hold."""


def floor_of(account: Account) -> int | None:
    """Below which its balance never falls; None for the house."""
    return 0 if account.owner else None


def may_hold(account: Account, asset: Asset) -> bool:
    """Whether there is such an account, and this asset may be in it."""
    owner, kind = account
    if owner == 0:
        return asset in _HOUSE.get(account, ())
    if not 0 < owner <= BALANCE_MAX or not _KIND.fullmatch(kind):
        return False
    if kind in _USER:
        return asset in _USER[kind]
    return any(
        kind.startswith(start) and kind != start and asset in assets
        for start, assets in _USER_MANY.items()
    )


class LedgerError(Exception):
    """Base of the family."""

    code = "ledger.error"
    title = "The ledger refuses"


class BadPosting(LedgerError):
    code = "ledger.bad_posting"
    title = "The posting is none"


class Overdrawn(LedgerError):
    """missing: by how much the account is short of what was asked."""

    code = "ledger.overdrawn"
    title = "There is not enough in the account"

    def __init__(self, account: Account, asset: Asset, missing: int) -> None:
        super().__init__(f"{missing} {asset} short in {account.kind} of {account.owner}")
        self.account = account
        self.asset = asset
        self.missing = missing


class JournalDiffers(LedgerError):
    """first: what was posted under the same (biz, biz_id, step)."""

    code = "ledger.journal_differs"
    title = "This was posted before with other amounts"

    def __init__(self, first: "Journal") -> None:
        super().__init__(f"{first.biz} {first.biz_id} {first.step} is journal {first.id}")
        self.first = first


class JournalNotFound(LedgerError):
    code = "ledger.journal_not_found"
    title = "There is no such journal"


class AlreadyReversed(LedgerError):
    code = "ledger.already_reversed"
    title = "The journal was reversed before"


class HoldResolved(LedgerError):
    """by: the journal that has captured or released it."""

    code = "ledger.hold_resolved"
    title = "The hold was captured or released before"

    def __init__(self, by: "Journal") -> None:
        super().__init__(f"{by.biz} {by.biz_id} was resolved by journal {by.id}")
        self.by = by


class Entry(NamedTuple):
    """A line as it was entered, and the account's balance after it."""

    account: Account
    asset: Asset
    amount: int
    balance_after: int

    @property
    def line(self) -> Line:
        return Line(self.account, self.asset, self.amount)


class Journal(msgspec.Struct, frozen=True):
    """A posting that was made; nothing of it ever changes."""

    id: int
    biz: str
    biz_id: str
    step: str
    memo: str
    reverses: int | None
    at: Millis
    entries: tuple[Entry, ...]

    def is_of(self, lines: Sequence[Line], reverses: int | None) -> bool:
        """Whether these lines make the same journal. What its memo says is no matter."""
        return self.reverses == reverses and tuple(entry.line for entry in self.entries) == lines


class StatementLine(msgspec.Struct, frozen=True):
    """One entry of an account as its owner sees it; version counts them from 1."""

    version: int
    amount: int
    balance_after: int
    journal_id: int
    biz: str
    biz_id: str
    step: str
    memo: str
    at: Millis


# The steps of a hold, and the only ones that may touch a "user:hold:" account: so it holds
# what was held and is not resolved, and nothing else.
HOLD: Final = "hold"
RESOLVE: Final = "resolve"

Lines: TypeAlias = Sequence[tuple[Account, Asset, int]]


class Posting(msgspec.Struct, frozen=True):
    """What is to be entered, once for each (biz, biz_id, step).

    The entries are made in their order, and none may take an account below its floor.
    reverses: the id of the journal that it takes back; the entries are its opposite.
    """

    biz: str
    biz_id: str
    step: str
    entries: Lines
    memo: str = ""
    reverses: int | None = None

    @property
    def key(self) -> tuple[str, str, str]:
        return self.biz, self.biz_id, self.step

    def lines(self) -> tuple[Line, ...]:
        """The entries, when all is right with them. Raises BadPosting."""
        if not (
            _BIZ.fullmatch(self.biz)
            and _BIZ_ID.fullmatch(self.biz_id)
            and _STEP.fullmatch(self.step)
        ):
            raise BadPosting(f"{self.key} is no key")
        lines = tuple(map(_line, self.entries))
        if not lines or any(_totals(lines).values()):
            raise BadPosting(f"{self.key} does not come to zero")
        if sum(_is_hold(line.account) for line in lines) != (self.step in {HOLD, RESOLVE}):
            raise BadPosting(f"{self.key}: a hold has verbs of its own, and one account")
        return lines


def _line(entry: tuple[Account, Asset, int]) -> Line:
    account, asset, amount = entry
    # Neither a float that happens to be whole, nor a boolean.
    if type(amount) is not int or not 0 < abs(amount) <= AMOUNT_MAX:
        raise BadPosting(f"{amount!r} is no amount")
    if not may_hold(account, asset):
        raise BadPosting(f"{account} cannot hold {asset}")
    return Line(account, asset, amount)


def _totals(lines: Sequence[Line]) -> dict[Asset, int]:
    totals: dict[Asset, int] = {}
    for line in lines:
        totals[line.asset] = totals.get(line.asset, 0) + line.amount
    return totals


def _is_hold(account: Account) -> bool:
    return account.kind.startswith("user:hold:")


def opposite(journal: Journal) -> tuple[Line, ...]:
    """What takes a journal back: each entry from the last to the first, with the other sign."""
    return tuple(
        Line(entry.account, entry.asset, -entry.amount) for entry in reversed(journal.entries)
    )


class Violation(msgspec.Struct, frozen=True):
    """A promise of the books that does not hold: which one, where, and what was found."""

    invariant: str
    subject: str
    text: str
