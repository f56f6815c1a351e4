"""Which revision the tables are at, and which this program wants: by plain SQL.

Importing Alembic takes longer than the rest of a start, so only who migrates pays for it.
"""

from pathlib import Path

from sqlalchemy import Connection, inspect, text
from sqlalchemy.exc import DBAPIError

from sql.errors import NotMigrated
from sql.transaction import Tx

VERSIONS = Path(__file__).parent / "migrations" / "versions"


def bring_to_head(connection: Connection) -> None:
    """Upgrade the tables unless they are as this program wants them. Raises NotMigrated."""
    if current(connection) == head_revision():
        return
    from sql.migrate import upgrade  # noqa: PLC0415

    upgrade(connection)


def current(connection: Connection) -> str | None:
    """The revision the tables are at, None before the first.

    Raises NotMigrated when this program does not know it.
    """
    revision: str | None = None
    if inspect(connection).has_table("alembic_version"):
        revision = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
    connection.rollback()
    if revision is not None and revision not in known_revisions():
        raise NotMigrated(f"the database is at {revision}, which this program does not know")
    return revision


def require_head(tx: Tx) -> None:
    """Raises NotMigrated unless the tables are as this program wants them."""
    try:
        found = tx.execute(text("SELECT version_num FROM alembic_version")).scalar()
    except DBAPIError as error:
        raise NotMigrated("the database has no tables yet: run.py migrate") from error
    if found != head_revision():
        raise NotMigrated(f"the database is at {found}, this program at {head_revision()}")


def head_revision() -> str:
    """The revision this program wants."""
    return known_revisions()[-1]


def known_revisions() -> list[str]:
    """All revisions, oldest first: a file of one is named after its number."""
    return sorted(path.stem.partition("_")[0] for path in VERSIONS.glob("[0-9]*.py"))
