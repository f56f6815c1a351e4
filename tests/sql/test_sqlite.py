"""What is SQLite's own: one process, one file, and a disk that fails."""

import asyncio
import os
import resource
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import event

from sql.database import open_database
from sql.errors import CommitUnknown, DatabaseInUse, DatabaseUnavailable
from sql.sqlite import SQLite
from sql.transaction import Tx
from tests.clock import Clock
from tests.conftest import Told
from tests.sql import notes

ROOT = Path(__file__).parents[2]


async def test_the_log_is_written_ahead_and_every_commit_reaches_the_disk(
    sqlite_book: SQLite,
) -> None:
    for ask in (sqlite_book.write, sqlite_book.read):
        assert await ask(notes.value, "PRAGMA journal_mode") == "wal"
        assert await ask(notes.value, "PRAGMA synchronous") == 2
        assert await ask(notes.value, "PRAGMA foreign_keys") == 1


async def test_a_url_needs_a_file(clock: Clock) -> None:
    for url in ("sqlite:///", "sqlite:///:memory:"):
        with pytest.raises(ValueError, match="needs a file"):
            await open_database(url, now=clock.now)


async def test_a_folder_that_is_not_there_is_made(tmp_path: Path, clock: Clock) -> None:
    database = await open_database(f"sqlite:///{tmp_path}/new/folder/a.db", now=clock.now)

    await database.migrate()

    await database.close()
    assert (tmp_path / "new/folder/a.db").exists()


async def test_a_folder_that_cannot_be_made_makes_it_unavailable(
    tmp_path: Path, clock: Clock
) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(DatabaseUnavailable):
        await open_database(f"sqlite:///{tmp_path}/file/a.db", now=clock.now)


# One process


async def test_a_file_is_opened_once(sqlite_book: SQLite, sqlite_url: str, clock: Clock) -> None:
    with pytest.raises(DatabaseInUse):
        await open_database(sqlite_url, now=clock.now)

    await sqlite_book.close()
    again = await open_database(sqlite_url, now=clock.now)
    assert await again.read(notes.count) == 0
    await again.close()


async def test_a_file_has_one_lock_whatever_it_is_called(
    sqlite_book: SQLite, tmp_path: Path, clock: Clock
) -> None:
    (tmp_path / "alias.db").symlink_to(sqlite_book.path)

    with pytest.raises(DatabaseInUse):
        await open_database(f"sqlite:///{tmp_path}/alias.db", now=clock.now)


async def test_a_failed_opening_leaves_no_lock(sqlite_url: str, clock: Clock) -> None:
    path = Path(sqlite_url.removeprefix("sqlite:///"))
    path.write_bytes(b"This is no database. " * 500)
    database = await open_database(sqlite_url, now=clock.now)

    with pytest.raises(DatabaseUnavailable, match="not a database"):
        await database.migrate()
    with pytest.raises(DatabaseUnavailable, match="not a database"):
        await database.write(notes.make)
    with pytest.raises(DatabaseUnavailable, match="not a database"):
        await database.read(notes.count)

    await database.close()
    path.unlink()
    database = await open_database(sqlite_url, now=clock.now)
    await database.migrate()
    await database.close()


WRITER = """
import asyncio, sys
from sql.database import open_database
from tests.sql import notes

async def main():
    database = await open_database(sys.argv[1], now=lambda: 0)
    await database.migrate()
    await database.write(notes.make)
    print("open", flush=True)
    n = 0
    while True:
        asked = [f"{n} {m}" for m in range(5)]
        await asyncio.gather(*[database.write(notes.add, word) for word in asked])
        print(*asked, sep="\\n", flush=True)
        n += 1

asyncio.run(main())
"""


@pytest.mark.torture
async def test_what_was_answered_survives_a_kill_and_the_lock_does_not(
    tmp_path: Path, clock: Clock, torture_rounds: int
) -> None:
    for n in range(torture_rounds):
        path = tmp_path / f"{n}.db"
        process = subprocess.Popen(
            [sys.executable, "-c", WRITER, f"sqlite:///{path}"],
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )
        assert process.stdout is not None
        assert process.stdout.readline() == "open\n"
        with pytest.raises(DatabaseInUse):
            await open_database(f"sqlite:///{path}", now=clock.now)
        answered = [process.stdout.readline().strip() for _ in range(20 + 7 * n)]

        process.send_signal(signal.SIGKILL)
        answered += [line.strip() for line in process.stdout if line.endswith("\n")]
        process.stdout.close()
        process.wait()

        database = await open_database(f"sqlite:///{path}", now=clock.now)
        kept = await database.read(notes.words)
        assert await database.write(notes.value, "PRAGMA integrity_check") == "ok"
        await database.close()
        assert kept[: len(answered)] == answered
        # Batches of five: what was not answered is there as a whole or not at all.
        assert len(kept) % 5 == 0
        assert len(kept) <= len(answered) + 5


# A disk that fails


def limit_pages(database: SQLite, pages: int) -> None:
    """Let the database grow to so many pages; a connection is told when it is opened."""

    def limit(raw: sqlite3.Connection, _: object) -> None:
        raw.execute(f"PRAGMA max_page_count={pages}")

    event.listen(database._writer, "connect", limit)
    database._writer.dispose()


def fill(tx: Tx, table: str = "filling") -> None:
    notes.run(tx, f"CREATE TABLE IF NOT EXISTS {table} (data BLOB)")
    notes.run(tx, f"INSERT INTO {table} VALUES (zeroblob(4000000))")


def fill_and_carry_on(tx: Tx) -> None:
    """A function that takes any error for its own."""
    for _ in range(2):
        try:
            fill(tx)
        except Exception:  # noqa: S110
            pass
    try:
        notes.add(tx, "carried on")
    except Exception:  # noqa: S110
        pass


@pytest.mark.parametrize("filler", [fill, fill_and_carry_on])
async def test_a_full_database_refuses_the_whole_batch_and_recovers(
    sqlite_book: SQLite, told: Told, filler: Callable[[Tx], None]
) -> None:
    await sqlite_book.write(notes.add, "before")
    limit_pages(sqlite_book, 500)

    outcomes = await asyncio.gather(
        sqlite_book.write(notes.add_and_tell, "first"),
        sqlite_book.write(filler),
        sqlite_book.write(notes.add_and_tell, "last"),
        return_exceptions=True,
    )
    alone = await asyncio.gather(sqlite_book.write(filler), return_exceptions=True)

    # SQLite has undone all of it by itself: none may count as done.
    refusals = [*outcomes, *alone]
    assert [type(refusal) for refusal in refusals] == [DatabaseUnavailable] * 4
    assert len(set(map(id, refusals))) == 4
    assert told.events == []
    assert await sqlite_book.read(notes.words) == ["before"]
    assert await sqlite_book.write(notes.add, "after") == "after"
    limit_pages(sqlite_book, 100_000)
    await sqlite_book.write(fill)


async def test_a_list_verb_on_a_full_database_is_not_tried_again_for_each(
    sqlite_book: SQLite,
) -> None:
    limit_pages(sqlite_book, 100)
    many = ["x" * 20 + str(n) for n in range(30_000)]

    outcomes = await asyncio.gather(
        *[sqlite_book.write(notes.add_all, word) for word in many[:200]],
        sqlite_book.write(fill),
        return_exceptions=True,
    )

    assert {type(outcome) for outcome in outcomes} == {DatabaseUnavailable}


async def test_a_commit_that_cannot_be_written_is_undone_and_told_to_nobody(
    sqlite_book: SQLite, told: Told, small_files: Callable[[int], None]
) -> None:
    await sqlite_book.write(remember, "before")
    log = Path(f"{sqlite_book.path}-wal")

    small_files(log.stat().st_size)
    outcomes = await asyncio.gather(
        sqlite_book.write(notes.add_and_tell, "first"),
        sqlite_book.write(remember, "second"),
        return_exceptions=True,
    )
    small_files(resource.RLIM_INFINITY)

    assert [type(outcome) for outcome in outcomes] == [DatabaseUnavailable] * 2
    assert told.events == []
    assert await sqlite_book.read(notes.words) == []
    assert await sqlite_book.write(recall) is None
    assert await sqlite_book.write(notes.add_and_tell, "after") == 1
    assert await sqlite_book.write(notes.value, "PRAGMA integrity_check") == "ok"


def remember(tx: Tx, word: str) -> None:
    tx.recall("word")
    tx.remember("word", word)


def recall(tx: Tx) -> object:
    return tx.recall("word")


@pytest.fixture
def small_disk() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="callme-test-"))
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", folder], check=False, capture_output=True
    )
    if mounted.returncode != 0:
        folder.rmdir()
        pytest.skip("only root may mount a small disk")
    yield folder
    subprocess.run(["umount", folder], check=True)
    folder.rmdir()


async def test_a_full_disk_refuses_and_with_room_again_it_goes_on(
    small_disk: Path, clock: Clock
) -> None:
    database = await open_database(f"sqlite:///{small_disk}/a.db", now=clock.now)
    await database.migrate()
    await database.write(notes.make)
    ballast = small_disk / "ballast"
    with ballast.open("wb") as file:
        file.write(bytes(shutil.disk_usage(small_disk).free - 20_000))

    answered = []
    refused = 0
    for n in range(40):
        try:
            answered.append(await database.write(notes.add, f"word {n}"))
        except DatabaseUnavailable:
            refused += 1

    assert refused > 0
    assert await database.read(notes.words) == answered
    ballast.unlink()
    assert await database.write(notes.add, "after") == "after"
    assert await database.write(notes.value, "PRAGMA integrity_check") == "ok"
    await database.close()
    assert sorted(path.name for path in small_disk.iterdir()) == ["a.db", "a.db.lock"]


async def test_a_read_only_disk_refuses_the_opening(small_disk: Path, clock: Clock) -> None:
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)

    with pytest.raises(DatabaseUnavailable):
        await open_database(f"sqlite:///{small_disk}/a.db", now=clock.now)

    subprocess.run(["mount", "-o", "remount,rw", small_disk], check=True)
    database = await open_database(f"sqlite:///{small_disk}/a.db", now=clock.now)
    await database.migrate()
    await database.close()


async def test_a_read_only_file_refuses_writing_serves_reading_and_recovers(
    clock: Clock,
) -> None:
    folder = Path(tempfile.mkdtemp(prefix="callme-test-"))
    folder.chmod(0o777)
    url = f"sqlite:///{folder}/a.db"
    database = await open_database(url, now=clock.now)
    await database.migrate()
    await database.write(notes.make)
    await database.close()
    (folder / "a.db").chmod(0o444)

    user = os.geteuid()
    database = await open_database(url, now=clock.now)
    try:
        if user == 0:
            os.seteuid(65534)  # Root may write what is read-only.
        with pytest.raises(DatabaseUnavailable, match="readonly"):
            await database.write(notes.add, "word")
        assert await database.read(notes.count) == 0
    finally:
        os.seteuid(user)
    (folder / "a.db").chmod(0o644)

    assert await database.write(notes.add, "word") == "word"
    await database.close()
    shutil.rmtree(folder)


async def test_a_disk_that_does_not_confirm_a_commit_leaves_it_unknown(
    sqlite_book: SQLite, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No disk fails on request in fsync alone, so here the driver says that one did."""

    class Unsure(sqlite3.Connection):
        def commit(self) -> None:
            error = sqlite3.OperationalError("disk I/O error")
            error.sqlite_errorcode = sqlite3.SQLITE_IOERR_FSYNC
            raise error

    connect = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", lambda *a, **kw: connect(*a, **kw, factory=Unsure))
    sqlite_book._writer.dispose()

    with pytest.raises(CommitUnknown):
        await sqlite_book.write(notes.add_and_tell, "word")

    assert told.events == []
    monkeypatch.undo()
    assert await sqlite_book.write(notes.add, "after") == "after"


async def test_a_file_that_another_program_holds_makes_writing_unavailable(
    sqlite_book: SQLite, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Someone has `sqlite3 callme.db` open, in the middle of a transaction."""
    intruder = sqlite3.connect(sqlite_book.path, isolation_level=None)
    intruder.execute("BEGIN IMMEDIATE")
    connect = sqlite3.connect
    # Its five seconds of patience are SQLite's own; a tenth is enough to see the end of it.
    monkeypatch.setattr(sqlite3, "connect", lambda *a, **kw: connect(*a, **{**kw, "timeout": 0.1}))
    sqlite_book._writer.dispose()

    with pytest.raises(DatabaseUnavailable, match="locked"):
        await sqlite_book.write(notes.add, "word")
    assert await sqlite_book.read(notes.count) == 0

    intruder.close()
    assert await sqlite_book.write(notes.add, "word") == "word"


async def test_even_an_exit_within_a_function_does_not_end_the_writer(
    sqlite_book: SQLite, expect_log: Callable[[str], None]
) -> None:
    def leave(tx: Tx) -> None:
        raise SystemExit

    expect_log("a transaction failed")

    with pytest.raises(DatabaseUnavailable):
        await sqlite_book.write(leave)

    assert await sqlite_book.write(notes.add, "after") == "after"


async def test_a_damaged_file_is_told_as_unavailable(
    sqlite_book: SQLite, sqlite_url: str, clock: Clock
) -> None:
    await sqlite_book.write(notes.add, "word")
    root = await sqlite_book.read(
        notes.value, "SELECT rootpage FROM sqlite_schema WHERE name = 'notes'"
    )
    assert isinstance(root, int)
    await sqlite_book.close()
    with sqlite_book.path.open("r+b") as file:
        file.seek((root - 1) * 4096)
        file.write(b"\xee" * 4096)

    database = await open_database(sqlite_url, now=clock.now)

    with pytest.raises(DatabaseUnavailable, match="malformed"):
        await database.read(notes.words)
    with pytest.raises(DatabaseUnavailable, match="malformed"):
        await database.write(notes.words)
    await database.close()
