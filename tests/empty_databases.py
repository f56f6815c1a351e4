"""For tests of migrations: databases without tables, under the names the others know.

A test file imports both, so that `database_url` and `db` build on them there.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.servers import MariaDB

__all__ = ["mariadb_url", "sqlite_url"]


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/callme.db"


@pytest.fixture
def mariadb_url(mariadb: MariaDB) -> Iterator[str]:
    url = mariadb.fresh_database()
    yield url
    mariadb.drop_database(url)
