"""The transactions of members: what is known of them, their tickets, who is barred.

Staff who are kept to some stores see those who have bought there.
"""

from collections.abc import Sequence
from typing import Any, Final

import msgspec
from sqlalchemy import and_, exists, func, insert, select, update

from accounts.audit.model import By
from accounts.audit.store import record
from commerce.members.model import (
    Grant,
    Member,
    MemberNotFound,
    MembersOfAll,
    NoTickets,
    PhoneMissing,
    ReasonMissing,
    Seen,
    TicketsShort,
)
from payments.ledger.model import TICKET_ISSUE, Asset, Overdrawn, StatementLine, tickets_of
from payments.ledger.store import balance, post, statement
from payments.store import see_running, tell
from sql import idempotency
from sql.tables.accounts import accounts
from sql.tables.commerce import members, ticket_grants
from sql.tables.devices import cabinet_orders, door_sessions, staff_stores
from sql.tables.payments import ledger_accounts
from sql.transaction import Tx, insert_missing

# What grants are in the ledger.
BIZ: Final = "ticket.grant"
# What doors are in it: the tickets set aside for a visit, by its id, and those of an order, with
# its number as the memo. What is neither is not shown to those who are kept to some stores.
_OF_VISIT: Final = "cabinet"
_OF_ORDER: Final = "cabinet_order"

_M = members.c


def find_member(tx: Tx, account_id: int, *, lock: bool = False) -> Member:
    """What is known of a person; nothing, where there is no row."""
    query = select(members).where(_M.account_id == account_id)
    row = tx.execute(query.with_for_update() if lock else query).one_or_none()
    if row is None:
        return Member(account_id=account_id)
    return msgspec.convert(row._mapping, Member)


# ---------------------------------------------------------------- seen by staff


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """Which members a list shows, and in which order; "" and None leave all in.

    phone_hash: of a whole number, as Phones.digest makes it.
    """

    keyword: str = ""
    phone_hash: str = ""
    phone_tail: str = ""
    is_barred: bool | None = None
    sort: str = "-id"


SORTS: Final = {
    "id": accounts.c.id,
    "username": func.coalesce(_M.username, ""),
    "created_at": accounts.c.created_at,
}


def members_page(
    tx: Tx, wanted: Wanted, *, by: By, offset: int, most: int
) -> tuple[int, list[Seen]]:
    """Whoever has signed in as a diner, and how many there are."""
    where = [accounts.c.app == "diner", *_conditions(wanted), *_scope(tx, by)]
    known = accounts.outerjoin(members, _M.account_id == accounts.c.id)
    total = tx.execute(select(func.count()).select_from(known).where(*where)).scalar_one()
    column = SORTS[wanted.sort.removeprefix("-")]
    order = column.desc() if wanted.sort.startswith("-") else column
    query = _seen().where(*where).order_by(order, accounts.c.id).offset(offset).limit(most)
    return total, [_as_seen(row) for row in tx.execute(query)]


def seen_member(tx: Tx, account_id: int, by: By) -> Seen:
    """Raises MemberNotFound."""
    mine = (accounts.c.id == account_id, accounts.c.app == "diner")
    row = tx.execute(_seen().where(*mine, *_scope(tx, by))).one_or_none()
    if row is None:
        raise MemberNotFound
    return _as_seen(row)


def _seen() -> Any:
    theirs = and_(
        ledger_accounts.c.owner == accounts.c.id,
        ledger_accounts.c.kind == tickets_of(1).kind,
        ledger_accounts.c.asset == Asset.TICKET.value,
    )
    known = accounts.outerjoin(members, _M.account_id == accounts.c.id)
    return select(
        accounts.c.id.label("account_id"),
        func.coalesce(_M.username, "").label("username"),
        func.coalesce(_M.phone_tail, "").label("phone_tail"),
        _M.barred_at,
        func.coalesce(_M.barred_reason, "").label("barred_reason"),
        accounts.c.created_at,
        func.coalesce(ledger_accounts.c.balance, 0).label("tickets"),
    ).select_from(known.outerjoin(ledger_accounts, theirs))


def _as_seen(row: Any) -> Seen:
    return msgspec.convert({str(name): value for name, value in row._mapping.items()}, Seen)


def _conditions(wanted: Wanted) -> list[Any]:
    conditions: list[Any] = []
    if wanted.keyword:
        # SQLite compares texts whatever the case, MariaDB's binary order does not.
        word = wanted.keyword.lower()
        conditions.append(func.lower(_M.username).contains(word, autoescape=True))
    if wanted.phone_hash:
        conditions.append(_M.phone_hash == wanted.phone_hash)
    if wanted.phone_tail:
        conditions.append(_M.phone_tail == wanted.phone_tail)
    if wanted.is_barred is not None:
        barred = _M.barred_at.is_not(None)
        conditions.append(barred if wanted.is_barred else _M.barred_at.is_(None))
    return conditions


def _scope(tx: Tx, by: By) -> list[Any]:
    stores = _stores_of(tx, by)
    if not stores:
        return []
    bought = select(cabinet_orders.c.id).where(
        cabinet_orders.c.account_id == accounts.c.id, cabinet_orders.c.store_id.in_(stores)
    )
    return [exists(bought)]


def _stores_of(tx: Tx, by: By) -> list[int]:
    """The stores somebody is kept to; none for those who see all."""
    mine = select(staff_stores.c.store_id).where(staff_stores.c.account_id == by.account_id)
    return sorted(tx.execute(mine).scalars())


def _see_all(tx: Tx, by: By) -> None:
    """Raises MembersOfAll for those who are kept to some stores."""
    if _stores_of(tx, by):
        raise MembersOfAll


def ticket_lines(
    tx: Tx, account_id: int, *, by: By, most: int, before: int | None
) -> list[StatementLine]:
    """What has come to and gone from a member's tickets, newest first. Raises MemberNotFound.

    Who is kept to some stores sees what came and went, but of what happened elsewhere no numbers.
    """
    seen_member(tx, account_id, by)
    lines = statement(tx, tickets_of(account_id), Asset.TICKET, most=most, before=before)
    stores = _stores_of(tx, by)
    if not stores:
        return lines
    theirs = _references(tx, account_id, stores, lines)
    return [
        line
        if line.biz == BIZ or (line.biz, line.memo) in theirs or (line.biz, line.biz_id) in theirs
        else msgspec.structs.replace(line, biz_id="", memo="")
        for line in lines
    ]


def _references(
    tx: Tx, account_id: int, stores: Sequence[int], lines: Sequence[StatementLine]
) -> set[tuple[str, str]]:
    """By what such lines name orders and visits at these stores."""
    o, s = cabinet_orders.c, door_sessions.c
    numbers = {line.memo for line in lines if line.biz == _OF_ORDER}
    visits = {int(line.biz_id) for line in lines if line.biz == _OF_VISIT}
    bought = select(o.no).where(
        o.account_id == account_id, o.store_id.in_(stores), o.no.in_(sorted(numbers))
    )
    came = select(s.id).where(
        s.account_id == account_id, s.store_id.in_(stores), s.id.in_(sorted(visits))
    )
    return {(_OF_ORDER, no) for no in tx.execute(bought).scalars()} | {
        (_OF_VISIT, str(each)) for each in tx.execute(came).scalars()
    }


# ---------------------------------------------------------------- what they say of themselves


class Kept(msgspec.Struct, frozen=True):
    """A phone number as it is kept: see phones.py. All "" for none."""

    box: str
    digest: str
    tail: str


def change_own(
    tx: Tx, account_id: int, *, username: str | None = None, phone: Kept | None = None
) -> Member:
    """What is None stays as it is."""
    _make_row(tx, account_id)
    values: dict[str, Any] = {"updated_at": tx.now}
    if username is not None:
        values["username"] = username
    if phone is not None:
        values |= {
            "phone_box": phone.box,
            "phone_hash": phone.digest,
            "phone_tail": phone.tail,
        }
    _change(tx, account_id, **values)
    return find_member(tx, account_id)


def _make_row(tx: Tx, account_id: int) -> None:
    row = {
        "account_id": account_id,
        "username": "",
        "phone_box": "",
        "phone_hash": "",
        "phone_tail": "",
        "barred_at": None,
        "barred_reason": "",
        "created_at": tx.now,
        "updated_at": tx.now,
    }
    insert_missing(tx, members, [row])


def _change(tx: Tx, account_id: int, **values: Any) -> None:
    tx.execute(update(members).where(_M.account_id == account_id).values(values))


# ---------------------------------------------------------------- by staff


def view_phone(tx: Tx, account_id: int, *, by: By, reason: str) -> str:
    """The box of the number, and a line in the audit of who wanted to see it and why.

    Raises MemberNotFound, PhoneMissing, ReasonMissing.
    """
    _see_reason(reason)
    seen_member(tx, account_id, by)
    member = find_member(tx, account_id)
    if not member.phone_box:
        raise PhoneMissing
    _audit(tx, by, "member.phone", account_id, {}, {}, reason)
    return member.phone_box


def set_barred(tx: Tx, account_id: int, *, is_barred: bool, by: By, reason: str) -> Seen:
    """Whether they may open cabinets. Again changes nothing.

    Raises MemberNotFound, MembersOfAll, ReasonMissing.
    """
    _see_reason(reason)
    _see_all(tx, by)
    seen = seen_member(tx, account_id, by)
    _make_row(tx, account_id)
    before = find_member(tx, account_id, lock=True)
    if before.is_barred == is_barred:
        return seen
    _change(
        tx,
        account_id,
        barred_at=tx.now if is_barred else None,
        barred_reason=reason if is_barred else "",
        updated_at=tx.now,
    )
    was, now = {"is_barred": before.is_barred}, {"is_barred": is_barred}
    _audit(tx, by, "member.bar" if is_barred else "member.unbar", account_id, was, now, reason)
    return seen_member(tx, account_id, by)


class GrantAsk(msgspec.Struct, frozen=True, kw_only=True):
    """tickets: below 0 they are taken. key: the client's."""

    account_id: int
    tickets: int
    reason: str
    by: By
    key: str

    @property
    def scope(self) -> str:
        return f"members.tickets:{self.by.account_id}"


def grant(tx: Tx, ask: GrantAsk) -> Grant:
    """Give tickets or take some, once per key; never below zero.

    Raises MemberNotFound, MembersOfAll, ReasonMissing, NoTickets, TicketsShort, KeyReused,
    PaymentsStopped.
    """
    _see_reason(ask.reason)
    _see_all(tx, ask.by)
    if not ask.tickets:
        raise NoTickets
    see_running(tx)
    mark = idempotency.fingerprint("tickets", ask.account_id, ask.tickets, ask.reason)
    number = idempotency.once(tx, ask.scope, ask.key, mark, _grant, ask)
    return load_grant(tx, int(number))


def _grant(tx: Tx, ask: GrantAsk) -> str:
    seen_member(tx, ask.account_id, ask.by)
    row = {
        "account_id": ask.account_id,
        "tickets": ask.tickets,
        "reason": ask.reason,
        "by_account": ask.by.account_id,
        "once_key": idempotency.key_id(ask.scope, ask.key),
        "at": tx.now,
    }
    key = tx.execute(insert(ticket_grants), row).inserted_primary_key
    assert key is not None
    theirs = tickets_of(ask.account_id)
    lines = [
        (TICKET_ISSUE, Asset.TICKET, -ask.tickets),
        (theirs, Asset.TICKET, ask.tickets),
    ]
    try:
        journal = post(tx, BIZ, str(key[0]), "give" if ask.tickets > 0 else "take", lines)
    except Overdrawn as short:
        raise TicketsShort(f"{short.missing} are missing") from short
    after = next(each.balance_after for each in journal.entries if each.account == theirs)
    tell(tx, [(ask.account_id, "tickets.changed", {"tickets": ask.tickets, "balance": after})])
    was, now = {"tickets": after - ask.tickets}, {"tickets": after}
    _audit(tx, ask.by, "member.tickets", ask.account_id, was, now, ask.reason)
    return str(key[0])


def load_grant(tx: Tx, grant_id: int) -> Grant:
    row = tx.execute(select(ticket_grants).where(ticket_grants.c.id == grant_id)).one()
    values = {str(name): value for name, value in row._mapping.items()}
    return msgspec.convert(values, Grant)


def grants_of(tx: Tx, account_id: int, *, by: By, most: int) -> list[Grant]:
    """What was given and taken by hand, newest first. Raises MemberNotFound."""
    seen_member(tx, account_id, by)
    mine = select(ticket_grants).where(ticket_grants.c.account_id == account_id)
    rows = tx.execute(mine.order_by(ticket_grants.c.id.desc()).limit(most))
    return [
        msgspec.convert({str(n): value for n, value in row._mapping.items()}, Grant) for row in rows
    ]


def balance_of(tx: Tx, account_id: int) -> int:
    return balance(tx, tickets_of(account_id), Asset.TICKET)


def _see_reason(reason: str) -> None:
    if not reason.strip():
        raise ReasonMissing


def _audit(
    tx: Tx,
    by: By,
    action: str,
    account_id: int,
    before: dict[str, Any],
    after: dict[str, Any],
    reason: str,
) -> None:
    record(
        tx,
        actor=by,
        action=action,
        subject=f"member:{account_id}",
        before=before,
        after=after,
        reason=reason,
    )
