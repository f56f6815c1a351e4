"""Setting a user's money, tickets or points aside until it is known what becomes of them.

A hold is a journal into an account of its own, and is resolved by one other journal.
"""

from payments.ledger.model import (
    HOLD,
    RESOLVE,
    Account,
    Asset,
    BadPosting,
    Entry,
    HoldResolved,
    Journal,
    JournalDiffers,
    JournalNotFound,
    Lines,
    hold_of,
)
from payments.ledger.store import journal_of, post
from sql.transaction import Tx


def hold(
    tx: Tx,
    biz: str,
    biz_id: str,
    source: Account,
    asset: Asset,
    amount: int,
    memo: str = "",
) -> Journal:
    """Set an amount of a user's aside until it is captured or released; once a (biz, biz_id).

    Raises Overdrawn, JournalDiffers, BadPosting.
    """
    held = hold_of(source.owner, biz)
    entries = [(source, asset, -amount), (held, asset, amount)]
    if amount <= 0:
        raise BadPosting(f"{amount} cannot be held")
    return post(tx, biz, biz_id, HOLD, entries, memo)


def capture(
    tx: Tx,
    biz: str,
    biz_id: str,
    *,
    amount: int,
    to: Account,
    more: Lines = (),
    memo: str = "",
) -> Journal:
    """Give a hold, or a part of it, to `to`; the rest goes back to where it came from.

    more: further entries of the same journal, such as what was paid besides. The same again
    gives the first journal.
    Raises HoldResolved when it was resolved otherwise, JournalNotFound without a hold,
    BadPosting for more than is held, Overdrawn (by `more` only).
    """
    source, held = _hold_entries(tx, biz, biz_id)
    rest = held.amount - amount
    if amount <= 0 or rest < 0:
        raise BadPosting(f"{amount} of {held.amount} cannot be captured")
    entries = [(held.account, held.asset, -held.amount), (to, held.asset, amount), *more]
    if rest:
        entries.append((source.account, held.asset, rest))
    return _resolve(tx, biz, biz_id, entries, memo)


def release(tx: Tx, biz: str, biz_id: str, memo: str = "") -> Journal:
    """Give all of a hold back. The same again gives the first journal.

    Raises HoldResolved when it was captured, JournalNotFound without a hold.
    """
    source, held = _hold_entries(tx, biz, biz_id)
    entries = [(held.account, held.asset, -held.amount), (source.account, held.asset, held.amount)]
    return _resolve(tx, biz, biz_id, entries, memo)


def _hold_entries(tx: Tx, biz: str, biz_id: str) -> tuple[Entry, Entry]:
    """Where a hold came from, and where it lies."""
    journal = journal_of(tx, biz, biz_id, HOLD)
    if journal is None:
        raise JournalNotFound(f"no hold of {biz} {biz_id}")
    source, held = journal.entries
    return source, held


def _resolve(tx: Tx, biz: str, biz_id: str, entries: Lines, memo: str) -> Journal:
    try:
        return post(tx, biz, biz_id, RESOLVE, entries, memo)
    except JournalDiffers as differs:
        raise HoldResolved(differs.first) from differs
