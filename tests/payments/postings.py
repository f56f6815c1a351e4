"""Postings the tests of the ledger share, and what they read of it."""

from typing import Any

from sqlalchemy import text

from payments.ledger import store
from payments.ledger.model import (
    GATEWAY,
    SALES,
    TICKET_ISSUE,
    TICKET_REDEEMED,
    Account,
    Asset,
    Line,
    tickets_of,
)
from sql.database import Database, Tx
from sql.triggers import create_triggers
from tests.sql.test_migrate import connected

LI, WANG = 7, 8


def paid(amount: int) -> list[Line]:
    return [Line(GATEWAY, Asset.CNY, -amount), Line(SALES, Asset.CNY, amount)]


def given(user: int, tickets: int) -> list[Line]:
    ticket = Asset.TICKET
    return [Line(TICKET_ISSUE, ticket, -tickets), Line(tickets_of(user), ticket, tickets)]


def spent(user: int, tickets: int) -> list[Line]:
    ticket = Asset.TICKET
    return [Line(tickets_of(user), ticket, -tickets), Line(TICKET_REDEEMED, ticket, tickets)]


async def balance(db: Database, account: Account, asset: Asset = Asset.CNY) -> int:
    return await db.read(store.balance, account, asset)


async def tickets(db: Database, user: int = LI) -> int:
    return await balance(db, tickets_of(user), Asset.TICKET)


async def count(db: Database, table: str) -> int:
    return int(await db.read(scalar, f"SELECT COUNT(*) FROM {table}"))


def scalar(tx: Tx, statement: str) -> Any:
    return tx.execute(text(statement)).scalar_one()


def tamper(url: str, *statements: str) -> None:
    """Do what no program of ours does: with the triggers and the checks out of the way."""
    with connected(url) as connection:
        for table in ("ledger_journals", "ledger_entries"):
            for event in ("update", "delete"):
                connection.execute(text(f"DROP TRIGGER IF EXISTS {table}_no_{event}"))
        sqlite = connection.dialect.name == "sqlite"
        switch = (
            "PRAGMA ignore_check_constraints = {}"
            if sqlite
            else ("SET SESSION check_constraint_checks = {}")
        )
        connection.execute(text(switch.format("ON" if sqlite else "OFF")))
        for statement in statements:
            connection.execute(text(statement))
        connection.commit()


def mend_triggers(url: str) -> None:
    """Let what was tampered with stand alone: put the triggers back."""
    with connected(url) as connection:
        create_triggers(connection)
        connection.commit()
