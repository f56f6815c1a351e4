"""A backup is taken while the server runs; a restore is complete or has not happened."""

import asyncio
import resource
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from sql.backup import NotABackup, backup, check, path_of, restore
from sql.database import open_database
from sql.errors import DatabaseInUse, DatabaseUnavailable, NotMigrated
from sql.events import RESTORE_LEAP, heads
from sql.sqlite import SQLite
from tests.clock import Clock
from tests.sql import notes


@pytest.fixture
async def copy(sqlite_book: SQLite, tmp_path: Path) -> Path:
    """A backup with one word; the database has another since, and is closed."""
    await sqlite_book.write(notes.add_and_tell, "kept")
    target = tmp_path / "copy 50%?#.db"
    backup(sqlite_book.path, target)
    await sqlite_book.write(notes.add_and_tell, "later")
    await sqlite_book.close()
    return target


async def words_in(path: Path, clock: Clock) -> list[str]:
    database = await open_database(f"sqlite:///{path}", now=clock.now)
    found = await database.read(notes.words)
    await database.close()
    return found


async def test_a_backup_of_a_running_database_is_one_moment_of_it(
    sqlite_book: SQLite, tmp_path: Path, clock: Clock
) -> None:
    async def write(n: int) -> None:
        for m in range(20):
            together = [sqlite_book.write(notes.add, f"{n} {m} {k}") for k in range(5)]
            await asyncio.gather(*together)

    writing = asyncio.create_task(write(0))
    sizes = [
        await asyncio.to_thread(backup, sqlite_book.path, tmp_path / f"{n}.db") for n in range(5)
    ]
    await writing

    for n, size in enumerate(sizes):
        path = tmp_path / f"{n}.db"
        assert path.stat().st_size == size
        with sqlite3.connect(path) as connection:
            (count,) = connection.execute("SELECT COUNT(*) FROM notes").fetchone()
        connection.close()
        assert count % 5 == 0
    assert not list(tmp_path.glob("*.part"))


async def test_a_backup_needs_a_source_and_overwrites_nothing(copy: Path, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        backup(tmp_path / "nothing.db", tmp_path / "new.db")
    with pytest.raises(FileExistsError):
        backup(copy, copy)


async def test_a_backup_of_what_is_no_database_of_ours_is_not_kept(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("This is no database. " * 500)
    (tmp_path / "broken.db").write_bytes(b"SQLite format 3\0" + b"\xee" * 8176)
    with sqlite3.connect(tmp_path / "other.db") as connection:
        connection.execute("CREATE TABLE other (id INTEGER)")
    connection.close()

    for name in ("text", "broken.db", "other.db"):
        with pytest.raises(NotABackup):
            backup(tmp_path / name, tmp_path / "copy.db")

    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "broken.db", "other.db", "text"
    ]  # fmt: skip


async def test_a_backup_without_room_for_it_is_not_kept(
    copy: Path, tmp_path: Path, small_files: Callable[[int], None]
) -> None:
    before = sorted(path.name for path in tmp_path.iterdir())

    small_files(8192)
    with pytest.raises(DatabaseUnavailable):
        backup(copy, tmp_path / "another.db")
    small_files(resource.RLIM_INFINITY)

    assert sorted(path.name for path in tmp_path.iterdir()) == before


async def test_a_damaged_backup_is_refused(copy: Path, tmp_path: Path) -> None:
    damaged = tmp_path / "damaged.db"
    whole = copy.read_bytes()
    for start in (4096, len(whole) // 8192 * 4096):
        damaged.write_bytes(whole[:start] + b"\xee" * 4096 + whole[start + 4096 :])
        with pytest.raises(NotABackup):
            check(damaged)
    # Its header counts free pages that are not there.
    damaged.write_bytes(whole[:36] + b"\0\0\0\x07" + whole[40:])
    with pytest.raises(NotABackup, match="damaged"):
        check(damaged)
    damaged.write_bytes(whole[:16] + b"\xee" * 8176)
    with pytest.raises(NotABackup):
        check(damaged)
    damaged.write_bytes(whole[:5000])
    with pytest.raises(NotABackup):
        check(damaged)
    with pytest.raises(NotABackup):
        check(tmp_path / "nothing.db")
    with pytest.raises(NotABackup):
        check(tmp_path)

    check(copy)


async def test_a_restored_database_begins_a_new_history(
    copy: Path, sqlite_book: SQLite, sqlite_url: str, clock: Clock
) -> None:
    kept = await restore(copy, sqlite_url, now=clock.now)

    assert kept is not None
    assert await words_in(kept, clock) == ["kept", "later"]
    database = await open_database(sqlite_url, now=clock.now)
    assert await database.read(notes.words) == ["kept"]
    head = (await database.read(heads, ["notes"]))["notes"]
    assert head.seq == 1 + RESTORE_LEAP
    await database.close()
    names = sorted(path.name for path in sqlite_book.path.parent.iterdir())
    assert not [name for name in names if ".part" in name]


async def test_a_restore_where_nothing_was_makes_the_database(
    copy: Path, tmp_path: Path, clock: Clock
) -> None:
    target = tmp_path / "new" / "callme.db"

    assert await restore(copy, f"sqlite:///{target}", now=clock.now) is None

    assert await words_in(target, clock) == ["kept"]


async def test_what_a_killed_server_left_in_its_log_is_kept_with_the_old_database(
    copy: Path, sqlite_book: SQLite, sqlite_url: str, tmp_path: Path, clock: Clock
) -> None:
    again = await open_database(sqlite_url, now=clock.now)
    await again.write(notes.add, "only in the log")
    crashed = tmp_path / "crashed"
    crashed.mkdir()
    # What a kill -9 leaves: the files as they are at this moment.
    for suffix in ("", "-wal", "-shm"):
        shutil.copyfile(f"{sqlite_book.path}{suffix}", crashed / f"a.db{suffix}")
    await again.close()

    kept = await restore(copy, f"sqlite:///{crashed}/a.db", now=clock.now)

    assert kept is not None
    assert await words_in(kept, clock) == ["kept", "later", "only in the log"]
    assert await words_in(crashed / "a.db", clock) == ["kept"]


async def test_the_database_of_a_running_server_is_not_restored(
    copy: Path, sqlite_url: str, clock: Clock
) -> None:
    running = await open_database(sqlite_url, now=clock.now)

    with pytest.raises(DatabaseInUse):
        await restore(copy, sqlite_url, now=clock.now)

    assert await running.read(notes.words) == ["kept", "later"]
    await running.close()


async def test_a_backup_of_a_newer_program_changes_nothing(
    copy: Path, sqlite_book: SQLite, sqlite_url: str, clock: Clock
) -> None:
    with sqlite3.connect(copy) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.close()

    with pytest.raises(NotMigrated):
        await restore(copy, sqlite_url, now=clock.now)

    assert await words_in(sqlite_book.path, clock) == ["kept", "later"]
    assert not [path for path in sqlite_book.path.parent.iterdir() if ".part" in path.name]


def test_only_a_file_is_backed_up() -> None:
    assert path_of("sqlite:////var/callme.db") == Path("/var/callme.db")
    with pytest.raises(ValueError, match="mariadb-dump"):
        path_of("mysql://root@localhost/callme")
