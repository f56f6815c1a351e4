"""The metadata all tables share, and how a table is made."""

from typing import Any

from sqlalchemy import MetaData, Table
from sqlalchemy.schema import SchemaItem

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)


def table(name: str, *items: SchemaItem, clustered: bool = False, **options: Any) -> Table:
    """Declare a table with what both databases need said.

    clustered: the primary key is the order on disk (SQLite's WITHOUT ROWID), which is
    what InnoDB does anyway; for tables read by ranges of a compound key.
    MySQL compares text byte by byte, as SQLite does: an openid is not a word.
    """
    return Table(
        name,
        metadata,
        *items,
        mysql_engine="InnoDB",
        mysql_charset="utf8mb4",
        mysql_collate="utf8mb4_bin",
        sqlite_with_rowid=not clustered,
        **options,
    )
