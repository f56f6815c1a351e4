"""Real MariaDB and Redis servers of the tests' own, on free ports, in folders that vanish.

A server is started, stopped, killed, paused and started again on the same port, with what it had
stored. The system's own daemons are never needed and never touched: only processes started here
are ended, by their number.

The methods wait for the server, so they hold up the loop of an async test. Where its other tasks
must go on meanwhile: `await asyncio.to_thread(server.start)`.
"""

import abc
import asyncio
import atexit
import itertools
import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import weakref
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

import pymysql
import pymysql.cursors
from sqlalchemy import create_engine, inspect, text
from sqlalchemy.pool import NullPool

from sql.database import open_database
from sql.tables import metadata
from sql.triggers import create_triggers, missing_triggers

# A healthy start takes 0.2 s; a machine that is busy with other tests may need many times that.
START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 30.0

# Below the range from which systems take the ports of outgoing connections, so that nobody
# happens to sit on a server's port while it is down.
PORTS = range(20_000, 32_000)

# Files of the tests lie in memory where there is room: the suite waits for no disk, and a
# process that is killed loses as little there as on a disk.
MEMORY = Path("/dev/shm")
MEMORY_LEAST = 4 << 30


def temporary_folder() -> Path:
    """Where tests keep what they make."""
    try:
        room = shutil.disk_usage(MEMORY).free
    except OSError:
        room = 0
    return MEMORY if room >= MEMORY_LEAST else Path(tempfile.gettempdir())


class ServerError(Exception):
    """A server could not be installed, started or stopped."""


class Server(abc.ABC):
    """A server process with a folder and a port of its own."""

    def __init__(self) -> None:
        self.port = free_port()
        self.folder = Path(tempfile.mkdtemp(prefix="callme-test-", dir=temporary_folder()))
        self._process: subprocess.Popen[bytes] | None = None
        self._has_run = False
        self._owner = os.getpid()
        _servers.add(self)

    @property
    @abc.abstractmethod
    def url(self) -> str: ...

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        if self._process is None:
            raise ServerError("the server has not been started")
        return self._process.pid

    def start(self) -> None:
        """Start, or start again on the same port, and wait until it answers."""
        if self.is_running:
            return
        attempts = 1 if self._has_run else 5
        for _ in range(attempts):
            self._launch()
            if self._came_up():
                self._has_run = True
                return
            # Somebody may have taken the port between our look and the server's start.
            if not self._has_run:
                self.port = free_port()
        raise ServerError(f"{self._command()[0]} does not start:\n{self._output()}")

    def stop(self) -> None:
        """Ask it to end in good order, and wait until it has."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End it as a power cut would: nothing more is written."""
        self._end(signal.SIGKILL)

    def pause(self) -> None:
        """Let it hold its breath: connections stay open, nothing is answered."""
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    def close(self) -> None:
        """End it, and remove all it has stored. May be repeated."""
        if self._owner != os.getpid():
            return  # A fork of the tests' process does not own its parent's servers.
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    @abc.abstractmethod
    def _command(self) -> list[str]: ...

    @abc.abstractmethod
    def _answers(self) -> bool:
        """Whether a client gets an answer now, and from this very process."""

    def _launch(self) -> None:
        # A session of its own: Ctrl-C ends the tests, and the tests end their servers.
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                self._command(),
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def _came_up(self) -> bool:
        """Wait until it answers; False if it ended instead."""
        deadline = time.monotonic() + START_TIMEOUT_S
        while self.is_running:
            if self._answers():
                return True
            if time.monotonic() > deadline:
                self.kill()
                raise ServerError(f"no answer in {START_TIMEOUT_S:.0f} s:\n{self._output()}")
            time.sleep(0.02)
        return False

    def _end(self, how: signal.Signals) -> None:
        process = self._process
        if process is None or process.poll() is not None:
            return
        process.send_signal(how)
        process.send_signal(signal.SIGCONT)  # One that is paused would not hear the first.
        try:
            process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired as late:
            process.kill()
            process.wait(STOP_TIMEOUT_S)
            raise ServerError(f"had to be killed:\n{self._output()}") from late

    @property
    def _log(self) -> Path:
        return self.folder / "output.log"

    def _output(self) -> str:
        return self._log.read_text(errors="replace")[-4000:]


class MariaDB(Server):
    """A MariaDB server that writes every commit to the disk before it answers."""

    def __init__(self) -> None:
        super().__init__()
        self._names = (f"t{self._owner}_{n}" for n in itertools.count(1))
        # Databases with this program's tables and no rows, and what such a one looks like.
        self._clean: list[str] = []
        self._shape: object = None

    @property
    def url(self) -> str:
        """Without a database; `fresh_database` makes one."""
        return f"mysql://root@127.0.0.1:{self.port}"

    def start(self) -> None:
        if not self._data.exists():
            shutil.copytree(installed_mariadb(), self._data)
        super().start()

    def fresh_database(self) -> str:
        """The url of a new, empty database, whose texts are utf8mb4."""
        name = next(self._names)
        self.execute(f"CREATE DATABASE {name} CHARACTER SET utf8mb4 COLLATE utf8mb4_bin")
        return f"{self.url}/{name}"

    def drop_database(self, url: str) -> None:
        """Remove a database; one that somebody still holds open fails after five seconds."""
        self.execute(f"SET lock_wait_timeout = 5; DROP DATABASE {url.rpartition('/')[2]}")

    def migrated_database(self) -> str:
        """The url of a database with this program's tables and nothing in them.

        To be given back: making the tables takes longer than most tests.
        """
        if self._clean:
            return self._clean.pop()
        url = self.fresh_database()
        migrate(url)
        self._shape = self._shape or self._shape_of(url)
        return url

    def give_back(self, url: str) -> None:
        """Empty a migrated database for the next test, or remove one that was altered."""
        name = url.rpartition("/")[2]
        if self._shape_of(url) != self._shape:
            self._mend(url)
            if self._shape_of(url) != self._shape:
                self.drop_database(url)
                return
        with self._connect() as connection, connection.cursor() as cursor:
            cursor.execute(f"USE {name}")
            cursor.execute("SET lock_wait_timeout = 5")
            for table in self._touched(cursor):
                cursor.execute(f"TRUNCATE TABLE {table}")
        self._clean.append(url)

    def _mend(self, url: str) -> None:
        """Take back what tests do to tables: some of their own, and triggers out of the way."""
        engine = create_engine(url.replace("mysql:", "mysql+pymysql:"), poolclass=NullPool)
        with engine.connect() as connection:
            connection.execute(text("SET lock_wait_timeout = 5"))
            ours = {*metadata.tables, "alembic_version"}
            for table in set(inspect(connection).get_table_names()) - ours:
                connection.execute(text(f"DROP TABLE {table}"))
            for trigger in missing_triggers(connection):
                connection.execute(text(f"DROP TRIGGER IF EXISTS {trigger}"))
            create_triggers(connection)

    @staticmethod
    def _touched(cursor: "pymysql.cursors.Cursor") -> list[str]:
        """Tables with rows, or with numbers that were given to rows."""
        cursor.execute(
            "SELECT table_name, COALESCE(auto_increment, 1) > 1 FROM information_schema.tables"
            " WHERE table_schema = DATABASE() AND table_name <> 'alembic_version'"
        )
        counted = dict(cursor.fetchall())
        looks = (
            f"SELECT '{name}' FROM DUAL WHERE EXISTS (SELECT 1 FROM {name})"
            for name, is_counted in counted.items()
            if not is_counted
        )
        cursor.execute(" UNION ALL ".join(looks))
        return [name for name in counted if counted[name]] + [row[0] for row in cursor.fetchall()]

    def _shape_of(self, url: str) -> object:
        """All that tells whether a test has left the tables as they were."""
        name = url.rpartition("/")[2]
        queries = (
            (
                "SELECT table_name, column_name, column_type FROM information_schema.columns"
                f" WHERE table_schema = '{name}' ORDER BY table_name, ordinal_position"
            ),
            (
                "SELECT trigger_name, action_statement FROM information_schema.triggers"
                f" WHERE trigger_schema = '{name}' ORDER BY trigger_name"
            ),
            (
                "SELECT table_name, index_name, seq_in_index FROM information_schema.statistics"
                f" WHERE table_schema = '{name}' ORDER BY table_name, index_name, seq_in_index"
            ),
            f"SELECT * FROM {name}.alembic_version",
        )
        with self._connect() as connection, connection.cursor() as cursor:
            return [self._all(cursor, query) for query in queries]

    @staticmethod
    def _all(cursor: "pymysql.cursors.Cursor", query: str) -> object:
        try:
            cursor.execute(query)
        except pymysql.MySQLError as error:
            return repr(error)
        return cursor.fetchall()

    def execute(self, statements: str) -> None:
        """Run statements (separated by semicolons) as root, outside any database."""
        connection = self._connect()
        try:
            with connection.cursor() as cursor:
                for statement in statements.split(";"):
                    cursor.execute(statement)
        finally:
            connection.close()

    def _connect(self) -> "pymysql.Connection":
        return pymysql.connect(
            host="127.0.0.1", port=self.port, user="root", connect_timeout=1, autocommit=True
        )

    @property
    def _data(self) -> Path:
        return self.folder / "data"

    @property
    def _pid_file(self) -> Path:
        return self.folder / "pid"

    def _command(self) -> list[str]:
        return [
            program("mariadbd", "mariadb-server"),
            "--no-defaults",
            *as_root_if_root(),
            f"--datadir={self._data}",
            f"--tmpdir={self.folder}",
            f"--socket={self.folder}/socket",
            f"--pid-file={self._pid_file}",
            f"--port={self.port}",
            "--bind-address=127.0.0.1",
            "--skip-name-resolve",
            "--innodb-flush-log-at-trx-commit=1",
            *SMALL_FILES,
            "--innodb-buffer-pool-size=64M",
            "--performance-schema=OFF",
            "--skip-log-bin",
        ]

    def _answers(self) -> bool:
        try:
            connection = self._connect()
        except pymysql.MySQLError:
            return False
        try:
            with connection.cursor() as cursor:
                cursor.execute("SELECT @@pid_file")
                return bool(cursor.fetchone() == (str(self._pid_file),))
        finally:
            connection.close()


class Redis(Server):
    """A Redis server that keeps nothing: with us it holds nothing worth keeping."""

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def flush(self) -> None:
        """Forget every key."""
        if self._says("FLUSHALL") != "+OK\r\n":
            raise ServerError("Redis does not answer")

    def _command(self) -> list[str]:
        return [
            program("redis-server", "redis-server"),
            "--port",
            str(self.port),
            "--bind",
            "127.0.0.1",
            "--dir",
            str(self.folder),
            "--save",
            "",
            "--appendonly",
            "no",
        ]

    def _answers(self) -> bool:
        return f"process_id:{self.pid}\r\n" in self._says("INFO server")

    def _says(self, command: str) -> str:
        """What it answers, or nothing."""
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1) as connection:
                connection.sendall(f"{command}\r\n".encode())
                return connection.recv(4096).decode()
        except OSError:
            return ""


# 16 MiB of redo log instead of 96: the folder is copied for every server a test starts.
SMALL_FILES = ["--innodb-log-file-size=16M"]


@cache
def installed_mariadb() -> Path:
    """The data of a server that has never run; made once, copied for each server."""
    folder = Path(tempfile.mkdtemp(prefix="callme-test-", dir=temporary_folder()))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    command = [
        program("mariadb-install-db", "mariadb-server"),
        "--no-defaults",
        *as_root_if_root(),
        f"--datadir={folder}/data",
        # A server that starts removes the temporary tables it finds: also those of another run.
        f"--tmpdir={folder}",
        "--auth-root-authentication-method=normal",
        "--skip-test-db",
        "--skip-name-resolve",
        *SMALL_FILES,
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    if done.returncode != 0:
        raise ServerError(f"mariadb-install-db failed:\n{done.stdout}{done.stderr}")
    return folder / "data"


@cache
def migrated_sqlite() -> bytes:
    """A SQLite database with this program's tables and nothing in them."""
    with tempfile.TemporaryDirectory(prefix="callme-test-", dir=temporary_folder()) as folder:
        migrate(f"sqlite:///{folder}/callme.db")
        return (Path(folder) / "callme.db").read_bytes()


def migrate(url: str) -> None:
    """Bring a database to this program's tables, as a server would that starts on it."""

    async def run() -> None:
        database = await open_database(url, now=lambda: 0)
        try:
            await database.migrate()
        finally:
            await database.close()

    # In a thread of its own: the caller's may have a loop that runs.
    with ThreadPoolExecutor(1) as thread:
        thread.submit(asyncio.run, run()).result()


def program(name: str, package: str) -> str:
    """The path of an installed program; Debian keeps servers where not everybody looks."""
    path = shutil.which(
        name, path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/usr/local/sbin"
    )
    if path is None:
        raise ServerError(f"{name} is not installed (Debian: apt-get install {package})")
    return path


def as_root_if_root() -> list[str]:
    """MariaDB runs as root only where it is told to."""
    return ["--user=root"] if os.geteuid() == 0 else []


def free_port() -> int:
    """A port on which nobody listens now."""
    while True:
        port = random.choice(PORTS)
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port


_servers: "weakref.WeakSet[Server]" = weakref.WeakSet()


@atexit.register
def close_all() -> None:
    """Leave no process and no folder behind, whatever ended the tests."""
    for server in list(_servers):
        server.close()
