"""Tables that only ever grow: triggers in the database refuse to change or remove their rows.

The program has no statement that would; this is for the mistake that is yet to be made. It
is no lock against who may drop triggers: what is changed all the same, the ledger's own check
and the chain of the audit find.
"""

from collections.abc import Iterable, Iterator

from sqlalchemy import Connection, text

from sql.transaction import Dialect, Tx

APPEND_ONLY = ("ledger_journals", "ledger_entries", "staff_audit")

_BODY: dict[Dialect, str] = {
    "sqlite": "BEGIN SELECT RAISE(ABORT, '{table} is append-only'); END",
    "mysql": "FOR EACH ROW SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = '{table} is append-only'",
}
# Each with the text that made it.
_LIST: dict[Dialect, str] = {
    "sqlite": "SELECT name, sql FROM sqlite_master WHERE type = 'trigger'",
    "mysql": "SELECT trigger_name, CONCAT('CREATE TRIGGER ', trigger_name, ' ', action_timing, ' ',"
    " event_manipulation, ' ON ', event_object_table, ' FOR EACH ROW ', action_statement)"
    " FROM information_schema.triggers WHERE trigger_schema = DATABASE()",
}


def create_triggers(connection: Connection, tables: Iterable[str] = APPEND_ONLY) -> None:
    """Make the triggers that are missing; in a migration, of its `op.get_bind()`.

    May be repeated. With a binary log MySQL asks for the SUPER privilege, or for
    log_bin_trust_function_creators=1.
    """
    dialect: Dialect = "sqlite" if connection.dialect.name == "sqlite" else "mysql"
    there = _there(connection, dialect)
    for name, wanted in _triggers(dialect, tables):
        if name not in there:
            connection.exec_driver_sql(wanted)


def missing_triggers(where: Connection | Tx, tables: Iterable[str] = APPEND_ONLY) -> list[str]:
    """Names of the triggers that are not there, or are not as we make them.

    A user of MySQL without the TRIGGER privilege sees none of them.
    """
    if isinstance(where, Tx):
        dialect = where.dialect
    else:
        dialect = "sqlite" if where.dialect.name == "sqlite" else "mysql"
    there = _there(where, dialect)
    return [name for name, wanted in _triggers(dialect, tables) if there.get(name) != wanted]


def _triggers(dialect: Dialect, tables: Iterable[str]) -> Iterator[tuple[str, str]]:
    for table in tables:
        for event in ("UPDATE", "DELETE"):
            name = f"{table}_no_{event.lower()}"
            body = _BODY[dialect].format(table=table)
            yield name, f"CREATE TRIGGER {name} BEFORE {event} ON {table} {body}"


def _there(where: Connection | Tx, dialect: Dialect) -> dict[str, str]:
    return {row[0]: row[1] for row in where.execute(text(_LIST[dialect]))}
