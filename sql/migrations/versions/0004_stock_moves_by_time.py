"""a device's stock moves by time

What was counted at a shelf since a session is looked for with each order. By the device alone that
was all its moves of all years.
"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

FORMER, BY_TIME = "ix_stock_moves_device_id", "ix_stock_moves_device_id_at"


def upgrade() -> None:
    # MySQL cannot undo it: whoever was killed between the two begins where that one ended.
    there = {index["name"] for index in sa.inspect(op.get_bind()).get_indexes("stock_moves")}
    if BY_TIME not in there:
        op.create_index(BY_TIME, "stock_moves", ["device_id", "at"])
    if FORMER in there:
        op.drop_index(FORMER, "stock_moves")
