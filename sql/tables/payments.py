"""Money: the ledger; alerts and incidents; what is owed, paid and sent back."""

import base64
from collections.abc import Callable

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Dialect,
    Index,
    Integer,
    LargeBinary,
    String,
    Text,
    UniqueConstraint,
)
from sqlalchemy.dialects.mysql import MEDIUMBLOB

from sql.tables.base import table
from sql.types import Id

# A body that is no UTF-8, or begins like this, is kept as this and BASE64.
_MARK = "base64:"


# A notice may be 64 KiB, one byte more than MySQL's BLOB takes.
class _Blob(MEDIUMBLOB):
    """Handed over as text: the driver takes no bytes (aiomysql 0.3 with PyMySQL 1.2).

    UNHEX() in the statement would do as well, but then the driver sends each row of many alone.
    """

    def bind_processor(self, _: Dialect) -> Callable[[bytes | None], str | None]:
        return lambda body: None if body is None else _as_text(body)

    def result_processor(self, _: Dialect, __: object) -> Callable[[bytes], bytes]:
        return _as_bytes


def _as_text(body: bytes) -> str:
    try:
        text = body.decode()
    except UnicodeDecodeError:
        text = _MARK
    if text.startswith(_MARK):
        return _MARK + base64.b64encode(body).decode()
    return text


def _as_bytes(kept: bytes) -> bytes:
    if kept.startswith(_MARK.encode()):
        return base64.b64decode(kept.removeprefix(_MARK.encode()))
    return kept


Bytes = LargeBinary().with_variant(_Blob(), "mysql")

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

# ---------------------------------------------------------------- debts and attempts

# kind and subject: what it is owed for, in the words of the domain. account: the ledger's, where
# the money belongs. next_at: when it must be cancelled, unless it is paid; NULL when nothing is
# to be done. version: how many moves there were.
debts = table(
    "debts",
    Column("id", Id, primary_key=True),
    Column("kind", String(40), nullable=False),
    Column("subject", BigInteger, nullable=False),
    Column("payer_id", BigInteger, nullable=False),
    Column("amount_fen", BigInteger, nullable=False),
    Column("refunded_fen", BigInteger, nullable=False),
    Column("account", String(80), nullable=False),
    Column("description", String(128), nullable=False),
    Column("state", String(12), nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger, nullable=True),
    Column("cancel_asked_at", BigInteger, nullable=True),
    Column("ended_at", BigInteger, nullable=True),
    Column("next_at", BigInteger, nullable=True),
    Column("version", BigInteger, nullable=False),
    Index("ix_debts_kind_subject", "kind", "subject"),
    Index("ix_debts_payer_id", "payer_id"),
    Index("ix_debts_next_at", "next_at"),
    CheckConstraint("amount_fen >= 1", name="amount"),
    CheckConstraint("refunded_fen >= 0 AND refunded_fen <= amount_fen", name="refunded"),
    sqlite_autoincrement=True,
)

# live_debt: the debt while the attempt may be paid, NULL afterwards; the unique key on it is the
# database's own promise of one live attempt a debt. request: the order as it was first sent.
# next_at: when WeChat is asked next; asked_at: when it was last. failure: why it was refused.
payment_attempts = table(
    "payment_attempts",
    Column("id", Id, primary_key=True),
    Column("debt_id", BigInteger, nullable=False),
    Column("live_debt", BigInteger, nullable=True),
    Column("out_trade_no", String(32), nullable=False),
    Column("trade_type", String(8), nullable=False),
    Column("openid", String(128), nullable=False),
    Column("amount_fen", BigInteger, nullable=False),
    Column("request", Text, nullable=False),
    Column("request_hash", String(64), nullable=False),
    Column("state", String(12), nullable=False),
    Column("prepay_id", String(64), nullable=False),
    Column("code_url", String(512), nullable=False),
    Column("prepaid_at", BigInteger, nullable=True),
    Column("created_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger, nullable=False),
    Column("next_at", BigInteger, nullable=True),
    Column("asked_at", BigInteger, nullable=False),
    Column("ended_at", BigInteger, nullable=True),
    Column("failure", String(200), nullable=False),
    UniqueConstraint("out_trade_no"),
    UniqueConstraint("live_debt"),
    Index("ix_payment_attempts_debt_id", "debt_id"),
    Index("ix_payment_attempts_next_at", "next_at"),
    CheckConstraint("amount_fen >= 1", name="amount"),
    sqlite_autoincrement=True,
)

# Money that has come in, once for each of WeChat's transactions. debt_id: the debt it paid;
# NULL while it is in suspense. reserved_fen: promised to refunds.
receipts = table(
    "receipts",
    Column("transaction_id", String(64), primary_key=True),
    Column("out_trade_no", String(64), nullable=False),
    Column("debt_id", BigInteger, nullable=True),
    Column("amount_fen", BigInteger, nullable=False),
    Column("reserved_fen", BigInteger, nullable=False),
    Column("appid", String(32), nullable=False),
    Column("mch_id", String(32), nullable=False),
    Column("openid", String(128), nullable=False),
    Column("paid_at", BigInteger, nullable=False),
    Column("received_at", BigInteger, nullable=False),
    Column("source", String(8), nullable=False),
    UniqueConstraint("debt_id"),
    Index("ix_receipts_out_trade_no", "out_trade_no"),
    Index("ix_receipts_paid_at", "paid_at"),
    Index("ix_receipts_received_at", "received_at"),
    CheckConstraint("amount_fen >= 1", name="amount"),
    CheckConstraint("reserved_fen >= 0 AND reserved_fen <= amount_fen", name="reserved"),
)

# Every notice as it came. sha256: of path and body, so that a repeat is known. verdict: what
# became of it. times: how often it has come.
payment_notices = table(
    "payment_notices",
    Column("id", Id, primary_key=True),
    Column("sha256", String(64), nullable=False),
    Column("path", String(100), nullable=False),
    Column("headers", Text, nullable=False),
    Column("body", Bytes, nullable=False),
    Column("is_verified", Boolean(create_constraint=False), nullable=False),
    Column("verdict", String(40), nullable=False),
    Column("number", String(64), nullable=False),
    Column("times", Integer, nullable=False),
    Column("received_at", BigInteger, nullable=False),
    Column("last_at", BigInteger, nullable=False),
    UniqueConstraint("sha256"),
    Index("ix_payment_notices_is_verified_received_at", "is_verified", "received_at"),
    Index("ix_payment_notices_number", "number"),
    sqlite_autoincrement=True,
)

# ---------------------------------------------------------------- refunds

# once_key: what the money is sent back for, in words of whoever asked, so that it is sent once.
# account_owner and account: the ledger account it is taken from. next_at: as above.
refunds = table(
    "refunds",
    Column("id", Id, primary_key=True),
    Column("out_refund_no", String(64), nullable=False),
    Column("once_key", String(120), nullable=True),
    Column("transaction_id", String(64), nullable=False),
    Column("out_trade_no", String(64), nullable=False),
    Column("debt_id", BigInteger, nullable=True),
    Column("account_owner", BigInteger, nullable=False),
    Column("account", String(80), nullable=False),
    Column("total_fen", BigInteger, nullable=False),
    Column("amount_fen", BigInteger, nullable=False),
    Column("reason", String(80), nullable=False),
    Column("asked_by", BigInteger, nullable=False),
    Column("status", String(12), nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("requested_at", BigInteger, nullable=True),
    Column("accepted_at", BigInteger, nullable=True),
    Column("next_at", BigInteger, nullable=True),
    Column("ended_at", BigInteger, nullable=True),
    Column("failure", String(200), nullable=False),
    UniqueConstraint("out_refund_no"),
    UniqueConstraint("once_key"),
    Index("ix_refunds_transaction_id", "transaction_id"),
    Index("ix_refunds_debt_id", "debt_id"),
    Index("ix_refunds_status", "status"),
    Index("ix_refunds_next_at", "next_at"),
    Index("ix_refunds_accepted_at", "accepted_at"),
    CheckConstraint("amount_fen >= 1 AND amount_fen <= total_fen", name="amount"),
    sqlite_autoincrement=True,
)

# Who has decided about a refund that needs a second person, or about one that failed.
refund_approvals = table(
    "refund_approvals",
    Column("id", Id, primary_key=True),
    Column("refund_id", BigInteger, nullable=False),
    Column("account_id", BigInteger, nullable=False),
    Column("verdict", String(12), nullable=False),
    Column("reason", String(200), nullable=False),
    Column("at", BigInteger, nullable=False),
    Index("ix_refund_approvals_refund_id", "refund_id"),
    sqlite_autoincrement=True,
)

# ---------------------------------------------------------------- the daily bill

# Where WeChat's bill and our books do not agree; a person explains it, we mend nothing.
bill_differences = table(
    "bill_differences",
    Column("id", Id, primary_key=True),
    Column("day", Integer, nullable=False),
    Column("kind", String(24), nullable=False),
    Column("number", String(64), nullable=False),
    Column("here_fen", BigInteger, nullable=False),
    Column("there_fen", BigInteger, nullable=False),
    Column("found_at", BigInteger, nullable=False),
    Column("explained_at", BigInteger, nullable=True),
    Column("explained_by", BigInteger, nullable=False),
    Column("explanation", String(400), nullable=False),
    UniqueConstraint("day", "kind", "number"),
    sqlite_autoincrement=True,
)

# ---------------------------------------------------------------- Payscore

# A service order of Payscore: use first, pay later. biz, biz_id: what it is for, in the words of
# a domain. phase: as payments/wechat/payscore_model.py has it, and "new" until WeChat has answered.
# wanted: what we want of it next: "", complete, cancel, sync. fee_fen: what was asked for, NULL
# before. debt_id: the debt its deduction pays. next_at: when WeChat is asked about it next.
payscore_orders = table(
    "payscore_orders",
    Column("id", Id, primary_key=True),
    Column("out_order_no", String(32), nullable=False),
    Column("biz", String(16), nullable=False),
    Column("biz_id", BigInteger, nullable=False),
    Column("account_id", BigInteger, nullable=False),
    Column("openid", String(64), nullable=False),
    Column("request", Text, nullable=False),
    Column("phase", String(12), nullable=False),
    Column("wanted", String(8), nullable=False),
    Column("risk_fen", BigInteger, nullable=False),
    Column("fee_fen", BigInteger, nullable=True),
    Column("fee", Text, nullable=False),
    Column("order_id", String(64), nullable=False),
    Column("package", String(400), nullable=False),
    Column("debt_id", BigInteger, nullable=True),
    Column("created_at", BigInteger, nullable=False),
    Column("started_at", BigInteger, nullable=True),
    Column("ended_at", BigInteger, nullable=True),
    Column("next_at", BigInteger, nullable=True),
    Column("tries", Integer, nullable=False),
    Column("failure", String(200), nullable=False),
    Column("version", BigInteger, nullable=False),
    UniqueConstraint("out_order_no"),
    UniqueConstraint("biz", "biz_id"),
    Index("ix_payscore_orders_next_at", "next_at"),
    Index("ix_payscore_orders_debt_id", "debt_id"),
    sqlite_autoincrement=True,
)

# Whether a user lets us open service orders without confirming each. authorization_code: ours,
# good once. state: asked, open or closed. changed_at: when WeChat says that it changed last.
payscore_permissions = table(
    "payscore_permissions",
    Column("id", Id, primary_key=True),
    Column("authorization_code", String(32), nullable=False),
    Column("account_id", BigInteger, nullable=False),
    Column("openid", String(64), nullable=False),
    Column("state", String(8), nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("changed_at", BigInteger, nullable=False),
    UniqueConstraint("authorization_code"),
    Index("ix_payscore_permissions_openid", "openid"),
    sqlite_autoincrement=True,
)
