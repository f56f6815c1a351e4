"""Money: the ledger; alerts and incidents."""

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    Index,
    Integer,
    String,
    Text,
    UniqueConstraint,
)

from sql.tables.base import table
from sql.types import Id

# ---------------------------------------------------------------- ledger

# One row: how many journals there are. Its lock puts all who post into one line, so that the
# journals' ids are gapless and in the order in which balances changed.
ledger_head = table(
    "ledger_head",
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("journals", BigInteger, nullable=False),
)

# owner: an account's id for "user:…", 0 for the house. balance: the sum of the account's
# entries; version: their number. floor: NULL for the house, which may owe.
ledger_accounts = table(
    "ledger_accounts",
    Column("id", Id, primary_key=True),
    Column("owner", BigInteger, nullable=False),
    Column("kind", String(80), nullable=False),
    Column("asset", String(8), nullable=False),
    Column("balance", BigInteger, nullable=False),
    Column("floor", BigInteger, nullable=True),
    Column("version", BigInteger, nullable=False),
    UniqueConstraint("owner", "kind", "asset"),
    CheckConstraint("floor IS NULL OR balance >= floor", name="floor"),
    sqlite_autoincrement=True,
)

# Triggers refuse to change or remove a row (sql/triggers.py). reverses: the journal that this
# one takes back; unique, so that none is taken back twice.
ledger_journals = table(
    "ledger_journals",
    Column("id", BigInteger, primary_key=True, autoincrement=False),
    Column("biz", String(40), nullable=False),
    Column("biz_id", String(64), nullable=False),
    Column("step", String(40), nullable=False),
    Column("memo", String(200), nullable=False),
    Column("reverses", BigInteger, nullable=True),
    Column("at", BigInteger, nullable=False),
    UniqueConstraint("biz", "biz_id", "step"),
    UniqueConstraint("reverses"),
)

# Triggers as above. version: the account's after this entry, so that an account's entries are
# a chain: 1, 2, 3…, each with the balance it led to. The unique key lets nobody fork it.
ledger_entries = table(
    "ledger_entries",
    Column("journal_id", BigInteger, primary_key=True, autoincrement=False),
    Column("seq", Integer, primary_key=True, autoincrement=False),
    Column("account_id", BigInteger, nullable=False),
    Column("amount", BigInteger, nullable=False),
    Column("balance_after", BigInteger, nullable=False),
    Column("version", BigInteger, nullable=False),
    UniqueConstraint("account_id", "version"),
    CheckConstraint("amount <> 0", name="amount"),
    clustered=True,
)

# ---------------------------------------------------------------- alerts and incidents

# What must be looked at as long as it is so. open: 1 until it is cleared, then NULL, so that
# nothing is raised twice at a time.
alerts = table(
    "alerts",
    Column("id", Id, primary_key=True),
    Column("kind", String(40), nullable=False),
    Column("subject", String(120), nullable=False),
    Column("text", Text, nullable=False),
    Column("raised_at", BigInteger, nullable=False),
    Column("cleared_at", BigInteger, nullable=True),
    Column("open", Integer, nullable=True),
    UniqueConstraint("kind", "subject", "open"),
    Index("ix_alerts_open", "open"),
    sqlite_autoincrement=True,
)

# What has happened once and should not have: kept with what was received, as it was.
incidents = table(
    "incidents",
    Column("id", Id, primary_key=True),
    Column("kind", String(40), nullable=False),
    Column("subject", String(120), nullable=False),
    Column("text", Text, nullable=False),
    Column("raw", Text, nullable=False),
    Column("at", BigInteger, nullable=False),
    Index("ix_incidents_kind_subject", "kind", "subject"),
    sqlite_autoincrement=True,
)
