"""Alembic, run from inside the program: upgrade, and what differs from the tables."""

from pathlib import Path
from typing import Any

from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection

from sql.errors import NotMigrated
from sql.tables import metadata

_HERE = Path(__file__).parent


def config(connection: Connection) -> Config:
    settings = Config()
    settings.set_main_option("script_location", str(_HERE / "migrations"))
    settings.attributes["connection"] = connection
    return settings


def upgrade(connection: Connection, revision: str = "head") -> None:
    """Bring the tables to a revision. Raises NotMigrated for a database newer than we are."""
    scripts = ScriptDirectory.from_config(config(connection))
    there = current(connection)
    known = {script.revision for script in scripts.walk_revisions()}
    if there is not None and there not in known:
        raise NotMigrated(f"the database is at {there}, which this program does not know")
    if there == scripts.get_current_head() and revision == "head":
        return
    command.upgrade(config(connection), revision)


def current(connection: Connection) -> str | None:
    """The revision the database is at, None for an empty one."""
    revision = MigrationContext.configure(connection).get_current_revision()
    connection.rollback()
    return revision


def head_revision() -> str:
    """The revision this program wants."""
    settings = Config()
    settings.set_main_option("script_location", str(_HERE / "migrations"))
    head = ScriptDirectory.from_config(settings).get_current_head()
    assert head is not None
    return head


def drift(connection: Connection) -> list[Any]:
    """Differences between the database and the tables as declared; empty when they agree."""
    context = MigrationContext.configure(connection, opts={"compare_type": True})
    found: list[Any] = compare_metadata(context, metadata)
    return found
