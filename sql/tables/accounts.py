"""People, their roles and sessions; grants of messages; WeChat's access tokens."""

from sqlalchemy import BigInteger, Column, Index, Integer, String, Text, UniqueConstraint

from sql.tables.base import table
from sql.types import Id

# An openid belongs to one mini-program: the same person is another account in the other.
accounts = table(
    "accounts",
    Column("id", Id, primary_key=True),
    Column("app", String(8), nullable=False),
    Column("openid", String(64), nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("blocked_at", BigInteger, nullable=True),
    UniqueConstraint("app", "openid"),
    sqlite_autoincrement=True,
)

# What was given by hand; what follows from the app signed in with is not stored.
account_roles = table(
    "account_roles",
    Column("account_id", BigInteger, primary_key=True, autoincrement=False),
    Column("role", String(16), primary_key=True),
    Column("since", BigInteger, nullable=False),
    clustered=True,
)

# key_hash: SHA-256 of the session key in hex; the key itself is nowhere.
# used_at: may lag behind the last use by some seconds, accounts/service.py says how many.
sessions = table(
    "sessions",
    Column("id", Id, primary_key=True),
    Column("key_hash", String(64), nullable=False),
    Column("account_id", BigInteger, nullable=False),
    Column("app", String(8), nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("used_at", BigInteger, nullable=False),
    Column("ends_at", BigInteger, nullable=False),
    Column("ended_at", BigInteger, nullable=True),
    UniqueConstraint("key_hash"),
    Index("ix_sessions_account_id", "account_id"),
    Index("ix_sessions_used_at", "used_at"),
    Index("ix_sessions_ends_at", "ends_at"),
    sqlite_autoincrement=True,
)

# One tap of the person grants one message of one template; count is how many are left.
message_grants = table(
    "message_grants",
    Column("account_id", BigInteger, primary_key=True, autoincrement=False),
    Column("template", String(64), primary_key=True),
    Column("count", Integer, nullable=False),
    Column("changed_at", BigInteger, nullable=False),
    clustered=True,
)

# One token an app id, shared by all processes: a second one would end the first.
# forced_on, forced_count: the day (since 1970, UTC) and number of forced renewals; WeChat
# allows twenty a day.
wechat_tokens = table(
    "wechat_tokens",
    Column("appid", String(64), primary_key=True),
    Column("token", Text, nullable=False),
    Column("expires_at", BigInteger, nullable=False),
    Column("forced_at", BigInteger, nullable=False),
    Column("forced_on", Integer, nullable=False),
    Column("forced_count", Integer, nullable=False),
)
