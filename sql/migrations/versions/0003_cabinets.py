"""cabinets, goods, Payscore"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

from sql.remains import remove_remains

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

TABLES = (
    "cabinet_exceptions",
    "cabinet_orders",
    "callback_inbox",
    "callback_nonces",
    "complaints",
    "device_bindings",
    "device_doors",
    "devices",
    "door_sessions",
    "door_stock",
    "goods",
    "members",
    "order_charges",
    "order_revisions",
    "payscore_orders",
    "payscore_permissions",
    "planograms",
    "reports",
    "sales",
    "sales_batches",
    "staff_stores",
    "stock_moves",
    "stores",
    "sync_cursors",
    "telemetry",
    "ticket_grants",
    "vendor_goods",
)


def upgrade() -> None:
    remove_remains(op.get_bind(), TABLES)
    make_commerce()
    make_payscore()
    make_devices()
    make_contents()
    make_inbox()
    make_orders()
    make_desk()


def make_commerce() -> None:
    op.create_table(
        "goods",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("sku", sa.String(length=50), nullable=False),
        sa.Column("barcode", sa.String(length=32), nullable=False),
        sa.Column("name", sa.String(length=100), nullable=False),
        sa.Column("price_fen", sa.BigInteger(), nullable=False),
        sa.Column("weight_g", sa.Integer(), nullable=False),
        sa.Column("image_url", sa.String(length=200), nullable=False),
        sa.Column("status", sa.Integer(), nullable=False),
        sa.Column("erp_version", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_goods")),
        sa.UniqueConstraint("sku", name=op.f("uq_goods_sku")),
        mysql_charset="utf8mb4",
        mysql_collate="utf8mb4_bin",
        mysql_engine="InnoDB",
        sqlite_autoincrement=True,
        sqlite_with_rowid=True,
    )
    with op.batch_alter_table("goods", schema=None) as batch_op:
        batch_op.create_index("ix_goods_barcode", ["barcode"], unique=False)

    op.create_table(
        "sync_cursors",
        sa.Column("name", sa.String(length=40), nullable=False),
        sa.Column("cursor", sa.String(length=200), nullable=False),
        sa.Column("changed_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_sync_cursors")),
        mysql_charset="utf8mb4",
        mysql_collate="utf8mb4_bin",
        mysql_engine="InnoDB",
        sqlite_with_rowid=True,
    )

    op.create_table(
        "sales",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("biz", sa.String(length=16), nullable=False),
        sa.Column("biz_no", sa.String(length=50), nullable=False),
        sa.Column("step", sa.String(length=40), nullable=False),
        sa.Column("line", sa.Integer(), nullable=False),
        sa.Column("store_code", sa.String(length=50), nullable=False),
        sa.Column("device_code", sa.String(length=50), nullable=False),
        sa.Column("sku", sa.String(length=50), nullable=False),
        sa.Column("name", sa.String(length=100), nullable=False),
        sa.Column("quantity", sa.Integer(), nullable=False),
        sa.Column("amount_fen", sa.BigInteger(), nullable=False),
        sa.Column("tickets", sa.BigInteger(), nullable=False),
        sa.Column("paid_by", sa.String(length=8), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("day", sa.Integer(), nullable=False),
        sa.Column("batch_id", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_sales")),
        sa.UniqueConstraint(
            "biz", "biz_no", "step", "line", name=op.f("uq_sales_biz_biz_no_step_line")
        ),
        mysql_charset="utf8mb4",
        mysql_collate="utf8mb4_bin",
        mysql_engine="InnoDB",
        sqlite_autoincrement=True,
        sqlite_with_rowid=True,
    )
    with op.batch_alter_table("sales", schema=None) as batch_op:
        batch_op.create_index("ix_sales_batch_id_day", ["batch_id", "day"], unique=False)
        batch_op.create_index("ix_sales_day", ["day"], unique=False)

    op.create_table(
        "sales_batches",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("batch_no", sa.String(length=40), nullable=False),
        sa.Column("day", sa.Integer(), nullable=False),
        sa.Column("lines", sa.Integer(), nullable=False),
        sa.Column("amount_fen", sa.BigInteger(), nullable=False),
        sa.Column("tickets", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.String(length=8), nullable=False),
        sa.Column("erp_no", sa.String(length=64), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("sent_at", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_sales_batches")),
        sa.UniqueConstraint("batch_no", name=op.f("uq_sales_batches_batch_no")),
        mysql_charset="utf8mb4",
        mysql_collate="utf8mb4_bin",
        mysql_engine="InnoDB",
        sqlite_autoincrement=True,
        sqlite_with_rowid=True,
    )
    with op.batch_alter_table("sales_batches", schema=None) as batch_op:
        batch_op.create_index("ix_sales_batches_day", ["day"], unique=False)

    op.create_table(
        "members",
        sa.Column("account_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("username", sa.String(length=100), nullable=False),
        sa.Column("phone_box", sa.String(length=255), nullable=False),
        sa.Column("phone_hash", sa.String(length=64), nullable=False),
        sa.Column("phone_tail", sa.String(length=4), nullable=False),
        sa.Column("barred_at", sa.BigInteger(), nullable=True),
        sa.Column("barred_reason", sa.String(length=200), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("account_id", name=op.f("pk_members")),
        mysql_charset="utf8mb4",
        mysql_collate="utf8mb4_bin",
        mysql_engine="InnoDB",
        sqlite_with_rowid=True,
    )
    with op.batch_alter_table("members", schema=None) as batch_op:
        batch_op.create_index("ix_members_phone_hash", ["phone_hash"], unique=False)

    op.create_table(
        "ticket_grants",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("account_id", sa.BigInteger(), nullable=False),
        sa.Column("tickets", sa.BigInteger(), nullable=False),
        sa.Column("reason", sa.String(length=200), nullable=False),
        sa.Column("by_account", sa.BigInteger(), nullable=False),
        sa.Column("once_key", sa.String(length=64), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_ticket_grants")),
        sa.UniqueConstraint("once_key", name=op.f("uq_ticket_grants_once_key")),
        mysql_charset="utf8mb4",
        mysql_collate="utf8mb4_bin",
        mysql_engine="InnoDB",
        sqlite_autoincrement=True,
        sqlite_with_rowid=True,
    )
    with op.batch_alter_table("ticket_grants", schema=None) as batch_op:
        batch_op.create_index("ix_ticket_grants_account_id", ["account_id"], unique=False)

    op.create_table(
        "reports",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("day", sa.Integer(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("made_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_reports")),
        sa.UniqueConstraint("kind", "day", name=op.f("uq_reports_kind_day")),
        mysql_charset="utf8mb4",
        mysql_collate="utf8mb4_bin",
        mysql_engine="InnoDB",
        sqlite_autoincrement=True,
        sqlite_with_rowid=True,
    )


def make_payscore() -> None:
    op.create_table(
        "payscore_orders",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("out_order_no", sa.String(length=32), nullable=False),
        sa.Column("biz", sa.String(length=16), nullable=False),
        sa.Column("biz_id", sa.BigInteger(), nullable=False),
        sa.Column("account_id", sa.BigInteger(), nullable=False),
        sa.Column("openid", sa.String(length=64), nullable=False),
        sa.Column("request", sa.Text(), nullable=False),
        sa.Column("phase", sa.String(length=12), nullable=False),
        sa.Column("wanted", sa.String(length=8), nullable=False),
        sa.Column("risk_fen", sa.BigInteger(), nullable=False),
        sa.Column("fee_fen", sa.BigInteger(), nullable=True),
        sa.Column("fee", sa.Text(), nullable=False),
        sa.Column("order_id", sa.String(length=64), nullable=False),
        sa.Column("package", sa.String(length=400), nullable=False),
        sa.Column("debt_id", sa.BigInteger(), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("started_at", sa.BigInteger(), nullable=True),
        sa.Column("ended_at", sa.BigInteger(), nullable=True),
        sa.Column("next_at", sa.BigInteger(), nullable=True),
        sa.Column("tries", sa.Integer(), nullable=False),
        sa.Column("failure", sa.String(length=200), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_payscore_orders")),
        sa.UniqueConstraint("biz", "biz_id", name=op.f("uq_payscore_orders_biz_biz_id")),
        sa.UniqueConstraint("out_order_no", name=op.f("uq_payscore_orders_out_order_no")),
        mysql_charset="utf8mb4",
        mysql_collate="utf8mb4_bin",
        mysql_engine="InnoDB",
        sqlite_autoincrement=True,
        sqlite_with_rowid=True,
    )
    with op.batch_alter_table("payscore_orders", schema=None) as batch_op:
        batch_op.create_index("ix_payscore_orders_debt_id", ["debt_id"], unique=False)
        batch_op.create_index("ix_payscore_orders_next_at", ["next_at"], unique=False)

    op.create_table(
        "payscore_permissions",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("authorization_code", sa.String(length=32), nullable=False),
        sa.Column("account_id", sa.BigInteger(), nullable=False),
        sa.Column("openid", sa.String(length=64), nullable=False),
        sa.Column("state", sa.String(length=8), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("changed_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_payscore_permissions")),
        sa.UniqueConstraint(
            "authorization_code", name=op.f("uq_payscore_permissions_authorization_code")
        ),
        mysql_charset="utf8mb4",
        mysql_collate="utf8mb4_bin",
        mysql_engine="InnoDB",
        sqlite_autoincrement=True,
        sqlite_with_rowid=True,
    )
    with op.batch_alter_table("payscore_permissions", schema=None) as batch_op:
        batch_op.create_index("ix_payscore_permissions_openid", ["openid"], unique=False)


def make_devices() -> None:
    op.create_table(
        "stores",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("code", sa.String(length=50), nullable=False),
        sa.Column("name", sa.String(length=100), nullable=False),
        sa.Column("type", sa.String(length=8), nullable=False),
        sa.Column("property", sa.String(length=9), nullable=False),
        sa.Column("address", sa.String(length=200), nullable=False),
        sa.Column("phone", sa.String(length=20), nullable=False),
        sa.Column("review_limit_fen", sa.BigInteger(), nullable=True),
        sa.Column("deleted_at", sa.BigInteger(), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_stores")),
        sa.UniqueConstraint("code", name=op.f("uq_stores_code")),
        mysql_charset="utf8mb4",
        mysql_collate="utf8mb4_bin",
        mysql_engine="InnoDB",
        sqlite_autoincrement=True,
        sqlite_with_rowid=True,
    )

    op.create_table(
        "staff_stores",
        sa.Column("account_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("store_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.PrimaryKeyConstraint("account_id", "store_id", name=op.f("pk_staff_stores")),
        mysql_charset="utf8mb4",
        mysql_collate="utf8mb4_bin",
        mysql_engine="InnoDB",
        sqlite_with_rowid=False,
    )

    op.create_table(
        "devices",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("vendor", sa.String(length=16), nullable=False),
        sa.Column("code", sa.String(length=50), nullable=False),
        sa.Column("name", sa.String(length=100), nullable=False),
        sa.Column("store_id", sa.BigInteger(), nullable=True),
        sa.Column("status", sa.String(length=8), nullable=False),
        sa.Column("service", sa.String(length=12), nullable=False),
        sa.Column("qr_version", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.Column("link", sa.String(length=8), nullable=False),
        sa.Column("link_since", sa.BigInteger(), nullable=False),
        sa.Column("last_seen_at", sa.BigInteger(), nullable=True),
        sa.Column("deadline_at", sa.BigInteger(), nullable=True),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.Column("boot_id", sa.String(length=40), nullable=False),
        sa.Column("boots", sa.String(length=200), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("asked_at", sa.BigInteger(), nullable=True),
        sa.Column("flips", sa.String(length=200), nullable=False),
        sa.Column("reported", sa.Text().with_variant(mysql.MEDIUMTEXT(), "mysql"), nullable=False),
        sa.Column("reported_at", sa.BigInteger(), nullable=True),
        sa.Column("sampled_at", sa.BigInteger(), nullable=True),
        sa.Column("told_at", sa.BigInteger(), nullable=True),
        sa.Column("tell_at", sa.BigInteger(), nullable=True),
        sa.Column("desired", sa.Text().with_variant(mysql.MEDIUMTEXT(), "mysql"), nullable=False),
        sa.Column("desired_version", sa.Integer(), nullable=False),
        sa.Column("desired_by", sa.BigInteger(), nullable=False),
        sa.Column("desired_at", sa.BigInteger(), nullable=True),
        sa.Column("desired_pushes", sa.Integer(), nullable=False),
        sa.Column("push_at", sa.BigInteger(), nullable=True),
        sa.Column("sale_lock", sa.String(length=40), nullable=False),
        sa.Column("sale_lock_by", sa.BigInteger(), nullable=False),
        sa.Column("sale_lock_at", sa.BigInteger(), nullable=True),
        sa.Column("faults", sa.Integer(), nullable=False),
        sa.Column("planogram_version", sa.Integer(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_devices")),
        sa.UniqueConstraint("vendor", "code", name=op.f("uq_devices_vendor_code")),
        mysql_charset="utf8mb4",
        mysql_collate="utf8mb4_bin",
        mysql_engine="InnoDB",
        sqlite_autoincrement=True,
        sqlite_with_rowid=True,
    )
    with op.batch_alter_table("devices", schema=None) as batch_op:
        batch_op.create_index("ix_devices_deadline_at", ["deadline_at"], unique=False)
        batch_op.create_index("ix_devices_push_at", ["push_at"], unique=False)
        batch_op.create_index("ix_devices_store_id", ["store_id"], unique=False)
        batch_op.create_index("ix_devices_tell_at", ["tell_at"], unique=False)

    op.create_table(
        "device_doors",
        sa.Column("device_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("door_no", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("lock", sa.String(length=8), nullable=False),
        sa.Column("door", sa.String(length=8), nullable=False),
        sa.Column("changed_at", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("device_id", "door_no", name=op.f("pk_device_doors")),
        mysql_charset="utf8mb4",
        mysql_collate="utf8mb4_bin",
        mysql_engine="InnoDB",
        sqlite_with_rowid=False,
    )

    op.create_table(
        "device_bindings",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("device_id", sa.BigInteger(), nullable=False),
        sa.Column("store_id", sa.BigInteger(), nullable=False),
        sa.Column("open_key", sa.BigInteger(), nullable=True),
        sa.Column("state", sa.String(length=9), nullable=False),
        sa.Column("begun_at", sa.BigInteger(), nullable=False),
        sa.Column("bound_at", sa.BigInteger(), nullable=True),
        sa.Column("bound_by", sa.BigInteger(), nullable=False),
        sa.Column("unbound_at", sa.BigInteger(), nullable=True),
        sa.Column("unbound_by", sa.BigInteger(), nullable=False),
        sa.Column("reason", sa.String(length=200), nullable=False),
        sa.Column("problem", sa.String(length=200), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_device_bindings")),
        sa.UniqueConstraint("open_key", name=op.f("uq_device_bindings_open_key")),
        mysql_charset="utf8mb4",
        mysql_collate="utf8mb4_bin",
        mysql_engine="InnoDB",
        sqlite_autoincrement=True,
        sqlite_with_rowid=True,
    )
    with op.batch_alter_table("device_bindings", schema=None) as batch_op:
        batch_op.create_index("ix_device_bindings_device_id", ["device_id"], unique=False)

    op.create_table(
        "telemetry",
        sa.Column("device_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("at", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("device_id", "at", name=op.f("pk_telemetry")),
        mysql_charset="utf8mb4",
        mysql_collate="utf8mb4_bin",
        mysql_engine="InnoDB",
        sqlite_with_rowid=False,
    )


def make_contents() -> None:
    op.create_table(
        "planograms",
        sa.Column("device_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("version", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("base_version", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(length=8), nullable=False),
        sa.Column("slots", sa.Text().with_variant(mysql.MEDIUMTEXT(), "mysql"), nullable=False),
        sa.Column("by_account", sa.BigInteger(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("put_at", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("device_id", "version", name=op.f("pk_planograms")),
        mysql_charset="utf8mb4",
        mysql_collate="utf8mb4_bin",
        mysql_engine="InnoDB",
        sqlite_with_rowid=False,
    )

    op.create_table(
        "door_stock",
        sa.Column("device_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("door_no", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("sku", sa.String(length=50), nullable=False),
        sa.Column("quantity", sa.Integer(), nullable=False),
        sa.Column("capacity", sa.Integer(), nullable=False),
        sa.Column("expires_on", sa.Integer(), nullable=True),
        sa.Column("blocked_at", sa.BigInteger(), nullable=True),
        sa.Column("changed_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("device_id", "door_no", "sku", name=op.f("pk_door_stock")),
        mysql_charset="utf8mb4",
        mysql_collate="utf8mb4_bin",
        mysql_engine="InnoDB",
        sqlite_with_rowid=False,
    )
    with op.batch_alter_table("door_stock", schema=None) as batch_op:
        batch_op.create_index("ix_door_stock_expires_on", ["expires_on"], unique=False)

    op.create_table(
        "stock_moves",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("device_id", sa.BigInteger(), nullable=False),
        sa.Column("door_no", sa.Integer(), nullable=False),
        sa.Column("sku", sa.String(length=50), nullable=False),
        sa.Column("kind", sa.String(length=10), nullable=False),
        sa.Column("delta", sa.Integer(), nullable=False),
        sa.Column("after", sa.Integer(), nullable=False),
        sa.Column("ref", sa.String(length=64), nullable=False),
        sa.Column("once_key", sa.String(length=120), nullable=False),
        sa.Column("by_account", sa.BigInteger(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_stock_moves")),
        sa.UniqueConstraint("once_key", name=op.f("uq_stock_moves_once_key")),
        mysql_charset="utf8mb4",
        mysql_collate="utf8mb4_bin",
        mysql_engine="InnoDB",
        sqlite_autoincrement=True,
        sqlite_with_rowid=True,
    )
    with op.batch_alter_table("stock_moves", schema=None) as batch_op:
        batch_op.create_index("ix_stock_moves_device_id", ["device_id"], unique=False)

    op.create_table(
        "vendor_goods",
        sa.Column("vendor", sa.String(length=16), nullable=False),
        sa.Column("sku", sa.String(length=50), nullable=False),
        sa.Column("mark", sa.String(length=64), nullable=False),
        sa.Column("state", sa.String(length=8), nullable=False),
        sa.Column("error", sa.String(length=200), nullable=False),
        sa.Column("changed_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("vendor", "sku", name=op.f("pk_vendor_goods")),
        mysql_charset="utf8mb4",
        mysql_collate="utf8mb4_bin",
        mysql_engine="InnoDB",
        sqlite_with_rowid=True,
    )
    with op.batch_alter_table("vendor_goods", schema=None) as batch_op:
        batch_op.create_index("ix_vendor_goods_state", ["state"], unique=False)


def make_inbox() -> None:
    op.create_table(
        "callback_inbox",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("vendor", sa.String(length=16), nullable=False),
        sa.Column("endpoint_id", sa.String(length=64), nullable=False),
        sa.Column("event_id", sa.String(length=64), nullable=False),
        sa.Column("event_type", sa.String(length=40), nullable=False),
        sa.Column("device_code", sa.String(length=50), nullable=False),
        sa.Column(
            "body", sa.LargeBinary().with_variant(mysql.MEDIUMBLOB(), "mysql"), nullable=False
        ),
        sa.Column("occurred_at", sa.BigInteger(), nullable=False),
        sa.Column("received_at", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.String(length=11), nullable=False),
        sa.Column("tries", sa.Integer(), nullable=False),
        sa.Column("next_at", sa.BigInteger(), nullable=True),
        sa.Column("ended_at", sa.BigInteger(), nullable=True),
        sa.Column("outcome", sa.String(length=200), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_callback_inbox")),
        sa.UniqueConstraint(
            "vendor",
            "endpoint_id",
            "event_id",
            name=op.f("uq_callback_inbox_vendor_endpoint_id_event_id"),
        ),
        mysql_charset="utf8mb4",
        mysql_collate="utf8mb4_bin",
        mysql_engine="InnoDB",
        sqlite_autoincrement=True,
        sqlite_with_rowid=True,
    )
    with op.batch_alter_table("callback_inbox", schema=None) as batch_op:
        batch_op.create_index(
            "ix_callback_inbox_state_vendor_device_code_id",
            ["state", "vendor", "device_code", "id"],
            unique=False,
        )
        batch_op.create_index("ix_callback_inbox_state_next_at", ["state", "next_at"], unique=False)

    op.create_table(
        "callback_nonces",
        sa.Column("endpoint_id", sa.String(length=64), nullable=False),
        sa.Column("nonce", sa.String(length=64), nullable=False),
        sa.Column("body_hash", sa.String(length=64), nullable=False),
        sa.Column("answer", sa.Text(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("endpoint_id", "nonce", name=op.f("pk_callback_nonces")),
        mysql_charset="utf8mb4",
        mysql_collate="utf8mb4_bin",
        mysql_engine="InnoDB",
        sqlite_with_rowid=True,
    )
    with op.batch_alter_table("callback_nonces", schema=None) as batch_op:
        batch_op.create_index("ix_callback_nonces_at", ["at"], unique=False)


def make_orders() -> None:
    op.create_table(
        "door_sessions",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("no", sa.String(length=32), nullable=False),
        sa.Column("request_id", sa.String(length=64), nullable=False),
        sa.Column("once_key", sa.String(length=64), nullable=False),
        sa.Column("vendor", sa.String(length=16), nullable=False),
        sa.Column("device_id", sa.BigInteger(), nullable=False),
        sa.Column("door_no", sa.Integer(), nullable=False),
        sa.Column("store_id", sa.BigInteger(), nullable=False),
        sa.Column("account_id", sa.BigInteger(), nullable=False),
        sa.Column("purpose", sa.String(length=8), nullable=False),
        sa.Column("pay_with", sa.String(length=8), nullable=False),
        sa.Column("state", sa.String(length=12), nullable=False),
        sa.Column("door_key", sa.String(length=40), nullable=True),
        sa.Column("user_key", sa.BigInteger(), nullable=True),
        sa.Column("hold_tickets", sa.BigInteger(), nullable=False),
        sa.Column("score_no", sa.String(length=32), nullable=False),
        sa.Column("limit_fen", sa.BigInteger(), nullable=False),
        sa.Column("planogram_version", sa.Integer(), nullable=False),
        sa.Column("prices", sa.Text().with_variant(mysql.MEDIUMTEXT(), "mysql"), nullable=False),
        sa.Column("vendor_order_no", sa.String(length=64), nullable=False),
        sa.Column("fail_code", sa.String(length=40), nullable=False),
        sa.Column("requested_at", sa.BigInteger(), nullable=False),
        sa.Column("sent_at", sa.BigInteger(), nullable=True),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.Column("unlocked_at", sa.BigInteger(), nullable=True),
        sa.Column("opened_at", sa.BigInteger(), nullable=True),
        sa.Column("closed_at", sa.BigInteger(), nullable=True),
        sa.Column("ended_at", sa.BigInteger(), nullable=True),
        sa.Column("due_at", sa.BigInteger(), nullable=True),
        sa.Column("pulls", sa.Integer(), nullable=False),
        sa.Column("manual_at", sa.BigInteger(), nullable=True),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_door_sessions")),
        sa.UniqueConstraint("door_key", name=op.f("uq_door_sessions_door_key")),
        sa.UniqueConstraint("no", name=op.f("uq_door_sessions_no")),
        sa.UniqueConstraint("once_key", name=op.f("uq_door_sessions_once_key")),
        sa.UniqueConstraint("request_id", name=op.f("uq_door_sessions_request_id")),
        sa.UniqueConstraint("user_key", name=op.f("uq_door_sessions_user_key")),
        mysql_charset="utf8mb4",
        mysql_collate="utf8mb4_bin",
        mysql_engine="InnoDB",
        sqlite_autoincrement=True,
        sqlite_with_rowid=True,
    )
    with op.batch_alter_table("door_sessions", schema=None) as batch_op:
        batch_op.create_index("ix_door_sessions_account_id", ["account_id"], unique=False)
        batch_op.create_index("ix_door_sessions_device_id_id", ["device_id", "id"], unique=False)
        batch_op.create_index("ix_door_sessions_due_at", ["due_at"], unique=False)
        batch_op.create_index("ix_door_sessions_state", ["state"], unique=False)
        batch_op.create_index("ix_door_sessions_vendor_order_no", ["vendor_order_no"], unique=False)

    op.create_table(
        "cabinet_orders",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("no", sa.String(length=50), nullable=False),
        sa.Column("kind", sa.String(length=10), nullable=False),
        sa.Column("related_no", sa.String(length=50), nullable=False),
        sa.Column("session_id", sa.BigInteger(), nullable=True),
        sa.Column("session_key", sa.BigInteger(), nullable=True),
        sa.Column("vendor", sa.String(length=16), nullable=False),
        sa.Column("vendor_order_no", sa.String(length=64), nullable=True),
        sa.Column("device_id", sa.BigInteger(), nullable=False),
        sa.Column("store_id", sa.BigInteger(), nullable=False),
        sa.Column("account_id", sa.BigInteger(), nullable=False),
        sa.Column("phone_box", sa.String(length=255), nullable=False),
        sa.Column("pay_with", sa.String(length=8), nullable=False),
        sa.Column("state", sa.String(length=9), nullable=False),
        sa.Column("due_fen", sa.BigInteger(), nullable=False),
        sa.Column("paid_fen", sa.BigInteger(), nullable=False),
        sa.Column("wechat_fen", sa.BigInteger(), nullable=False),
        sa.Column("tickets", sa.BigInteger(), nullable=False),
        sa.Column("refunded_fen", sa.BigInteger(), nullable=False),
        sa.Column("rev", sa.Integer(), nullable=False),
        sa.Column("lines", sa.Text().with_variant(mysql.MEDIUMTEXT(), "mysql"), nullable=False),
        sa.Column("ordered_at", sa.BigInteger(), nullable=False),
        sa.Column("paid_at", sa.BigInteger(), nullable=True),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.CheckConstraint(
            "due_fen >= 0 AND paid_fen >= 0 AND refunded_fen >= 0",
            name=op.f("ck_cabinet_orders_amounts"),
        ),
        sa.CheckConstraint("refunded_fen <= paid_fen", name=op.f("ck_cabinet_orders_refunded")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_cabinet_orders")),
        sa.UniqueConstraint("no", name=op.f("uq_cabinet_orders_no")),
        sa.UniqueConstraint("session_key", name=op.f("uq_cabinet_orders_session_key")),
        sa.UniqueConstraint(
            "vendor", "vendor_order_no", name=op.f("uq_cabinet_orders_vendor_vendor_order_no")
        ),
        mysql_charset="utf8mb4",
        mysql_collate="utf8mb4_bin",
        mysql_engine="InnoDB",
        sqlite_autoincrement=True,
        sqlite_with_rowid=True,
    )
    with op.batch_alter_table("cabinet_orders", schema=None) as batch_op:
        batch_op.create_index(
            "ix_cabinet_orders_account_id_state", ["account_id", "state"], unique=False
        )
        batch_op.create_index("ix_cabinet_orders_device_id", ["device_id"], unique=False)
        batch_op.create_index("ix_cabinet_orders_ordered_at", ["ordered_at"], unique=False)
        batch_op.create_index("ix_cabinet_orders_related_no", ["related_no"], unique=False)
        batch_op.create_index("ix_cabinet_orders_state", ["state"], unique=False)
        batch_op.create_index("ix_cabinet_orders_store_id", ["store_id"], unique=False)

    op.create_table(
        "order_revisions",
        sa.Column("order_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("rev", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("n", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("source", sa.String(length=32), nullable=False),
        sa.Column("certainty", sa.String(length=12), nullable=False),
        sa.Column("content_hash", sa.String(length=64), nullable=False),
        sa.Column("body", sa.Text().with_variant(mysql.MEDIUMTEXT(), "mysql"), nullable=False),
        sa.Column("total_fen", sa.BigInteger(), nullable=False),
        sa.Column("verdict", sa.String(length=8), nullable=False),
        sa.Column("why", sa.String(length=40), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("order_id", "rev", "n", name=op.f("pk_order_revisions")),
        mysql_charset="utf8mb4",
        mysql_collate="utf8mb4_bin",
        mysql_engine="InnoDB",
        sqlite_with_rowid=False,
    )

    op.create_table(
        "order_charges",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("order_id", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.String(length=8), nullable=False),
        sa.Column("n", sa.Integer(), nullable=False),
        sa.Column("means", sa.String(length=8), nullable=False),
        sa.Column("amount_fen", sa.BigInteger(), nullable=False),
        sa.Column("tickets", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.String(length=9), nullable=False),
        sa.Column("debt_id", sa.BigInteger(), nullable=True),
        sa.Column("refund_no", sa.String(length=64), nullable=True),
        sa.Column("reason", sa.String(length=200), nullable=False),
        sa.Column("by_account", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("ended_at", sa.BigInteger(), nullable=True),
        sa.CheckConstraint("amount_fen > 0", name=op.f("ck_order_charges_amount")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_order_charges")),
        sa.UniqueConstraint("order_id", "kind", "n", name=op.f("uq_order_charges_order_id_kind_n")),
        mysql_charset="utf8mb4",
        mysql_collate="utf8mb4_bin",
        mysql_engine="InnoDB",
        sqlite_autoincrement=True,
        sqlite_with_rowid=True,
    )
    with op.batch_alter_table("order_charges", schema=None) as batch_op:
        batch_op.create_index("ix_order_charges_debt_id", ["debt_id"], unique=False)
        batch_op.create_index("ix_order_charges_state", ["state"], unique=False)


def make_desk() -> None:
    op.create_table(
        "cabinet_exceptions",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("subject", sa.String(length=64), nullable=False),
        sa.Column("open_key", sa.String(length=120), nullable=True),
        sa.Column("severity", sa.String(length=6), nullable=False),
        sa.Column("store_id", sa.BigInteger(), nullable=True),
        sa.Column("device_id", sa.BigInteger(), nullable=True),
        sa.Column("order_id", sa.BigInteger(), nullable=True),
        sa.Column("session_id", sa.BigInteger(), nullable=True),
        sa.Column("text", sa.String(length=400), nullable=False),
        sa.Column("state", sa.String(length=8), nullable=False),
        sa.Column("raised_at", sa.BigInteger(), nullable=False),
        sa.Column("taken_by", sa.BigInteger(), nullable=False),
        sa.Column("taken_at", sa.BigInteger(), nullable=True),
        sa.Column("ended_by", sa.BigInteger(), nullable=False),
        sa.Column("ended_at", sa.BigInteger(), nullable=True),
        sa.Column("decision", sa.String(length=400), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_cabinet_exceptions")),
        sa.UniqueConstraint("open_key", name=op.f("uq_cabinet_exceptions_open_key")),
        mysql_charset="utf8mb4",
        mysql_collate="utf8mb4_bin",
        mysql_engine="InnoDB",
        sqlite_autoincrement=True,
        sqlite_with_rowid=True,
    )
    with op.batch_alter_table("cabinet_exceptions", schema=None) as batch_op:
        batch_op.create_index("ix_cabinet_exceptions_state", ["state"], unique=False)
        batch_op.create_index("ix_cabinet_exceptions_store_id", ["store_id"], unique=False)

    op.create_table(
        "complaints",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("order_id", sa.BigInteger(), nullable=False),
        sa.Column("open_key", sa.BigInteger(), nullable=True),
        sa.Column("store_id", sa.BigInteger(), nullable=False),
        sa.Column("account_id", sa.BigInteger(), nullable=False),
        sa.Column("text", sa.String(length=1000), nullable=False),
        sa.Column("pictures", sa.Text(), nullable=False),
        sa.Column("state", sa.String(length=8), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("resolved_at", sa.BigInteger(), nullable=True),
        sa.Column("resolved_by", sa.BigInteger(), nullable=False),
        sa.Column("resolution", sa.String(length=400), nullable=False),
        sa.Column("refund_fen", sa.BigInteger(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_complaints")),
        sa.UniqueConstraint("open_key", name=op.f("uq_complaints_open_key")),
        mysql_charset="utf8mb4",
        mysql_collate="utf8mb4_bin",
        mysql_engine="InnoDB",
        sqlite_autoincrement=True,
        sqlite_with_rowid=True,
    )
    with op.batch_alter_table("complaints", schema=None) as batch_op:
        batch_op.create_index("ix_complaints_account_id", ["account_id"], unique=False)
        batch_op.create_index("ix_complaints_order_id", ["order_id"], unique=False)
        batch_op.create_index("ix_complaints_state", ["state"], unique=False)
