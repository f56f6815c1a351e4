"""What a migration that was killed has left on MySQL, which cannot undo a CREATE TABLE."""

from collections.abc import Iterable

import sqlalchemy as sa
from alembic import op
from sqlalchemy import Connection


def remove_remains(connection: Connection, tables: Iterable[str]) -> None:
    """Drop those of the tables that are there and empty, before they are made.

    A table with a row in it stays, and is an error.
    """
    if connection.dialect.name != "mysql":
        return
    for name in set(tables) & set(sa.inspect(connection).get_table_names()):
        rows = sa.select(sa.literal(1)).select_from(sa.table(name)).limit(1)
        if connection.execute(rows).first() is None:
            op.drop_table(name)
