"""Which database errors are the function's own, and which lose the whole transaction.

A function may catch its own errors (a key that is taken) and go on. After the others the
database has undone everything, so nothing that is run on the same connection may count.
Judged by code, never by text: an error's text quotes what a client sent.
"""

import sqlite3

from sqlalchemy.exc import DBAPIError


class Broken(Exception):
    """The transaction is lost, whichever function met it; `again`: running it again may help."""

    def __init__(self, cause: DBAPIError, *, again: bool) -> None:
        super().__init__(str(cause.orig))
        self.again = again
        self.__cause__ = cause


# The server undid the transaction, is going down, was told to stop, or is a replica just now.
_MYSQL_AGAIN = frozenset(
    {
        1020,  # record has changed since last read
        1047,  # Galera: the node is not ready
        1053,  # shutdown in progress
        1152,  # aborted connection
        1205,  # lock wait time-out
        1213,  # deadlock
        1290,  # read only: another server has taken over
        1317,  # the query was interrupted
        1412,  # a table's definition has changed
        1836,  # read only
        1927,  # the connection was killed
        2006,  # server has gone away
        2013,  # lost connection
        2014,  # commands out of sync
        2055,  # lost connection
        3101,  # group replication: rolled back
        4031,  # disconnected for idleness
        8002,  # TiDB: write conflict, under a lock
        8022,  # TiDB: commit failed, run again
        8028,  # TiDB: schema changed
        9007,  # TiDB: write conflict
    }
)
# The server lives, but has no room.
_MYSQL_DOWN = frozenset({1021, 1041, 1114})
# After these SQLite has rolled back by itself, or cannot reach its file.
_SQLITE_DOWN = frozenset(
    {
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_CORRUPT,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_INTERRUPT,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_NOMEM,
        sqlite3.SQLITE_NOTADB,
        sqlite3.SQLITE_PERM,
        sqlite3.SQLITE_PROTOCOL,
        sqlite3.SQLITE_READONLY,
    }
)
_SQLITE_AGAIN = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED})


def broken_by(error: DBAPIError) -> Broken | None:
    """The loss of the transaction that an error means; None for the function's own error."""
    code = code_of(error)
    if isinstance(error.orig, sqlite3.Error):
        primary = code & 0xFF
        if primary in _SQLITE_AGAIN | _SQLITE_DOWN:
            return Broken(error, again=primary in _SQLITE_AGAIN)
        return None
    if error.connection_invalidated or code in _MYSQL_AGAIN:
        return Broken(error, again=True)
    if code in _MYSQL_DOWN:
        return Broken(error, again=False)
    return None


def code_of(error: DBAPIError) -> int:
    """The number the database gave: SQLite's extended code, MySQL's error number; or 0."""
    original = error.orig
    if isinstance(original, sqlite3.Error):
        return int(getattr(original, "sqlite_errorcode", 0))
    code = original.args[0] if original is not None and original.args else 0
    return code if isinstance(code, int) else 0


# Answers to COMMIT itself that say: nothing was committed.
_NOT_COMMITTED = frozenset({1213, 3101, 8002, 8022, 8028, 9007})


def surely_not_committed(error: DBAPIError) -> bool:
    """Whether a server's answer to COMMIT tells that the transaction was undone."""
    return code_of(error) in _NOT_COMMITTED
