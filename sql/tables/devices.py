"""Cabinets: stores, devices, what is in them, door sessions, orders, and what needs a person.

In columns that end in `_key` and are unique, a text stands for as long as something is so, and
NULL afterwards: both databases let any number of rows be NULL.
"""

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
from sqlalchemy.dialects.mysql import MEDIUMTEXT

from sql.tables.base import table
from sql.tables.payments import Bytes
from sql.types import Id

_Json = Text().with_variant(MEDIUMTEXT(), "mysql")

# ---------------------------------------------------------------- stores and devices

# type: kids, arcade, sports (儿童, 电玩, 运动馆); property: own, franchise (直营, 加盟).
# review_limit_fen: orders above it wait for a person; NULL takes the setting.
stores = table(
    "stores",
    Column("id", Id, primary_key=True),
    Column("code", String(50), nullable=False),
    Column("name", String(100), nullable=False),
    Column("type", String(8), nullable=False),
    Column("property", String(9), nullable=False),
    Column("address", String(200), nullable=False),
    Column("phone", String(20), nullable=False),
    Column("review_limit_fen", BigInteger, nullable=True),
    Column("deleted_at", BigInteger, nullable=True),
    Column("created_at", BigInteger, nullable=False),
    Column("updated_at", BigInteger, nullable=False),
    UniqueConstraint("code"),
    sqlite_autoincrement=True,
)

# Which stores a staff account sees; one without a row here sees all.
staff_stores = table(
    "staff_stores",
    Column("account_id", BigInteger, primary_key=True, autoincrement=False),
    Column("store_id", BigInteger, primary_key=True, autoincrement=False),
    clustered=True,
)

# status: new (known, not bound), binding and leaving (the vendor is asked), bound, retired.
# store_id: where it stands or is to stand, NULL for a new or retired one.
# service: open, maintenance (nobody may shop). sale_lock: why nobody may, "" without a reason.
# link: never, online, suspect, offline, unknown. last_seen_at: by our clock. epoch: counts the
# risings of the link, so that a late fall of an earlier one is told apart.
# boot_id, seq: of the last event that was in order; boots: ids of starts before that one.
# reported, desired: JSON. deadline_at: when the link is judged next. asked_at: when the vendor
# was asked during this silence and could not say that it lives. flips: JSON, times of the last
# changes between online and not. sampled_at: of the last row of telemetry. told_at: of the last
# event about what it reports, tell_at: when the next one may be told, NULL when none waits.
# push_at: when what is desired is sent again. version: of the row's live part.
devices = table(
    "devices",
    Column("id", Id, primary_key=True),
    Column("vendor", String(16), nullable=False),
    Column("code", String(50), nullable=False),
    Column("name", String(100), nullable=False),
    Column("store_id", BigInteger, nullable=True),
    Column("status", String(8), nullable=False),
    Column("service", String(12), nullable=False),
    Column("qr_version", Integer, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("updated_at", BigInteger, nullable=False),
    Column("link", String(8), nullable=False),
    Column("link_since", BigInteger, nullable=False),
    Column("last_seen_at", BigInteger, nullable=True),
    Column("deadline_at", BigInteger, nullable=True),
    Column("epoch", BigInteger, nullable=False),
    Column("boot_id", String(40), nullable=False),
    Column("boots", String(200), nullable=False),
    Column("seq", BigInteger, nullable=False),
    Column("asked_at", BigInteger, nullable=True),
    Column("flips", String(200), nullable=False),
    Column("reported", _Json, nullable=False),
    Column("reported_at", BigInteger, nullable=True),
    Column("sampled_at", BigInteger, nullable=True),
    Column("told_at", BigInteger, nullable=True),
    Column("tell_at", BigInteger, nullable=True),
    Column("desired", _Json, nullable=False),
    Column("desired_version", Integer, nullable=False),
    Column("desired_by", BigInteger, nullable=False),
    Column("desired_at", BigInteger, nullable=True),
    Column("desired_pushes", Integer, nullable=False),
    Column("push_at", BigInteger, nullable=True),
    Column("sale_lock", String(40), nullable=False),
    Column("sale_lock_by", BigInteger, nullable=False),
    Column("sale_lock_at", BigInteger, nullable=True),
    Column("faults", Integer, nullable=False),
    Column("planogram_version", Integer, nullable=False),
    Column("version", BigInteger, nullable=False),
    UniqueConstraint("vendor", "code"),
    Index("ix_devices_store_id", "store_id"),
    Index("ix_devices_deadline_at", "deadline_at"),
    Index("ix_devices_tell_at", "tell_at"),
    Index("ix_devices_push_at", "push_at"),
    sqlite_autoincrement=True,
)

device_doors = table(
    "device_doors",
    Column("device_id", BigInteger, primary_key=True, autoincrement=False),
    Column("door_no", Integer, primary_key=True, autoincrement=False),
    Column("lock", String(8), nullable=False),
    Column("door", String(8), nullable=False),
    Column("changed_at", BigInteger, nullable=True),
    clustered=True,
)

# Where a device stood, from when until when; the open one has the device's id as open_key.
# state: binding, bound, unbinding, unbound, refused (it never was). begun_at: when it was decided,
# before the vendor is asked; bound_at NULL: never confirmed. problem: what the vendor said last.
device_bindings = table(
    "device_bindings",
    Column("id", Id, primary_key=True),
    Column("device_id", BigInteger, nullable=False),
    Column("store_id", BigInteger, nullable=False),
    Column("open_key", BigInteger, nullable=True),
    Column("state", String(9), nullable=False),
    Column("begun_at", BigInteger, nullable=False),
    Column("bound_at", BigInteger, nullable=True),
    Column("bound_by", BigInteger, nullable=False),
    Column("unbound_at", BigInteger, nullable=True),
    Column("unbound_by", BigInteger, nullable=False),
    Column("reason", String(200), nullable=False),
    Column("problem", String(200), nullable=False),
    UniqueConstraint("open_key"),
    Index("ix_device_bindings_device_id", "device_id"),
    sqlite_autoincrement=True,
)

# Temperature and the like: on a change, and every five minutes.
telemetry = table(
    "telemetry",
    Column("device_id", BigInteger, primary_key=True, autoincrement=False),
    Column("at", BigInteger, primary_key=True, autoincrement=False),
    Column("body", Text, nullable=False),
    clustered=True,
)

# ---------------------------------------------------------------- what is in them

# A layout with its prices, put to the vendor as one version. state: waiting (to be put), put,
# refused. Prices of an order are those of the version at the start of its session.
planograms = table(
    "planograms",
    Column("device_id", BigInteger, primary_key=True, autoincrement=False),
    Column("version", Integer, primary_key=True, autoincrement=False),
    Column("base_version", Integer, nullable=False),
    Column("state", String(8), nullable=False),
    Column("slots", _Json, nullable=False),
    Column("by_account", BigInteger, nullable=False),
    Column("at", BigInteger, nullable=False),
    Column("put_at", BigInteger, nullable=True),
    clustered=True,
)

# How many are there now, by our count. expires_on: YYYYMMDD of the earliest, NULL without one.
door_stock = table(
    "door_stock",
    Column("device_id", BigInteger, primary_key=True, autoincrement=False),
    Column("door_no", Integer, primary_key=True, autoincrement=False),
    Column("sku", String(50), primary_key=True),
    Column("quantity", Integer, nullable=False),
    Column("capacity", Integer, nullable=False),
    Column("expires_on", Integer, nullable=True),
    Column("blocked_at", BigInteger, nullable=True),
    Column("changed_at", BigInteger, nullable=False),
    Index("ix_door_stock_expires_on", "expires_on"),
    clustered=True,
)

# Why it changed. kind: restock, sale, correction, count, return. once_key: by what, so once.
stock_moves = table(
    "stock_moves",
    Column("id", Id, primary_key=True),
    Column("device_id", BigInteger, nullable=False),
    Column("door_no", Integer, nullable=False),
    Column("sku", String(50), nullable=False),
    Column("kind", String(10), nullable=False),
    Column("delta", Integer, nullable=False),
    Column("after", Integer, nullable=False),
    Column("ref", String(64), nullable=False),
    Column("once_key", String(120), nullable=False),
    Column("by_account", BigInteger, nullable=False),
    Column("at", BigInteger, nullable=False),
    UniqueConstraint("once_key"),
    Index("ix_stock_moves_device_id_at", "device_id", "at"),
    sqlite_autoincrement=True,
)

# What the vendor has of our goods. state: waiting, done, refused.
vendor_goods = table(
    "vendor_goods",
    Column("vendor", String(16), primary_key=True),
    Column("sku", String(50), primary_key=True),
    Column("mark", String(64), nullable=False),
    Column("state", String(8), nullable=False),
    Column("error", String(200), nullable=False),
    Column("changed_at", BigInteger, nullable=False),
    Index("ix_vendor_goods_state", "state"),
)

# ---------------------------------------------------------------- what the vendor says

# Every verified event, as it came, before it is answered. state: new, done, quarantined, dead.
# device_code: in whose order it is worked off. occurred_at: the vendor's clock, never trusted.
# next_at: when it is worked; of one that is done, when it is forgotten.
callback_inbox = table(
    "callback_inbox",
    Column("id", Id, primary_key=True),
    Column("vendor", String(16), nullable=False),
    Column("endpoint_id", String(64), nullable=False),
    Column("event_id", String(64), nullable=False),
    Column("event_type", String(40), nullable=False),
    Column("device_code", String(50), nullable=False),
    Column("body", Bytes, nullable=False),
    Column("occurred_at", BigInteger, nullable=False),
    Column("received_at", BigInteger, nullable=False),
    Column("state", String(11), nullable=False),
    Column("tries", Integer, nullable=False),
    Column("next_at", BigInteger, nullable=True),
    Column("ended_at", BigInteger, nullable=True),
    Column("outcome", String(200), nullable=False),
    UniqueConstraint("vendor", "endpoint_id", "event_id"),
    Index("ix_callback_inbox_state_next_at", "state", "next_at"),
    Index("ix_callback_inbox_state_vendor_device_code_id", "state", "vendor", "device_code", "id"),
    sqlite_autoincrement=True,
)

# Kept ten minutes: the same nonce and body is a repeat, another body with it a replay.
callback_nonces = table(
    "callback_nonces",
    Column("endpoint_id", String(64), primary_key=True),
    Column("nonce", String(64), primary_key=True),
    Column("body_hash", String(64), nullable=False),
    Column("answer", Text, nullable=False),
    Column("at", BigInteger, nullable=False),
    Index("ix_callback_nonces_at", "at"),
)

# ---------------------------------------------------------------- door sessions

# no: ours, shown to the vendor. request_id: of the one open command there ever is.
# purpose: shop, restock, inspect. state: see devices/sessions/model.py.
# door_key "device:door", user_key the account: while it is physical (requested, opening, open).
# hold_tickets: set aside at the opening. score_no: the Payscore order's number, "" without one.
# prices: JSON of the planogram's prices at the start. due_at: when its timer strikes next.
# manual_at: since when it is on the manual list.
door_sessions = table(
    "door_sessions",
    Column("id", Id, primary_key=True),
    Column("no", String(32), nullable=False),
    Column("request_id", String(64), nullable=False),
    Column("once_key", String(64), nullable=False),
    Column("vendor", String(16), nullable=False),
    Column("device_id", BigInteger, nullable=False),
    Column("door_no", Integer, nullable=False),
    Column("store_id", BigInteger, nullable=False),
    Column("account_id", BigInteger, nullable=False),
    Column("purpose", String(8), nullable=False),
    Column("pay_with", String(8), nullable=False),
    Column("state", String(12), nullable=False),
    Column("door_key", String(40), nullable=True),
    Column("user_key", BigInteger, nullable=True),
    Column("hold_tickets", BigInteger, nullable=False),
    Column("score_no", String(32), nullable=False),
    Column("limit_fen", BigInteger, nullable=False),
    Column("planogram_version", Integer, nullable=False),
    Column("prices", _Json, nullable=False),
    Column("vendor_order_no", String(64), nullable=False),
    Column("fail_code", String(40), nullable=False),
    Column("requested_at", BigInteger, nullable=False),
    Column("sent_at", BigInteger, nullable=True),
    Column("expires_at", BigInteger, nullable=False),
    Column("unlocked_at", BigInteger, nullable=True),
    Column("opened_at", BigInteger, nullable=True),
    Column("closed_at", BigInteger, nullable=True),
    Column("ended_at", BigInteger, nullable=True),
    Column("due_at", BigInteger, nullable=True),
    Column("pulls", Integer, nullable=False),
    Column("manual_at", BigInteger, nullable=True),
    Column("version", BigInteger, nullable=False),
    UniqueConstraint("no"),
    UniqueConstraint("request_id"),
    UniqueConstraint("once_key"),
    UniqueConstraint("door_key"),
    UniqueConstraint("user_key"),
    Index("ix_door_sessions_due_at", "due_at"),
    Index("ix_door_sessions_account_id", "account_id"),
    Index("ix_door_sessions_device_id_id", "device_id", "id"),
    Index("ix_door_sessions_state", "state"),
    Index("ix_door_sessions_vendor_order_no", "vendor_order_no"),
    sqlite_autoincrement=True,
)

# ---------------------------------------------------------------- orders

# kind: normal, corrected, supplement (正常, 已修正, 补扣). related_no: what a supplement is of.
# session_id: NULL for an order nobody's session was found for. session_key: the session's id for
# its one main order, NULL for supplements. due_fen: by the latest accepted revision.
# paid_fen, refunded_fen: what has come and gone, of either kind of money, as fen.
# state: pushed, review, charging, paid, unpaid, waived, empty.
cabinet_orders = table(
    "cabinet_orders",
    Column("id", Id, primary_key=True),
    Column("no", String(50), nullable=False),
    Column("kind", String(10), nullable=False),
    Column("related_no", String(50), nullable=False),
    Column("session_id", BigInteger, nullable=True),
    Column("session_key", BigInteger, nullable=True),
    Column("vendor", String(16), nullable=False),
    Column("vendor_order_no", String(64), nullable=True),
    Column("device_id", BigInteger, nullable=False),
    Column("store_id", BigInteger, nullable=False),
    Column("account_id", BigInteger, nullable=False),
    Column("phone_box", String(255), nullable=False),
    Column("pay_with", String(8), nullable=False),
    Column("state", String(9), nullable=False),
    Column("due_fen", BigInteger, nullable=False),
    Column("paid_fen", BigInteger, nullable=False),
    Column("wechat_fen", BigInteger, nullable=False),
    Column("tickets", BigInteger, nullable=False),
    Column("refunded_fen", BigInteger, nullable=False),
    Column("rev", Integer, nullable=False),
    Column("lines", _Json, nullable=False),
    Column("ordered_at", BigInteger, nullable=False),
    Column("paid_at", BigInteger, nullable=True),
    Column("version", BigInteger, nullable=False),
    UniqueConstraint("no"),
    UniqueConstraint("vendor", "vendor_order_no"),
    UniqueConstraint("session_key"),
    CheckConstraint("due_fen >= 0 AND paid_fen >= 0 AND refunded_fen >= 0", name="amounts"),
    CheckConstraint("refunded_fen <= paid_fen", name="refunded"),
    Index("ix_cabinet_orders_account_id_state", "account_id", "state"),
    Index("ix_cabinet_orders_store_id", "store_id"),
    Index("ix_cabinet_orders_device_id", "device_id"),
    Index("ix_cabinet_orders_related_no", "related_no"),
    Index("ix_cabinet_orders_ordered_at", "ordered_at"),
    Index("ix_cabinet_orders_state", "state"),
    sqlite_autoincrement=True,
)

# What was said about an order, by the vendor or by a reviewer (source: "vendor", "staff:7").
# verdict: accepted, waiting (not certain yet), refused; why: the reason of a refusal.
order_revisions = table(
    "order_revisions",
    Column("order_id", BigInteger, primary_key=True, autoincrement=False),
    Column("rev", Integer, primary_key=True, autoincrement=False),
    Column("n", Integer, primary_key=True, autoincrement=False),
    Column("source", String(32), nullable=False),
    Column("certainty", String(12), nullable=False),
    Column("content_hash", String(64), nullable=False),
    Column("body", _Json, nullable=False),
    Column("total_fen", BigInteger, nullable=False),
    Column("verdict", String(8), nullable=False),
    Column("why", String(40), nullable=False),
    Column("at", BigInteger, nullable=False),
    clustered=True,
)

# What was decided to be charged or sent back. kind: capture, refund; means: ticket, score,
# wechat. state: pending, done, failed, cancelled. debt_id: of what WeChat is asked for;
# refund_no: of payments. The unique key lets no decision be made twice.
order_charges = table(
    "order_charges",
    Column("id", Id, primary_key=True),
    Column("order_id", BigInteger, nullable=False),
    Column("kind", String(8), nullable=False),
    Column("n", Integer, nullable=False),
    Column("means", String(8), nullable=False),
    Column("amount_fen", BigInteger, nullable=False),
    Column("tickets", BigInteger, nullable=False),
    Column("state", String(9), nullable=False),
    Column("debt_id", BigInteger, nullable=True),
    Column("refund_no", String(64), nullable=True),
    Column("reason", String(200), nullable=False),
    Column("by_account", BigInteger, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("ended_at", BigInteger, nullable=True),
    UniqueConstraint("order_id", "kind", "n"),
    Index("ix_order_charges_debt_id", "debt_id"),
    Index("ix_order_charges_state", "state"),
    CheckConstraint("amount_fen > 0", name="amount"),
    sqlite_autoincrement=True,
)

# ---------------------------------------------------------------- what needs a person

# kind: uncertain, conflict, mismatch, over_limit, unknown_item, no_order, late_order,
# no_session, offline, delivery, abnormal. state: open, taken, approved, rejected, closed.
# open_key: "kind:subject" while it is not over, so that nothing is there twice.
cabinet_exceptions = table(
    "cabinet_exceptions",
    Column("id", Id, primary_key=True),
    Column("kind", String(16), nullable=False),
    Column("subject", String(64), nullable=False),
    Column("open_key", String(120), nullable=True),
    Column("severity", String(6), nullable=False),
    Column("store_id", BigInteger, nullable=True),
    Column("device_id", BigInteger, nullable=True),
    Column("order_id", BigInteger, nullable=True),
    Column("session_id", BigInteger, nullable=True),
    Column("text", String(400), nullable=False),
    Column("state", String(8), nullable=False),
    Column("raised_at", BigInteger, nullable=False),
    Column("taken_by", BigInteger, nullable=False),
    Column("taken_at", BigInteger, nullable=True),
    Column("ended_by", BigInteger, nullable=False),
    Column("ended_at", BigInteger, nullable=True),
    Column("decision", String(400), nullable=False),
    Column("version", BigInteger, nullable=False),
    UniqueConstraint("open_key"),
    Index("ix_cabinet_exceptions_state", "state"),
    Index("ix_cabinet_exceptions_store_id", "store_id"),
    sqlite_autoincrement=True,
)

# open_key: the order's id while it is not resolved. pictures: JSON list of file names.
# state: open, refunded, refused.
complaints = table(
    "complaints",
    Column("id", Id, primary_key=True),
    Column("order_id", BigInteger, nullable=False),
    Column("open_key", BigInteger, nullable=True),
    Column("store_id", BigInteger, nullable=False),
    Column("account_id", BigInteger, nullable=False),
    Column("text", String(1000), nullable=False),
    Column("pictures", Text, nullable=False),
    Column("state", String(8), nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("resolved_at", BigInteger, nullable=True),
    Column("resolved_by", BigInteger, nullable=False),
    Column("resolution", String(400), nullable=False),
    Column("refund_fen", BigInteger, nullable=False),
    Column("version", BigInteger, nullable=False),
    UniqueConstraint("open_key"),
    Index("ix_complaints_order_id", "order_id"),
    Index("ix_complaints_account_id", "account_id"),
    Index("ix_complaints_state", "state"),
    sqlite_autoincrement=True,
)
