"""Servers as processes, on each kind of database."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.chaos.cluster import Cluster


@pytest.fixture
async def cluster(tmp_path: Path, sqlite_url: str) -> AsyncIterator[Cluster]:
    """For one server on SQLite."""
    async with Cluster(tmp_path, sqlite_url) as made:
        yield made


@pytest.fixture
async def shared_cluster(tmp_path: Path, mariadb_url: str) -> AsyncIterator[Cluster]:
    """For servers that share a MariaDB and nothing else."""
    async with Cluster(tmp_path, mariadb_url) as made:
        yield made
