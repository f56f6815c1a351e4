"""Backup and restore of a SQLite database.

A backup may be taken while the server runs. A restore begins a new history: every stream
gets a new epoch and leaps ahead, so that no client joins the lost history to the new one
and no ticket id comes twice.
"""

import os
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

from sql import events
from sql.database import open_database
from sql.errors import DatabaseError, DatabaseUnavailable
from sql.sqlite import lock
from sql.types import Millis

_MAGIC = b"SQLite format 3\0"


class NotABackup(DatabaseError):
    code = "database.not_a_backup"
    title = "The file is no backup of a database of ours"


def path_of(url: str) -> Path:
    """The file of a sqlite:/// url. Raises ValueError for another database."""
    if not url.startswith("sqlite:///"):
        raise ValueError("only SQLite is backed up here; for MariaDB use mariadb-dump")
    return Path(url.removeprefix("sqlite:///"))


def backup(source: Path, target: Path) -> int:
    """Write a copy of a database that may be in use; its size in bytes.

    Raises FileNotFoundError, FileExistsError, NotABackup (when the copy is not sound),
    DatabaseUnavailable (when there is no room for it).
    """
    if not source.is_file():
        raise FileNotFoundError(source)
    if target.exists():
        raise FileExistsError(target)
    part = target.with_name(target.name + ".part")
    part.unlink(missing_ok=True)
    try:
        _copy(source, part)
        check(part)
        _put(part, target)
    finally:
        part.unlink(missing_ok=True)
    return target.stat().st_size


def _copy(source: Path, target: Path) -> None:
    reading = _open_to_read(source)
    writing = sqlite3.connect(target)
    try:
        reading.backup(writing)
        # One file, whole in itself: without the WAL mode of its source.
        writing.execute("PRAGMA journal_mode=DELETE")
    except sqlite3.OperationalError as error:
        raise DatabaseUnavailable(f"{target}: {error}") from error
    except sqlite3.DatabaseError as error:
        raise NotABackup(f"{source}: {error}") from error
    finally:
        writing.close()
        reading.close()


def check(file: Path) -> None:
    """Raises NotABackup unless the file is a sound database with our tables."""
    if not file.is_file() or not _begins_as_a_database(file):
        raise NotABackup(f"{file} is no SQLite database")
    reading = _open_to_read(file)
    try:
        verdict = reading.execute("PRAGMA integrity_check").fetchone()[0]
        if verdict != "ok":
            raise NotABackup(f"{file} is damaged: {verdict}")
        reading.execute("SELECT version_num FROM alembic_version").fetchone()
    except sqlite3.DatabaseError as error:
        raise NotABackup(f"{file}: {error}") from error
    finally:
        reading.close()


def _begins_as_a_database(file: Path) -> bool:
    with file.open("rb") as opened:
        return opened.read(len(_MAGIC)) == _MAGIC


def _open_to_read(file: Path) -> sqlite3.Connection:
    # As a proper URI: a name may hold what means something in one ("50%", "a?b").
    return sqlite3.connect(f"{file.resolve().as_uri()}?mode=ro", uri=True)


async def restore(file: Path, url: str, *, now: Callable[[], Millis]) -> Path | None:
    """Put a backup in the place of the database; where the old one was moved to, if any.

    What is put there is complete: its tables are of this version and its history is new.
    Raises NotABackup, NotMigrated (it is newer than this program), DatabaseInUse when a
    server runs on the database.
    """
    check(file)
    target = path_of(url).resolve()
    part = target.with_name(target.name + ".part")
    with lock(target):
        try:
            shutil.copyfile(file, part)
            await _renew(part, now=now)
            kept = _move_away(target, target.with_name(f"{target.name}.before-restore-{now()}"))
            _put(part, target)
        finally:
            for suffix in ("", "-wal", "-shm", ".lock"):
                part.with_name(part.name + suffix).unlink(missing_ok=True)
    return kept


async def _renew(file: Path, *, now: Callable[[], Millis]) -> None:
    db = await open_database(f"sqlite:///{file}", now=now)
    try:
        await db.migrate()
        await db.write(events.begin_new_history)
    finally:
        await db.close()


def _move_away(old: Path, kept: Path) -> Path | None:
    """Move a database, with what only its log holds if its server was killed."""
    if not old.exists():
        return None
    old.rename(kept)
    log = old.with_name(old.name + "-wal")
    if log.exists():
        log.rename(kept.with_name(kept.name + "-wal"))
    # Only an index of the log, made anew by whoever opens it.
    old.with_name(old.name + "-shm").unlink(missing_ok=True)
    return kept


def _put(part: Path, target: Path) -> None:
    """Rename a file into place, so that even a power cut leaves it there whole."""
    _reach_the_disk(part)
    part.rename(target)
    _reach_the_disk(target.parent)


def _reach_the_disk(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
