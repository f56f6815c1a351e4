"""Writing to the end of the chain, and reading it from its beginning."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

import msgspec
from sqlalchemy import func, insert, select, update

from accounts.audit.model import FIRST_HASH, By, Entry, Filter, canonical, digest, mask_address
from sql.alerts import clear_alert, raise_alert
from sql.database import Tx
from sql.tables.staff import staff, staff_audit, staff_audit_head
from sql.transaction import insert_missing

_CHUNK: Final = 1000
_HEAD: Final = 1

BROKEN: Final = "audit.broken"
"""The kind of the alert that the chain is not whole."""


class Head(msgspec.Struct, frozen=True):
    """Where the chain ends."""

    seq: int
    hash: str


def lock(tx: Tx) -> Head:
    """The end of the chain, which nobody else moves until this transaction is over.

    Who changes staff takes it first, so that those changes come one after another.
    """
    head = _read_head(tx, locked=True)
    if head is None:
        insert_missing(tx, staff_audit_head, [{"id": _HEAD, "seq": 0, "hash": FIRST_HASH}])
        head = _read_head(tx, locked=True)
        assert head is not None
    return head


def record(
    tx: Tx,
    *,
    actor: By,
    action: str,
    subject: str,
    before: Mapping[str, Any],
    after: Mapping[str, Any],
    reason: str = "",
) -> None:
    """Write down what this transaction does, as its last act: others wait from here on.

    before, after: what was changed, without secrets.
    """
    head = lock(tx)
    line = {
        "id": head.seq + 1,
        "at": tx.now,
        "actor_id": actor.account_id,
        "actor": _name_of(tx, actor),
        "address": mask_address(actor.address),
        "action": action,
        "subject": subject,
        "before": canonical(before),
        "after": canonical(after),
        "reason": reason,
        "prev_hash": head.hash,
    }
    mark = digest(line)
    tx.execute(insert(staff_audit), {**line, "hash": mark})
    end = update(staff_audit_head).where(staff_audit_head.c.id == _HEAD)
    tx.execute(end.values(seq=head.seq + 1, hash=mark))


def verify(tx: Tx) -> int | None:
    """The place of the first line that was changed or is missing; None: the chain is whole.

    Who can write to the database and knows how lines are hashed can forge the whole chain:
    keep a hash elsewhere now and then to find that as well.
    """
    seq, last = 0, FIRST_HASH
    for entry in _entries(tx):
        line = msgspec.structs.asdict(entry)
        if entry.id != seq + 1 or entry.prev_hash != last or digest(line) != entry.hash:
            return seq + 1
        seq, last = entry.id, entry.hash
    head = _read_head(tx) or Head(0, FIRST_HASH)
    if head.seq == seq:
        return None if head.hash == last else seq
    # Lines were cut off the end, or written behind it.
    return min(head.seq, seq) + 1


def tell(tx: Tx, broken: int | None) -> None:
    """Raise the alert of a broken chain, or clear it."""
    if broken is None:
        clear_alert(tx, BROKEN, "staff_audit")
    else:
        raise_alert(tx, BROKEN, "staff_audit", f"line {broken} is not what was written")


def page(tx: Tx, wanted: Filter, *, offset: int, most: int) -> tuple[int, list[Entry]]:
    """How many lines there are of what is wanted, and some of them, newest first."""
    where = list(_conditions(wanted))
    total = tx.execute(select(func.count()).select_from(staff_audit).where(*where)).scalar_one()
    newest = select(staff_audit).where(*where).order_by(staff_audit.c.id.desc())
    rows = tx.execute(newest.offset(offset).limit(most))
    return total, [msgspec.convert(row._mapping, Entry) for row in rows]


def _conditions(wanted: Filter) -> Iterator[Any]:
    if wanted.actor_id:
        yield staff_audit.c.actor_id == wanted.actor_id
    if wanted.action:
        yield staff_audit.c.action == wanted.action
    if wanted.subject:
        yield staff_audit.c.subject == wanted.subject
    if wanted.from_at:
        yield staff_audit.c.at >= wanted.from_at
    if wanted.before_at:
        yield staff_audit.c.at < wanted.before_at


def _entries(tx: Tx) -> Iterator[Entry]:
    after = 0
    while True:
        chunk = select(staff_audit).where(staff_audit.c.id > after)
        rows = tx.execute(chunk.order_by(staff_audit.c.id).limit(_CHUNK)).all()
        yield from (msgspec.convert(row._mapping, Entry) for row in rows)
        if len(rows) < _CHUNK:
            return
        after = rows[-1].id


def _read_head(tx: Tx, *, locked: bool = False) -> Head | None:
    end = select(staff_audit_head.c.seq, staff_audit_head.c.hash)
    end = end.where(staff_audit_head.c.id == _HEAD)
    row = tx.execute(end.with_for_update() if locked else end).one_or_none()
    return None if row is None else Head(row.seq, row.hash)


def _name_of(tx: Tx, actor: By) -> str:
    known = select(staff.c.login_name).where(staff.c.account_id == actor.account_id)
    name: str | None = tx.execute(known).scalar_one_or_none()
    return name or actor.kind
