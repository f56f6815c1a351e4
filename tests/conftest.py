"""What every test can ask for: a clock, a database, servers, and a quiet log.

The fixtures of a running server (`app`, `http_client`, `base_url`) are in tests/fixtures_app.py.
"""

import ipaddress
import os
import random
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import hypothesis
import pytest
import structlog

from tests.clock import Clock
from tests.logs import LogWatch, watching
from tests.servers import MariaDB, Redis, Server, migrated_sqlite, temporary_folder

if TYPE_CHECKING:
    from sql.database import Database
    from sql.events import Event

pytest_plugins = ["tests.fixtures_app"]

# Read by pytest when it makes the first `tmp_path`.
os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(temporary_folder()))

AnyServer = TypeVar("AnyServer", bound=Server)

# `make torture` asks for so many.
FULL_ROUNDS = 200

# A busy machine is no defect of ours, so no example is judged by its time.
hypothesis.settings.register_profile("callme", deadline=None)
hypothesis.settings.load_profile("callme")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--rounds",
        type=int,
        default=3,
        help="how often a test marked `torture` repeats its killing and racing",
    )


@pytest.fixture
def torture_rounds(request: pytest.FixtureRequest) -> int:
    rounds: int = request.config.getoption("--rounds")
    return rounds


@pytest.fixture
def torture_share(torture_rounds: int) -> float:
    """How much to do of a torture that has a figure to reach.

    At 200 rounds all of it, which may take an hour; at the three of an ordinary run a
    five-hundredth, which takes a second.
    """
    return float((torture_rounds / FULL_ROUNDS) ** 1.5)


@pytest.fixture
def dice(record_property: Callable[[str, object], None]) -> random.Random:
    """Another seed each time; `CALLME_SEED=… pytest …` rolls a failed one again."""
    seed = int(os.environ.get("CALLME_SEED") or random.randrange(2**32))
    print(f"CALLME_SEED={seed}")  # noqa: T201 - shown by pytest with a failure.
    record_property("CALLME_SEED", seed)
    return random.Random(seed)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """What tests have recorded, seeds and figures, unless pytest is to be quiet."""
    if terminalreporter.verbosity < 0:
        return
    for report in terminalreporter.getreports("passed"):
        if report.when == "call" and report.user_properties:
            told = ", ".join(f"{name}={value}" for name, value in report.user_properties)
            terminalreporter.write_line(f"{report.nodeid}: {told} in {report.duration:.0f} s")


# ---------------------------------------------------------------- time, log, network


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(autouse=True)
def log_watch() -> Iterator[LogWatch]:
    """Fail a test during which something was logged at WARNING or above, unless expected."""
    with watching(LogWatch()) as watch:
        yield watch
    complaints = watch.complaints()
    if complaints:
        pytest.fail("\n".join(complaints), pytrace=False)


@pytest.fixture
def expect_log(log_watch: LogWatch) -> Callable[[str], None]:
    """`expect_log("connection lost")`: such lines (a regular expression) must come, and may."""
    return log_watch.expect


@pytest.fixture(autouse=True, scope="session")
def log_through_the_standard_library() -> None:
    """Left alone, structlog prints past every logger, and the watch would see nothing."""
    structlog.configure(
        processors=[
            structlog.stdlib.add_log_level,
            structlog.processors.KeyValueRenderer(key_order=["event"]),
        ],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )


def refuse_the_outside(event: str, args: tuple[object, ...]) -> None:
    """Let the tests' process talk to this machine only."""
    if event == "socket.connect":
        address = args[1]
        host = address[0] if isinstance(address, tuple) else None
    elif event == "socket.getaddrinfo":
        host = args[0]
    else:
        return
    if isinstance(host, bytes):
        host = host.decode()
    if isinstance(host, str) and not is_here(host):
        raise ConnectionRefusedError(f"a test wanted to reach {host}")


def is_here(host: str) -> bool:
    if host in {"", "localhost"}:
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    return address.is_loopback or address.is_unspecified


sys.addaudithook(refuse_the_outside)

# ---------------------------------------------------------------- servers


@pytest.fixture(scope="session")
def mariadb() -> Iterator[MariaDB]:
    """One server for the whole run: make databases in it, and leave it running."""
    yield from running(MariaDB())


@pytest.fixture
def own_mariadb() -> Iterator[MariaDB]:
    """A server for this test alone, to be stopped, killed and paused at will."""
    yield from running(MariaDB())


@pytest.fixture(scope="session")
def redis_server() -> Iterator[Redis]:
    """One server for the whole run; leave it running."""
    yield from running(Redis())


@pytest.fixture
def redis_url(redis_server: Redis) -> str:
    redis_server.flush()
    return redis_server.url


@pytest.fixture
def own_redis() -> Iterator[Redis]:
    """A server for this test alone, to be stopped, killed and paused at will."""
    yield from running(Redis())


def running(server: AnyServer) -> Iterator[AnyServer]:
    try:
        server.start()
        yield server
    finally:
        server.close()


# ---------------------------------------------------------------- databases


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    """A database with all tables and no rows."""
    (tmp_path / "callme.db").write_bytes(migrated_sqlite())
    return f"sqlite:///{tmp_path}/callme.db"


@pytest.fixture
def mariadb_url(mariadb: MariaDB) -> Iterator[str]:
    """A database with all tables and no rows."""
    url = mariadb.migrated_database()
    yield url
    mariadb.give_back(url)


@pytest.fixture(params=["sqlite", pytest.param("mariadb", marks=pytest.mark.mariadb)])
def database_url(request: pytest.FixtureRequest) -> str:
    """A database with all tables and no rows; the test runs once on each kind."""
    url: str = request.getfixturevalue(f"{request.param}_url")
    return url


class Told:
    """What the database told after its commits, in order."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.wakes: set[str] = set()

    def __call__(self, events: "list[Event]", wakes: set[str]) -> None:
        self.events += events
        self.wakes |= wakes

    @property
    def names(self) -> list[str]:
        return [event.name for event in self.events]


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
async def db(database_url: str, clock: Clock, told: Told) -> "AsyncIterator[Database]":
    """A migrated database on each kind; `told` holds what it told."""
    from sql.database import open_database

    database = await open_database(database_url, now=clock.now, told=told)
    try:
        await database.migrate()
        yield database
    finally:
        await database.close()
