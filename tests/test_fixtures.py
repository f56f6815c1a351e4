"""The fixtures themselves: what each test may rely on."""

import socket
from pathlib import Path

import pytest

from sql.database import Database
from sql.transaction import Tx
from tests.clock import Clock


async def test_a_database_of_each_kind_is_migrated_and_told_the_time_by_the_clock(
    db: Database, clock: Clock, database_url: str
) -> None:
    def look(tx: Tx) -> tuple[str, int]:
        return tx.dialect, tx.now

    dialect, now = await db.read(look)

    assert database_url.startswith(dialect)
    assert now == clock.now()


def test_a_sqlite_database_lies_in_the_tests_own_folder(sqlite_url: str, tmp_path: Path) -> None:
    assert sqlite_url == f"sqlite:///{tmp_path}/callme.db"


def test_the_outside_world_is_out_of_reach() -> None:
    with pytest.raises(ConnectionRefusedError, match=r"example\.org"):
        socket.create_connection(("example.org", 80))
    with pytest.raises(ConnectionRefusedError, match=r"192\.0\.2\.1"):
        socket.create_connection(("192.0.2.1", 80), timeout=1)


def test_torture_is_short_unless_more_is_asked_for(
    torture_rounds: int, pytestconfig: pytest.Config
) -> None:
    assert torture_rounds == pytestconfig.getoption("--rounds") > 0
