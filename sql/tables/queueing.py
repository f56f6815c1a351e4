"""Stalls, their sellers, tickets and months."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Float,
    Index,
    Integer,
    String,
    Text,
    UniqueConstraint,
    text,
)

from sql.tables.base import table
from sql.types import Id

stalls = table(
    "stalls",
    Column("id", Id, primary_key=True),
    Column("name", String(100), nullable=False),
    Column("person", String(100), nullable=False),
    Column("phone", String(32), nullable=False),
    Column("claim_code", String(64), nullable=False),
    Column("menu", Text, nullable=False),
    Column("image", String(100), nullable=False),
    Column("balance_months", Integer, nullable=False),
    Column("charged_month", Integer, nullable=False),
    Column("disabled", Boolean(create_constraint=False), nullable=False),
    Column("pick", String(8), nullable=False),
    Column("rest_s", Integer, nullable=False),
    Column("double_tap_s", Float, nullable=False),
    Column("remind_after_s", Integer, nullable=False),
    Column("release_after_min", Integer, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    UniqueConstraint("phone"),
    sqlite_autoincrement=True,
)

stall_sellers = table(
    "stall_sellers",
    Column("account_id", BigInteger, primary_key=True, autoincrement=False),
    Column("stall_id", BigInteger, nullable=False),
    Column("since", BigInteger, nullable=False),
    Index("ix_stall_sellers_stall_id", "stall_id"),
)

# id = stall_id << 32 | seq of the event that issued the ticket.
# live_number: the number while the ticket holds it, NULL afterwards; the unique key on it is
# the database's own promise that a number is never live twice at a stall.
tickets = table(
    "tickets",
    Column("id", BigInteger, primary_key=True, autoincrement=False),
    Column("stall_id", BigInteger, nullable=False),
    Column("number", Integer, nullable=False),
    Column("live_number", Integer, nullable=True),
    Column("status", String(10), nullable=False),
    Column("note", String(200), nullable=False),
    Column("diner_id", BigInteger, nullable=False),
    Column("diner_session", BigInteger, nullable=False),
    # "grant" is a reserved word of MySQL: the column says what it is a grant of.
    Column("grant_template", String(64), nullable=False),
    Column("issued_by", BigInteger, nullable=False),
    Column("issued_session", BigInteger, nullable=False),
    Column("issued_at", BigInteger, nullable=False),
    Column("queued_at", BigInteger, nullable=False),
    Column("noted_at", BigInteger, nullable=True),
    Column("called_at", BigInteger, nullable=True),
    Column("first_called_at", BigInteger, nullable=True),
    Column("calls", Integer, nullable=False),
    Column("reached_at", BigInteger, nullable=True),
    Column("unreached", Boolean(create_constraint=False), nullable=False),
    Column("ended_at", BigInteger, nullable=True),
    Column("ahead", Integer, nullable=False),
    Column("business_date", Integer, nullable=False),
    Column("changed_at", BigInteger, nullable=False),
    Column("undo_memory", Text, nullable=False),
    Index(
        "uq_tickets_stall_id_live_number",
        "stall_id",
        "live_number",
        unique=True,
        # The ended ones need no entry. MySQL has no such index, and gives NULLs one each.
        sqlite_where=text("live_number IS NOT NULL"),
    ),
    # Where the finished ones are many and the live ones few, this is the order to read them in.
    clustered=True,
)

# Which tickets a diner has bound, for who comes back with nothing but the account. Apart from
# the tickets, so that issuing and finishing a number does not touch it.
diner_tickets = table(
    "diner_tickets",
    Column("diner_id", BigInteger, primary_key=True, autoincrement=False),
    Column("bound_at", BigInteger, primary_key=True, autoincrement=False),
    Column("ticket_id", BigInteger, primary_key=True, autoincrement=False),
    Column("number", Integer, nullable=False),
    clustered=True,
)

# Months bought (positive) and months charged (-1, or 0 when there was nothing to charge).
# period: YYYYMM for a monthly charge, NULL for a renewal, so that a month is charged once.
stall_months = table(
    "stall_months",
    Column("id", Id, primary_key=True),
    Column("stall_id", BigInteger, nullable=False),
    Column("period", Integer, nullable=True),
    Column("months", Integer, nullable=False),
    Column("balance_after", Integer, nullable=False),
    Column("reason", String(200), nullable=False),
    Column("by_account", BigInteger, nullable=False),
    Column("at", BigInteger, nullable=False),
    UniqueConstraint("stall_id", "period"),
    sqlite_autoincrement=True,
)

# What a seller wants to buy: so many months for a debt. They are added when the debt is paid.
stall_purchases = table(
    "stall_purchases",
    Column("debt_id", BigInteger, primary_key=True, autoincrement=False),
    Column("stall_id", BigInteger, nullable=False),
    Column("months", Integer, nullable=False),
    Column("bought_at", BigInteger, nullable=False),
    Column("delivered_at", BigInteger, nullable=True),
    Column("taken_back", Integer, nullable=False),
    Index("ix_stall_purchases_stall_id", "stall_id"),
)
