"""Members and a till on each kind of database, and the routes on a real socket."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from sqlalchemy import Table, insert

from accounts.audit.model import By
from accounts.model import Session
from accounts.staff.permissions import kept
from commerce.members.phones import Phones
from commerce.members.service import Members
from commerce.members.store import GrantAsk
from handlers import rest_desk
from payments.ledger.holds import hold
from payments.ledger.model import TICKET_REDEEMED, Asset, tickets_of
from payments.ledger.store import post
from payments.service import Payments
from sql.database import Database, Tx
from sql.tables.accounts import accounts
from sql.tables.devices import cabinet_orders, door_sessions, staff_stores
from tests.clock import Clock
from tests.devices.fleet.maker import Office, serving, staff
from tests.payments.core.till import MERCHANT, Bank

LI, WANG, SELLER, BOSS, FRANCHISE = 7, 8, 9, 11, 13
SECRET = "a secret of the tests, long enough to sign with"


def by(account_id: int = BOSS) -> By:
    return By("staff", account_id, "10.0.0.9")


def furnish(tx: Tx) -> None:
    """Two diners, one of whom has bought in store 2; a seller, who is no member; two of staff."""
    people = [(LI, "diner"), (WANG, "diner"), (SELLER, "seller"), (BOSS, "staff")]
    for account_id, app in people:
        row = {"id": account_id, "app": app, "openid": f"o-{account_id}", "blocked_at": None}
        tx.execute(insert(accounts), {**row, "created_at": tx.now + account_id})
    tx.execute(insert(staff_stores), {"account_id": FRANCHISE, "store_id": 2})
    order = _blank(cabinet_orders)
    order |= {"id": 1, "no": "C1", "vendor": "x", "store_id": 2, "account_id": WANG}
    tx.execute(insert(cabinet_orders), order)


def shopped(tx: Tx, stores: dict[str, int]) -> None:
    """Wang visits these stores: ten tickets are set aside, and ten taken for an order."""
    for number, (name, store_id) in enumerate(stores.items(), start=5):
        common = {"store_id": store_id, "account_id": WANG}
        visit = {"id": number, "no": f"V-{name}", "request_id": name, "once_key": name}
        tx.execute(insert(door_sessions), {**_blank(door_sessions), **common, **visit})
        order = {"id": number, "no": f"C-{name}", "vendor": name}
        tx.execute(insert(cabinet_orders), {**_blank(cabinet_orders), **common, **order})
        hold(tx, "cabinet", str(number), tickets_of(WANG), Asset.TICKET, 10, f"V-{name}")
        lines = [(tickets_of(WANG), Asset.TICKET, -10), (TICKET_REDEEMED, Asset.TICKET, 10)]
        post(tx, "cabinet_order", f"CO{number}C1", "capture", lines, f"C-{name}")


def _blank(of: Table) -> dict[str, Any]:
    return {
        column.name: None if column.nullable else 0 if column.type.python_type is int else ""
        for column in of.columns
    }


@pytest.fixture
async def members(db: Database) -> Members:
    await db.write(furnish)
    return Members(db, Phones(SECRET))


@pytest.fixture
async def payments(db: Database, clock: Clock) -> AsyncIterator[Payments]:
    """All books are right when a test is over."""
    opened = Payments(db, Bank(clock), merchant=MERCHANT)
    yield opened
    assert await opened.check_books() == []


def ask(tickets: int, *, account_id: int = LI, key: str = "k", who: int = BOSS) -> GrantAsk:
    return GrantAsk(account_id=account_id, tickets=tickets, reason="生日礼物", by=by(who), key=key)


PEOPLE = {
    "boss": staff(BOSS, "owner"),
    "franchise": staff(FRANCHISE, "owner"),
    "kept": staff(FRANCHISE, kept("owner")),
    "finance": staff(21, "finance"),
    "support": staff(22, "support"),
    "readonly": staff(23, "readonly"),
    "li": Session(LI, LI, frozenset({"diner"}), "diner", 2**52),
}


@pytest.fixture
async def office(members: Members, clock: Clock) -> AsyncIterator[Office]:
    nobody: Any = None
    async with serving(rest_desk.routes(nobody, nobody, members), PEOPLE, clock.now) as opened:
        yield opened
