"""Goods and what is sold; members with their phone; batches for the ERP."""

from sqlalchemy import BigInteger, Column, Index, Integer, String, Text, UniqueConstraint

from sql.tables.base import table
from sql.types import Id

# What the ERP says is sold; it wins over anything changed here. erp_version: of the row it sent,
# so that an older one that comes late changes nothing. status: 1 sold, 0 not any more.
goods = table(
    "goods",
    Column("id", Id, primary_key=True),
    Column("sku", String(50), nullable=False),
    Column("barcode", String(32), nullable=False),
    Column("name", String(100), nullable=False),
    Column("price_fen", BigInteger, nullable=False),
    Column("weight_g", Integer, nullable=False),
    Column("image_url", String(200), nullable=False),
    Column("status", Integer, nullable=False),
    Column("erp_version", BigInteger, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("updated_at", BigInteger, nullable=False),
    UniqueConstraint("sku"),
    Index("ix_goods_barcode", "barcode"),
    sqlite_autoincrement=True,
)

# How far a synchronisation has come, by name ("goods"): the vendor's own cursor.
sync_cursors = table(
    "sync_cursors",
    Column("name", String(40), primary_key=True),
    Column("cursor", String(200), nullable=False),
    Column("changed_at", BigInteger, nullable=False),
)

# The history of sales: one row a line at payment, and one with minus signs at its refund.
# biz, biz_no: which order ("cabinet", its number); step: the payment or refund it stands for.
# day: YYYYMMDD in Beijing. batch_id: the batch that took it to the ERP, NULL until then.
sales = table(
    "sales",
    Column("id", Id, primary_key=True),
    Column("biz", String(16), nullable=False),
    Column("biz_no", String(50), nullable=False),
    Column("step", String(40), nullable=False),
    Column("line", Integer, nullable=False),
    Column("store_code", String(50), nullable=False),
    Column("device_code", String(50), nullable=False),
    Column("sku", String(50), nullable=False),
    Column("name", String(100), nullable=False),
    Column("quantity", Integer, nullable=False),
    Column("amount_fen", BigInteger, nullable=False),
    Column("tickets", BigInteger, nullable=False),
    Column("paid_by", String(8), nullable=False),
    Column("at", BigInteger, nullable=False),
    Column("day", Integer, nullable=False),
    Column("batch_id", BigInteger, nullable=True),
    UniqueConstraint("biz", "biz_no", "step", "line"),
    Index("ix_sales_batch_id_day", "batch_id", "day"),
    Index("ix_sales_day", "day"),
    sqlite_autoincrement=True,
)

# A parcel of sales for the ERP, with a number that stays the same however often it is sent.
# state: waiting, sent. erp_no: what the ERP has given it.
sales_batches = table(
    "sales_batches",
    Column("id", Id, primary_key=True),
    Column("batch_no", String(40), nullable=False),
    Column("day", Integer, nullable=False),
    Column("lines", Integer, nullable=False),
    Column("amount_fen", BigInteger, nullable=False),
    Column("tickets", BigInteger, nullable=False),
    Column("state", String(8), nullable=False),
    Column("erp_no", String(64), nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("sent_at", BigInteger, nullable=True),
    UniqueConstraint("batch_no"),
    Index("ix_sales_batches_day", "day"),
    sqlite_autoincrement=True,
)

# What is known of a person besides the account. phone_box: the phone encrypted, "" without one;
# phone_hash: keyed, for search; phone_tail: the last four digits, for lists.
# barred_at: may not open a cabinet.
members = table(
    "members",
    Column("account_id", BigInteger, primary_key=True, autoincrement=False),
    Column("username", String(100), nullable=False),
    Column("phone_box", String(255), nullable=False),
    Column("phone_hash", String(64), nullable=False),
    Column("phone_tail", String(4), nullable=False),
    Column("barred_at", BigInteger, nullable=True),
    Column("barred_reason", String(200), nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("updated_at", BigInteger, nullable=False),
    Index("ix_members_phone_hash", "phone_hash"),
)

# Tickets given or taken by hand, with who and why; the amounts themselves are in the ledger.
ticket_grants = table(
    "ticket_grants",
    Column("id", Id, primary_key=True),
    Column("account_id", BigInteger, nullable=False),
    Column("tickets", BigInteger, nullable=False),
    Column("reason", String(200), nullable=False),
    Column("by_account", BigInteger, nullable=False),
    Column("once_key", String(64), nullable=False),
    Column("at", BigInteger, nullable=False),
    UniqueConstraint("once_key"),
    Index("ix_ticket_grants_account_id", "account_id"),
    sqlite_autoincrement=True,
)

# Made once a day and kind; never changed. body: JSON.
reports = table(
    "reports",
    Column("id", Id, primary_key=True),
    Column("kind", String(16), nullable=False),
    Column("day", Integer, nullable=False),
    Column("body", Text, nullable=False),
    Column("made_at", BigInteger, nullable=False),
    UniqueConstraint("kind", "day"),
    sqlite_autoincrement=True,
)
