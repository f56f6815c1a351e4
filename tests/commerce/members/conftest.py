"""Members and a till on each kind of database, and the routes on a real socket."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from sqlalchemy import insert

from accounts.audit.model import By
from accounts.model import Session
from commerce.members.phones import Phones
from commerce.members.service import Members
from commerce.members.store import GrantAsk
from handlers import rest_desk
from payments.service import Payments
from sql.database import Database, Tx
from sql.tables.accounts import accounts
from sql.tables.devices import cabinet_orders, staff_stores
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
    order: dict[str, Any] = {
        column.name: None if column.nullable else 0 if column.type.python_type is int else ""
        for column in cabinet_orders.columns
    }
    order |= {"id": 1, "no": "C1", "vendor": "x", "store_id": 2, "account_id": WANG}
    tx.execute(insert(cabinet_orders), order)


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
