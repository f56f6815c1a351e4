"""What can go wrong between us and the database, as its callers see it.

DatabaseError
├── DatabaseUnavailable   nothing was changed; try again in a moment
│   └── Overloaded        the queue of waiting transactions is at its bound
├── CommitUnknown         the commit was sent and no answer came back
└── DatabaseInUse         another process holds this SQLite file
"""


class DatabaseError(Exception):
    """Base of the family."""

    code = "database.error"
    title = "Database error"


class DatabaseUnavailable(DatabaseError):
    """The database cannot be reached or refused the whole batch; nothing was changed."""

    code = "database.unavailable"
    title = "The database cannot be reached"


class Overloaded(DatabaseUnavailable):
    """More transactions wait than the bound allows; nothing was changed."""

    code = "database.overloaded"
    title = "Too much is waiting for the database"


class CommitUnknown(DatabaseError):
    """The connection was lost while the commit was under way.

    The change may or may not be there: ask again with the same key.
    """

    code = "database.commit_unknown"
    title = "The outcome is not known yet"


class DatabaseInUse(DatabaseError):
    """Another process has this SQLite database open."""

    code = "database.in_use"
    title = "The database is in use by another process"


class NotMigrated(DatabaseError):
    """The tables are older or newer than this program."""

    code = "database.not_migrated"
    title = "The database has another version"
