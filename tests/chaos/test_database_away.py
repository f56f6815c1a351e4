"""MariaDB goes away while the server is asked: 503 until it is back, and nothing twice."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.chaos.cluster import Cluster, Node, all_of, until
from tests.chaos.database import Books
from tests.chaos.people import Person, Refused, open_stall
from tests.servers import MariaDB

pytestmark = [pytest.mark.mariadb, pytest.mark.torture]

# How long after MariaDB is back the first request may succeed; the machine may be busy.
BACK_WITHIN_S = 2.0
HELD_S = 7.0
CLIENTS = 6


@pytest.fixture
async def away(
    tmp_path: Path, own_mariadb: MariaDB
) -> AsyncIterator[tuple[Cluster, Node, MariaDB]]:
    async with Cluster(tmp_path, own_mariadb.fresh_database()) as cluster:
        (node,) = await cluster.serve()
        yield cluster, node, own_mariadb


@dataclass
class Askers:
    """Clients that issue and finish over REST, with keys, until told to stop."""

    node: Node
    stall_id: int
    seller: Person
    statuses: Counter[int] = field(default_factory=Counter)
    successes_at: list[float] = field(default_factory=list)
    ids: dict[str, int] = field(default_factory=dict)
    old: list[tuple[int, str]] = field(default_factory=list)
    stopping: bool = False

    def start(self) -> "asyncio.Task[list[None]]":
        askers = [self._ask(number) for number in range(CLIENTS)]
        return asyncio.create_task(all_of([*askers, self._ask_old()]))

    async def _ask(self, number: int) -> None:
        turn = 0
        while not self.stopping:
            turn += 1
            key = f"{number}-{turn}"
            ticket = await self._until_done("POST", f"/api/v1/stalls/{self.stall_id}/tickets", key)
            self.ids[key] = ticket
            await self._until_done("POST", f"/api/v1/tickets/{ticket}/finish", f"{key}-end")

    async def _until_done(self, method: str, path: str, key: str) -> int:
        """With the same key until it is known to be done; the ticket's id."""
        while True:
            try:
                answer = await self.seller.rest(self.node, method, path, key=key)
            except Refused as refused:
                self.statuses[refused.status] += 1
                await asyncio.sleep(0.05)
                continue
            self.statuses[200] += 1
            self.successes_at.append(time.monotonic())
            return int(answer["id"])

    async def _ask_old(self) -> None:
        while not self.stopping:
            answer = await self.seller.old_raw(self.node, "note")
            self.old.append((answer.status_code, answer.text))
            await asyncio.sleep(0.05)

    async def succeed(self, count: int) -> None:
        wanted = len(self.successes_at) + count

        async def is_enough() -> bool:
            return len(self.successes_at) >= wanted

        await until(is_enough)


@pytest.mark.parametrize("how", ["killed", "stopped"])
async def test_while_mariadb_is_away_nothing_is_wrong_but_the_time(
    away: tuple[Cluster, Node, MariaDB], how: str, torture_rounds: int
) -> None:
    cluster, node, mariadb = away
    stall_id, seller = await open_stall(cluster, node)
    askers = Askers(node, stall_id, seller)
    asking = askers.start()
    await askers.succeed(50)

    for _ in range(max(1, torture_rounds // 3)):
        if how == "killed":
            await asyncio.to_thread(mariadb.kill)
            await asyncio.sleep(1)
            # The server stays: it is alive, and says that it is not ready.
            assert await node.answers()
            ready = await cluster.http.get(f"{node.url}/readyz")
            assert ready.status_code == 503
            await asyncio.to_thread(mariadb.start)
        else:
            mariadb.pause()
            await asyncio.sleep(HELD_S)
            mariadb.resume()
        back_at = time.monotonic()
        await askers.succeed(50)
        first = next(at for at in askers.successes_at if at > back_at)
        assert first - back_at < BACK_WITHIN_S
    askers.stopping = True
    await asking

    assert askers.statuses.keys() == {200, 503}
    assert {status for status, _ in askers.old} == {200, 503}
    assert {text for status, text in askers.old if status == 503} == {'{"queryErr":"Server Busy"}'}
    assert len(set(askers.ids.values())) == len(askers.ids)
    with Books.open(cluster.database_url) as books:
        assert {row[0] for row in books.rows("SELECT id FROM tickets")} == set(askers.ids.values())
        assert (
            books.rows(
                "SELECT name, subject, COUNT(*) FROM events WHERE subject <> 0"
                " GROUP BY name, subject HAVING COUNT(*) > 1"
            )
            == []
        )
        assert books.torn_streams() == []
        assert books.twice_live() == []
    assert "Traceback" not in node.output


async def test_what_is_refused_says_why_and_when_to_ask_again(
    away: tuple[Cluster, Node, MariaDB],
) -> None:
    cluster, node, mariadb = away
    stall_id, seller = await open_stall(cluster, node)
    socket = await seller.socket(node)
    await asyncio.to_thread(mariadb.kill)

    url = f"{node.url}/api/v1/stalls/{stall_id}/tickets"
    token = {"Authorization": f"Bearer {seller.token}"}
    answer = await cluster.http.post(url, headers=token)
    with pytest.raises(Refused, match=r"database\.unavailable"):
        await socket.ask("ticket.issue", stall_id=stall_id)

    assert answer.status_code == 503
    assert answer.headers["content-type"] == "application/problem+json"
    assert int(answer.headers["retry-after"]) >= 1
    assert answer.json()["code"] == "database.unavailable"
    assert "127.0.0.1" not in answer.text
    assert socket.close_code is None
