"""Alembic's entry: always online, always on the connection it was given."""

from alembic import context

from sql.tables import metadata

connection = context.config.attributes["connection"]
context.configure(
    connection=connection,
    target_metadata=metadata,
    compare_type=True,
    # SQLite cannot alter a column: Alembic copies the table instead.
    render_as_batch=connection.dialect.name == "sqlite",
    transaction_per_migration=True,
    # Alembic thinks that SQLite cannot undo a CREATE TABLE; it can, and a migration that is
    # killed half-way must leave nothing. MySQL cannot.
    transactional_ddl=connection.dialect.name == "sqlite",
)
with context.begin_transaction():
    context.run_migrations()
