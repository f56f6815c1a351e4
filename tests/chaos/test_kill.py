"""kill -9 at any moment: what was answered is there, what was not is there at most once."""

import asyncio
import random
import statistics
import time
from pathlib import Path

import pytest

from tests.chaos.cluster import Cluster, until
from tests.chaos.database import Books
from tests.chaos.load import Load

pytestmark = pytest.mark.torture

CYCLES = 20
# Not how fast it is, which benchmark P12 tells, but that it waits for nothing: the machine is busy.
START_MAX_S = 20.0
STALLS = 600


def seeded(request: pytest.FixtureRequest) -> random.Random:
    seed = random.randrange(10**6)
    print(f"{request.node.name}: seed {seed}")  # noqa: T201
    return random.Random(seed)


@pytest.mark.timeout(7200)
async def test_what_was_answered_outlives_any_kill(
    cluster: Cluster, tmp_path: Path, torture_rounds: int, request: pytest.FixtureRequest
) -> None:
    rng = seeded(request)
    node = cluster.node()
    await node.start()
    load = Load(cluster)
    await load.open(node)
    epochs: dict[str, str] = {}
    starts = []

    for _ in range(max(CYCLES, torture_rounds)):
        await load.connect(node)
        working = load.start()
        await asyncio.sleep(rng.uniform(0.02, 0.3))
        node.kill()
        await working
        with Books.after_a_crash(tmp_path / "callme.db") as books:
            assert books.is_sound()
            assert list(load.breaches(books)) == []

        starts.append(await node.start())
        await load.connect(node, each=1)
        await load.resend()
        with Books.open(cluster.database_url) as books:
            assert list(load.breaches(books)) == []
            found = dict(books.rows("SELECT name, epoch FROM streams"))
        epochs = epochs or found
        assert found == epochs

    assert load.refused == set()
    print(  # noqa: T201
        f"{len(starts)} kills, {len(load.wishes)} wishes,"
        f" {sum(wish.sent > 1 for wish in load.wishes)} sent again;"
        f" start {statistics.median(starts):.2f} s, at most {max(starts):.2f} s"
    )
    assert max(starts) < START_MAX_S


@pytest.mark.timeout(7200)
async def test_a_month_charged_by_one_that_is_killed_is_charged_once(
    cluster: Cluster, tmp_path: Path, torture_rounds: int, request: pytest.FixtureRequest
) -> None:
    rng = seeded(request)
    node = cluster.node()
    await node.start()
    await node.stop()
    with Books.open(cluster.database_url) as books:
        books.open_stalls(STALLS)
    interrupted = 0

    for _ in range(max(1, torture_rounds // 3)):
        with Books.open(cluster.database_url) as books:
            books.give_back(months=5)
            books.a_month_ago()
        for _ in range(3):
            node.launch()
            done = await charged_up_to(cluster.database_url, rng.randrange(1, STALLS))
            node.kill()
            interrupted += done < STALLS
            with Books.after_a_crash(tmp_path / "callme.db") as books:
                assert books.is_sound()
                assert books.unbalanced() == []

        await node.start()
        await charged_up_to(cluster.database_url, STALLS)
        await node.stop()
        with Books.open(cluster.database_url) as books:
            assert set(books.charges().values()) == {1}
            assert set(books.balances().values()) == {4}
            assert books.unbalanced() == []
            assert books.torn_streams() == []

    assert interrupted > 0


async def charged_up_to(url: str, wanted: int) -> int:
    async def charged() -> int:
        with Books.open(url) as books:
            count = int(books.value("SELECT COUNT(*) FROM stall_months WHERE period IS NOT NULL"))
        return count if count >= wanted else 0

    return await until(charged)


@pytest.mark.timeout(7200)
async def test_an_empty_database_is_migrated_whatever_killed_the_first_to_try(
    cluster: Cluster, tmp_path: Path, torture_rounds: int, request: pytest.FixtureRequest
) -> None:
    rng = seeded(request)
    file = tmp_path / "callme.db"
    node = cluster.node()

    for _ in range(max(3, torture_rounds)):
        for left in tmp_path.glob("callme.db*"):
            left.unlink()
        node.launch()
        await opened(file)
        await asyncio.sleep(rng.uniform(0, 0.08))
        node.kill()
        with Books.after_a_crash(file) as books:
            assert books.is_sound()

        await node.start()
        assert (await cluster.http.get(f"{node.url}/readyz")).status_code == 200
        await node.stop()


async def opened(file: Path) -> None:
    async def is_there() -> bool:
        return file.exists()

    began = time.monotonic()
    while not await is_there():
        assert time.monotonic() - began < 30
        await asyncio.sleep(0.001)


@pytest.mark.mariadb
@pytest.mark.timeout(7200)
async def test_a_migration_of_mariadb_that_was_killed_is_carried_on(
    shared_cluster: Cluster, torture_rounds: int, request: pytest.FixtureRequest
) -> None:
    rng = seeded(request)
    url = shared_cluster.database_url
    node = shared_cluster.node()

    for _ in range(max(2, torture_rounds)):
        with Books.open(url) as books:
            books.empty()
        wanted = rng.randrange(1, 14)
        node.launch()

        async def is_half_done(wanted: int = wanted) -> bool:
            with Books.open(url) as books:
                return len(books.rows("SHOW TABLES")) >= wanted

        await until(is_half_done, node)
        node.kill()

        await node.start()
        assert (await shared_cluster.http.get(f"{node.url}/readyz")).status_code == 200
        await node.stop()
