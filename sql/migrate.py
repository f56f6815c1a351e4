"""Alembic, run from inside the program: upgrade, and what differs from the tables."""

from typing import Any

from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from sqlalchemy import Connection

from sql.revision import VERSIONS, current, head_revision
from sql.tables import metadata
from sql.triggers import missing_triggers

__all__ = ["config", "current", "drift", "head_revision", "upgrade"]


def config(connection: Connection) -> Config:
    settings = Config()
    settings.set_main_option("script_location", str(VERSIONS.parent))
    settings.attributes["connection"] = connection
    return settings


def upgrade(connection: Connection, revision: str = "head") -> None:
    """Bring the tables to a revision. Raises NotMigrated for a database newer than we are."""
    current(connection)
    command.upgrade(config(connection), revision)


def drift(connection: Connection) -> list[Any]:
    """Differences between the database and the tables as declared; empty when they agree."""
    context = MigrationContext.configure(connection, opts={"compare_type": True})
    found: list[Any] = compare_metadata(context, metadata)
    return found + [("missing_trigger", name) for name in missing_triggers(connection)]
