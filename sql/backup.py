"""Backup and restore of a SQLite database.

A backup may be taken while the server runs. A restore begins a new history: every stream
gets a new epoch and leaps ahead, so that no client joins the lost history to the new one
and no ticket id comes twice.
"""

import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

from sql import events
from sql.database import open_database
from sql.errors import DatabaseError
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

    Raises FileNotFoundError, FileExistsError, NotABackup (when the copy is not sound).
    """
    if not source.is_file():
        raise FileNotFoundError(source)
    if target.exists():
        raise FileExistsError(target)
    part = target.with_name(target.name + ".part")
    part.unlink(missing_ok=True)
    reading = sqlite3.connect(f"file:{source}?mode=ro", uri=True)
    writing = sqlite3.connect(part)
    try:
        reading.backup(writing)
        # One file, whole in itself: without the WAL mode of its source.
        writing.execute("PRAGMA journal_mode=DELETE")
    finally:
        writing.close()
        reading.close()
    check(part)
    part.rename(target)
    return target.stat().st_size


def check(file: Path) -> None:
    """Raises NotABackup unless the file is a sound database with our tables."""
    if not file.is_file() or file.read_bytes()[:16] != _MAGIC:
        raise NotABackup(f"{file} is no SQLite database")
    reading = sqlite3.connect(f"file:{file}?mode=ro", uri=True)
    try:
        verdict = reading.execute("PRAGMA integrity_check").fetchone()[0]
        if verdict != "ok":
            raise NotABackup(f"{file} is damaged: {verdict}")
        reading.execute("SELECT version_num FROM alembic_version").fetchone()
    except sqlite3.DatabaseError as error:
        raise NotABackup(f"{file}: {error}") from error
    finally:
        reading.close()


async def restore(file: Path, url: str, *, now: Callable[[], Millis]) -> Path | None:
    """Put a backup in the place of the database; where the old one was moved to, if any.

    Raises NotABackup, DatabaseInUse when a server runs on it.
    """
    check(file)
    target = path_of(url)
    # Opening takes the lock: a running server must not have its file taken away.
    db = await open_database(url, now=now)
    await db.close()
    kept = _exchange(target, file, moved_to=f"{target.name}.before-restore-{now()}")
    db = await open_database(url, now=now)
    try:
        await db.migrate()
        await db.write(events.begin_new_history)
    finally:
        await db.close()
    return kept


def _exchange(target: Path, source: Path, *, moved_to: str) -> Path | None:
    """Put a copy of source in target's place; where target went, None if it was empty."""
    kept = target.with_name(moved_to)
    target.rename(kept)
    for suffix in ("-wal", "-shm"):
        target.with_name(target.name + suffix).unlink(missing_ok=True)
    part = target.with_name(target.name + ".part")
    shutil.copyfile(source, part)
    part.rename(target)
    if kept.stat().st_size:
        return kept
    kept.unlink()
    return None
