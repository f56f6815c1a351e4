"""The people of the back office, and the chained record of what they did."""

from sqlalchemy import BigInteger, Column, Integer, String, Text, UniqueConstraint
from sqlalchemy.dialects.mysql import MEDIUMTEXT

from sql.tables.base import table
from sql.types import Id

# Before and after hold what was changed as JSON; a stall's menu alone may be 64 KiB of it.
_Json = Text().with_variant(MEDIUMTEXT(), "mysql")

# account_id: the same person in `accounts` (app "staff"), so that sessions know nothing new.
# login_key: the login name folded, so that `Li` and `li` are one name on both databases.
# password_hash: argon2 in its own notation, with its parameters and salt.
# status: 1 works, 0 was deleted; a deleted account keeps its row and its history.
# totp_secret: "" without a second factor; totp_pending: shown, but not yet proved to be held.
# totp_step: the 30-second step of the last code taken, so that none is taken twice.
staff = table(
    "staff",
    Column("account_id", BigInteger, primary_key=True, autoincrement=False),
    Column("login_name", String(20), nullable=False),
    Column("login_key", String(60), nullable=False),
    Column("nickname", String(100), nullable=False),
    Column("mobile", String(20), nullable=False),
    Column("email", String(100), nullable=False),
    Column("sex", Integer, nullable=False),
    Column("avatar", String(64), nullable=False),
    Column("role", String(16), nullable=False),
    Column("status", Integer, nullable=False),
    Column("password_hash", String(255), nullable=False),
    Column("totp_secret", String(64), nullable=False),
    Column("totp_pending", String(64), nullable=False),
    Column("totp_step", BigInteger, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("updated_at", BigInteger, nullable=False),
    UniqueConstraint("login_key"),
)

# id: the place in the chain, from 1 without gaps. hash: SHA-256 over the row and the hash of
# the row before. Triggers refuse to change or remove a row.
staff_audit = table(
    "staff_audit",
    Column("id", Id, primary_key=True),
    Column("at", BigInteger, nullable=False),
    Column("actor_id", BigInteger, nullable=False, index=True),
    Column("actor", String(40), nullable=False),
    Column("address", String(64), nullable=False),
    Column("action", String(40), nullable=False, index=True),
    Column("subject", String(64), nullable=False, index=True),
    Column("before", _Json, nullable=False),
    Column("after", _Json, nullable=False),
    Column("reason", String(200), nullable=False),
    Column("prev_hash", String(64), nullable=False),
    Column("hash", String(64), nullable=False),
    sqlite_autoincrement=True,
)

# One row: where the chain ends. Its lock puts the writers into a line, and it tells of rows
# that were cut off the end.
staff_audit_head = table(
    "staff_audit_head",
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("seq", BigInteger, nullable=False),
    Column("hash", String(64), nullable=False),
)
