"""What is a server's own: other processes, deadlocks, lost connections, its settings."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from sqlalchemy.exc import DBAPIError

from sql.database import Database, open_database
from sql.errors import CommitUnknown, DatabaseUnavailable
from sql.mysql import MySQL
from sql.transaction import Tx
from tests.clock import Clock
from tests.conftest import Told
from tests.proxies import Proxy
from tests.servers import MariaDB
from tests.sql import notes
from tests.sql.conftest import open_mysql
from tests.sql.test_transactions import count_up

pytestmark = pytest.mark.mariadb

# An error packet: its length and number, then 0xff, the error's code, its state and its text.
DEADLOCK = b"\x17\x00\x00\x01" + b"\xff" + (1213).to_bytes(2, "little") + b"#40001Deadlock found"


def kill_connection(tx: Tx, server: MariaDB) -> None:
    """The administrator ends our connection between two statements."""
    server.execute(f"KILL {notes.value(tx, 'SELECT CONNECTION_ID()')}")


# What a server is told


async def test_writers_see_what_others_committed_and_readers_one_moment(
    mysql_book: MySQL,
) -> None:
    isolation = "SELECT @@tx_isolation"
    read_only = "SELECT @@tx_read_only"

    assert await mysql_book.write(notes.value, isolation) == "READ-COMMITTED"
    assert await mysql_book.write(notes.value, read_only) == 0
    assert await mysql_book.read(notes.value, isolation) == "REPEATABLE-READ"
    assert await mysql_book.read(notes.value, read_only) == 1


async def test_a_text_too_long_for_its_column_is_an_error_whatever_the_server_is_set_to(
    mariadb: MariaDB, mysql_book: MySQL, mariadb_url: str, clock: Clock
) -> None:
    mariadb.execute("SET GLOBAL sql_mode = ''")
    try:
        lax = await open_mysql(mariadb_url, clock)
        with pytest.raises(DBAPIError, match="too long"):
            await lax.write(notes.add, "x" * 21)
        assert await lax.read(notes.count) == 0
        await lax.close()
    finally:
        mariadb.execute("SET GLOBAL sql_mode = DEFAULT")


async def test_a_url_may_name_mariadb(mariadb_url: str, clock: Clock) -> None:
    database = await open_database(mariadb_url.replace("mysql://", "mariadb://"), now=clock.now)

    assert await database.read(notes.value, "SELECT 1") == 1

    await database.close()


# Deadlocks and locks


async def test_of_two_deadlocked_processes_one_is_run_again_and_both_are_done(
    mysql_book: MySQL, second_book: MySQL, told: Told
) -> None:
    await mysql_book.write(notes.add, "one")
    await mysql_book.write(notes.add, "two")
    holding: set[str] = set()
    runs: list[str] = []

    def take_both(tx: Tx, first: str, second: str) -> int:
        runs.append(first)
        beats = count_up(tx)
        changed = notes.rename(tx, first, first)
        holding.add(first)
        while len(holding) < 2:
            notes.value(tx, "SELECT 1")
        changed += notes.rename(tx, second, second)
        notes.tell(tx, first, stream=first)
        assert changed == 2
        return beats

    beats = await asyncio.gather(
        mysql_book.write(take_both, "one", "two"), second_book.write(take_both, "two", "one")
    )

    assert sorted(set(runs)) == ["one", "two"]
    assert len(runs) == 3
    # What the undone run remembered was forgotten.
    assert list(beats) == [1, 1]
    assert told.names == ["one"]


async def test_a_deadlock_that_a_function_takes_for_its_own_error_is_run_again_all_the_same(
    mysql_book: MySQL, second_book: MySQL
) -> None:
    await mysql_book.write(notes.add, "one")
    await mysql_book.write(notes.add, "two")
    holding: set[str] = set()

    def take_both(tx: Tx, first: str, second: str) -> None:
        notes.rename(tx, first, first)
        holding.add(first)
        while len(holding) < 2:
            notes.value(tx, "SELECT 1")
        with contextlib.suppress(Exception):
            notes.rename(tx, second, second)
        with contextlib.suppress(Exception):
            notes.add(tx, f"after {second}")

    await asyncio.gather(
        mysql_book.write(take_both, "one", "two"),
        second_book.write(take_both, "two", "one"),
        mysql_book.write(notes.add, "beside"),
    )

    kept = await mysql_book.read(notes.words)
    assert sorted(kept) == ["after one", "after two", "beside", "one", "two"]


async def test_a_row_that_another_process_holds_too_long_makes_the_database_unavailable(
    mysql_book: MySQL, mariadb_url: str, clock: Clock
) -> None:
    await mysql_book.write(notes.add, "held")
    mysql_book.timeout_s = 1.5  # One wait for the lock, and one more would be too many.
    runs = 0

    def rename(tx: Tx) -> None:
        nonlocal runs
        runs += 1
        notes.run(tx, "SET SESSION innodb_lock_wait_timeout = 1")
        notes.rename(tx, "held", "renamed")

    async with holding(mariadb_url, "UPDATE notes SET word = 'theirs'"):
        outcomes = await asyncio.gather(
            mysql_book.write(rename), mysql_book.write(notes.add, "x"), return_exceptions=True
        )
        assert [type(outcome) for outcome in outcomes] == [DatabaseUnavailable] * 2

    assert runs >= 2
    assert await mysql_book.write(notes.rename, "held", "ours") == 1
    assert await mysql_book.read(notes.words) == ["ours"]


@contextlib.asynccontextmanager
async def holding(url: str, statement: str) -> AsyncIterator[Any]:
    """Another program in the middle of a transaction, in which it has run a statement."""
    import aiomysql
    from sqlalchemy import make_url

    there = make_url(url)
    connection = await aiomysql.connect(
        host=there.host, port=there.port, user=there.username, db=there.database
    )
    cursor = await connection.cursor()
    await cursor.execute(statement)
    try:
        yield connection
    finally:
        await connection.ensure_closed()


# Lost connections


async def test_a_connection_killed_between_two_statements_is_no_error(
    mariadb: MariaDB, mysql_book: MySQL, told: Told
) -> None:
    runs = 0

    def write(tx: Tx) -> int:
        nonlocal runs
        runs += 1
        notes.add_and_tell(tx, "first")
        if runs == 1:
            kill_connection(tx, mariadb)
        notes.add(tx, "second")
        return count_up(tx)

    assert await mysql_book.write(write) == 1

    assert runs == 2
    assert await mysql_book.read(notes.words) == ["first", "second"]
    assert told.names == ["first"]


async def test_connections_killed_while_idle_are_no_error(
    mariadb: MariaDB, mysql_book: MySQL
) -> None:
    await mysql_book.read(notes.count)
    mariadb.execute("KILL USER root")

    assert await mysql_book.write(notes.add, "word") == "word"
    assert await mysql_book.read(notes.words) == ["word"]


async def test_a_reader_whose_connection_is_killed_reads_again(
    mariadb: MariaDB, mysql_book: MySQL
) -> None:
    runs = 0

    def look(tx: Tx) -> int:
        nonlocal runs
        runs += 1
        if runs == 1:
            kill_connection(tx, mariadb)
        return notes.count(tx)

    assert await mysql_book.read(look) == 0
    assert runs == 2


async def test_a_reader_whose_connection_is_killed_each_time_is_told(
    mariadb: MariaDB, mysql_book: MySQL
) -> None:
    def look(tx: Tx) -> int:
        kill_connection(tx, mariadb)
        return notes.count(tx)

    with pytest.raises(DatabaseUnavailable):
        await mysql_book.read(look)

    assert await mysql_book.read(notes.count) == 0


async def test_a_function_that_breaks_its_transaction_each_time_ends(
    mariadb: MariaDB, mysql_book: MySQL
) -> None:
    runs = 0

    def write(tx: Tx) -> None:
        nonlocal runs
        runs += 1
        kill_connection(tx, mariadb)
        notes.add(tx, "word")

    with pytest.raises(DatabaseUnavailable):
        await mysql_book.write(write)

    assert runs == 5
    assert await mysql_book.write(notes.add, "after") == "after"


async def test_a_savepoint_that_is_gone_is_a_transaction_that_is_gone(
    mysql_book: MySQL,
) -> None:
    """A statement that commits by itself takes the savepoints with it."""
    runs = 0

    def write(tx: Tx) -> None:
        nonlocal runs
        runs += 1
        notes.run(tx, "CREATE TABLE IF NOT EXISTS other (id INT)")
        raise notes.Refused

    outcomes = await asyncio.gather(
        mysql_book.write(write), mysql_book.write(notes.add, "word"), return_exceptions=True
    )

    assert [type(outcome) for outcome in outcomes] == [DatabaseUnavailable] * 2
    assert runs == 5


async def test_a_server_without_room_is_unavailable_at_once(mysql_book: MySQL) -> None:
    runs = 0

    def write(tx: Tx) -> None:
        nonlocal runs
        runs += 1
        notes.add(tx, f"word {runs}")
        notes.run(tx, "SIGNAL SQLSTATE 'HY000' SET MYSQL_ERRNO = 1114")

    with pytest.raises(DatabaseUnavailable):
        await mysql_book.write(write)

    assert runs == 1
    assert await mysql_book.read(notes.words) == []


# The moment of the commit


@pytest.fixture
async def proxy(mariadb: MariaDB) -> AsyncIterator[Proxy]:
    async with Proxy(mariadb.port) as proxy:
        yield proxy


@pytest.fixture
async def far_book(
    mysql_book: MySQL, mariadb: MariaDB, mariadb_url: str, proxy: Proxy, clock: Clock, told: Told
) -> AsyncIterator[MySQL]:
    """The database of mysql_book, reached through the proxy."""
    far = mariadb_url.replace(f":{mariadb.port}/", f":{proxy.port}/")
    database = await open_mysql(far, clock, told)
    await database.write(notes.value, "SELECT 1")
    yield database
    proxy.flow()
    await database.close()


@pytest.mark.parametrize("passed_on", [True, False])
async def test_a_connection_lost_during_the_commit_leaves_the_outcome_unknown(
    far_book: MySQL, proxy: Proxy, told: Told, passed_on: bool
) -> None:
    proxy.cut_at(b"COMMIT", passed_on=passed_on)

    outcomes = await asyncio.gather(
        far_book.write(notes.add_and_tell, "one"),
        far_book.write(count_up),
        return_exceptions=True,
    )

    assert [type(outcome) for outcome in outcomes] == [CommitUnknown] * 2
    # The change is there as a whole or not at all, and whoever listens reads the record.
    assert await far_book.read(notes.words) == (["one"] if passed_on else [])
    assert told.events == []
    assert await far_book.write(count_up) == 1


async def test_a_commit_that_is_never_answered_is_unknown_after_our_time(
    far_book: MySQL, proxy: Proxy, told: Told
) -> None:
    far_book.timeout_s = 0.5
    proxy.stall_at(b"COMMIT")

    with pytest.raises(CommitUnknown):
        await far_book.write(notes.add_and_tell, "one")

    proxy.flow()
    assert told.events == []
    assert await far_book.read(notes.words) == ["one"]


async def test_a_commit_that_the_server_refuses_is_run_again(
    far_book: MySQL, proxy: Proxy, told: Told
) -> None:
    """As a cluster does, whose nodes find a conflict only at the commit."""
    proxy.answer_at(b"COMMIT", DEADLOCK)

    assert await far_book.write(notes.add_and_tell, "one") == 1

    assert await far_book.read(notes.words) == ["one"]
    assert told.names == ["one"]


async def test_a_connection_cut_before_the_commit_is_no_error(
    far_book: MySQL, proxy: Proxy, told: Told
) -> None:
    proxy.cut_at(b"INSERT INTO notes", passed_on=True)

    assert await far_book.write(notes.add_and_tell, "one") == 1

    assert await far_book.read(notes.words) == ["one"]
    assert told.names == ["one"]


@pytest.mark.parametrize("word", [b"FROM notes", b"ROLLBACK"])
async def test_a_reader_whose_connection_is_cut_reads_again(
    far_book: MySQL, proxy: Proxy, word: bytes
) -> None:
    proxy.cut_at(word, passed_on=True)

    assert await far_book.read(notes.count) == 0


async def test_a_refused_function_whose_rollback_is_cut_is_refused_all_the_same(
    far_book: MySQL, proxy: Proxy
) -> None:
    proxy.cut_at(b"ROLLBACK", passed_on=False)

    with pytest.raises(notes.Refused):
        await far_book.write(notes.add_and_refuse, "word")

    assert await far_book.read(notes.words) == []


# A server that is away


async def test_a_server_that_was_never_there_is_unavailable(clock: Clock) -> None:
    async with Proxy(1) as nothing:
        database = await open_mysql(f"mysql://root@127.0.0.1:{nothing.port}/callme", clock)

        with pytest.raises(DatabaseUnavailable):
            await database.write(notes.add, "word")
        with pytest.raises(DatabaseUnavailable):
            await database.read(notes.count)
        with pytest.raises(DatabaseUnavailable):
            await database.migrate()

        await database.close()


async def test_at_closing_a_server_that_is_away_is_not_waited_for(clock: Clock) -> None:
    async with Proxy(1) as nothing:
        database = await open_mysql(f"mysql://root@127.0.0.1:{nothing.port}/callme", clock)
        database.batch_max = 1
        asked = [asyncio.create_task(database.write(notes.add, str(n))) for n in range(3)]
        await asyncio.sleep(0)

        await database.close()

        assert nothing.connections <= 4
        outcomes = await asyncio.gather(*asked, return_exceptions=True)
        assert {type(outcome) for outcome in outcomes} == {DatabaseUnavailable}


@pytest.mark.parametrize("paused", [True, False])
async def test_a_silent_server_is_unavailable_and_leaks_no_connection(
    far_book: MySQL, proxy: Proxy, told: Told, paused: bool
) -> None:
    far_book.timeout_s = 0.3
    await asyncio.gather(*[far_book.read(notes.count) for _ in range(6)])
    proxy.stall()
    if not paused:
        proxy.cut()

    for n in range(4):
        outcomes = await asyncio.gather(
            far_book.write(notes.add_and_tell, f"word {n}"),
            far_book.write(notes.add_and_refuse, f"word {n}"),
            *[far_book.read(notes.count) for _ in range(8)],
            return_exceptions=True,
        )
        assert {type(outcome) for outcome in outcomes} == {DatabaseUnavailable}

    proxy.flow()
    far_book.timeout_s = 5.0
    assert await far_book.read(notes.count) == 0
    assert await far_book.write(notes.add_and_tell, "after") == 1
    assert told.names == ["after"]
    pools = (far_book._writer.pool, far_book._reader.pool)
    assert [pool.checkedout() for pool in pools] == [0, 0]  # type: ignore[attr-defined]


@pytest.mark.torture
async def test_a_server_killed_and_started_again_is_only_unavailable_meanwhile(
    own_mariadb: MariaDB, clock: Clock, torture_rounds: int
) -> None:
    database = await open_mysql(own_mariadb.fresh_database(), clock)
    await database.migrate()
    await database.write(notes.make)
    serving = Serving(database)

    for _ in range(torture_rounds):
        await serving.answers(20)
        await asyncio.to_thread(own_mariadb.kill)
        await serving.refusals(3)
        await asyncio.to_thread(own_mariadb.start)
        returned = serving.time()
        await serving.answers(1)
        assert serving.time() - returned <= 2.0

    await serving.end()
    kept = set(await database.read(notes.words))
    await database.close()
    assert serving.answered <= kept
    assert kept <= serving.answered | serving.unknown
    assert serving.others == []


@pytest.mark.torture
async def test_a_server_paused_beyond_our_patience_is_only_unavailable_meanwhile(
    own_mariadb: MariaDB, clock: Clock, torture_rounds: int
) -> None:
    database = await open_mysql(own_mariadb.fresh_database(), clock)
    await database.migrate()
    await database.write(notes.make)
    serving = Serving(database)

    await serving.answers(20)
    own_mariadb.pause()
    # Our patience is five seconds, and this is the one test that waits for all of it.
    await serving.refusals(2)
    own_mariadb.resume()
    returned = serving.time()
    await serving.answers(1)
    assert serving.time() - returned <= 2.0

    await serving.end()
    kept = set(await database.read(notes.words))
    await database.close()
    assert serving.answered <= kept
    assert kept <= serving.answered | serving.unknown
    assert serving.others == []


class Serving:
    """Callers that write and read without end, and what became of it."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.answered: set[str] = set()
        self.unknown: set[str] = set()
        self.refused = 0
        self.others: list[BaseException] = []
        self.time = asyncio.get_running_loop().time
        self._changed = asyncio.Condition()
        self._ended = False
        self._tasks = [asyncio.create_task(self._call(n)) for n in range(4)]

    async def _call(self, number: int) -> None:
        n = 0
        while not self._ended:
            n += 1
            word = f"{number} {n}"
            try:
                await self.database.write(notes.add, word)
                await self.database.read(notes.count)
                self.answered.add(word)
            except DatabaseUnavailable:
                # Either of the two may have been refused.
                self.unknown.add(word)
                self.refused += 1
            except CommitUnknown:
                self.unknown.add(word)
            except Exception as error:
                self.others.append(error)
            async with self._changed:
                self._changed.notify_all()

    async def answers(self, number: int) -> None:
        """Wait for so many more answers."""
        await self._more(lambda: len(self.answered), number)

    async def refusals(self, number: int) -> None:
        await self._more(lambda: self.refused, number)

    async def _more(self, count: Callable[[], int], number: int) -> None:
        goal = count() + number
        async with self._changed:
            await self._changed.wait_for(lambda: count() >= goal)

    async def end(self) -> None:
        self._ended = True
        await asyncio.gather(*self._tasks)
