"""Two servers on one MariaDB, with Redis as their doorbell, act as one."""

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.chaos.cluster import Cluster, Node, all_of, until
from tests.chaos.database import Books
from tests.chaos.people import Person, Refused, Socket, Unknown, admin_of, open_stall
from tests.servers import Redis

pytestmark = pytest.mark.mariadb

# What a doorbell takes is a few milliseconds; a look at the database comes after a second. Both
# bounds leave room for a machine that is busy with other tests.
PROMPT_S = 0.6
LATER_S = 5.0
# Longer than all of a session that is remembered without asking the database.
REMEMBERED_S = 2.5


@pytest.fixture
async def pair(
    tmp_path: Path, mariadb_url: str, own_redis: Redis
) -> AsyncIterator[tuple[Cluster, Node, Node]]:
    async with Cluster(tmp_path, mariadb_url, own_redis.url) as cluster:
        first, second = await cluster.serve(2)
        for node in (first, second):
            await until(lambda node=node: rings(cluster, node), node)  # type: ignore[misc]
        yield cluster, first, second


async def rings(cluster: Cluster, node: Node) -> bool:
    ready = (await cluster.http.get(f"{node.url}/readyz")).json()
    return bool(ready["parts"]["redis"] == "ok")


async def listening(node: Node, person: Person, stall_id: int) -> Socket:
    socket = await person.socket(node)
    await socket.ask("subscribe", topic=f"stall:{stall_id}:staff")
    return socket


async def delays(speaker: Socket, ear: Socket, stall_id: int, count: int) -> list[float]:
    """How long after its answer each of some numbers is heard at the other server."""
    taken = []
    for _ in range(count):
        before = len(ear.events)
        ticket = await speaker.ask("ticket.issue", stall_id=stall_id)
        answered_at = time.monotonic()
        await ear.hear(before + 1)
        assert ear.events[before]["data"]["ticket_id"] == ticket["id"]
        taken.append(ear.heard_at[before] - answered_at)
    return taken


def assert_whole(ear: Socket, since: int) -> None:
    """Every event behind `since` was heard, in order and once."""
    seqs = [event["seq"] for event in ear.events]
    assert seqs == list(range(since + 1, since + 1 + len(seqs)))


async def test_a_call_made_on_one_is_heard_at_once_on_the_other(
    pair: tuple[Cluster, Node, Node],
) -> None:
    cluster, first, second = pair
    stall_id, seller = await open_stall(cluster, first, double_tap_s=0)
    ear = await seller.socket(second)
    answer = await ear.ask("subscribe", topic=f"stall:{stall_id}")
    speaker = await seller.socket(first)

    took = await delays(speaker, ear, stall_id, 20)

    assert sorted(took)[len(took) // 2] < PROMPT_S / 3
    assert max(took) < PROMPT_S
    assert_whole(ear, answer["seq"])


@pytest.mark.torture
@pytest.mark.parametrize("how", ["stopped", "killed"])
async def test_without_redis_calls_come_later_and_none_is_lost_or_doubled(
    pair: tuple[Cluster, Node, Node], own_redis: Redis, how: str
) -> None:
    cluster, first, second = pair
    stall_id, seller = await open_stall(cluster, first, double_tap_s=0)
    ear = await seller.socket(second)
    since = (await ear.ask("subscribe", topic=f"stall:{stall_id}"))["seq"]
    speaker = await seller.socket(first)
    await delays(speaker, ear, stall_id, 3)

    own_redis.pause() if how == "stopped" else own_redis.kill()
    without = await delays(speaker, ear, stall_id, 3)
    burst = await all_of(
        speaker.ask("ticket.issue", stall_id=stall_id, key=f"k{n}") for n in range(20)
    )
    await ear.hear(26)

    assert max(without) < LATER_S
    assert len({ticket["id"] for ticket in burst}) == 20
    assert_whole(ear, since)

    await asyncio.to_thread(own_redis.resume if how == "stopped" else own_redis.start)
    await until(lambda: rings(cluster, second), second)
    await until(lambda: rings(cluster, first), first)
    again = await delays(speaker, ear, stall_id, 5)

    assert sorted(again)[2] < PROMPT_S
    assert_whole(ear, since)


async def test_that_redis_holds_its_breath_is_noticed(
    pair: tuple[Cluster, Node, Node], own_redis: Redis
) -> None:
    cluster, first, _ = pair

    own_redis.pause()

    async def is_away() -> bool:
        return not await rings(cluster, first)

    await until(is_away, first, within_s=15)


async def test_a_session_ended_on_one_is_refused_on_the_other_and_its_socket_closed(
    pair: tuple[Cluster, Node, Node],
) -> None:
    cluster, first, second = pair
    stall_id, seller = await open_stall(cluster, first)
    socket = await listening(second, seller, stall_id)
    await seller.rest(second, "GET", f"/api/v1/stalls/{stall_id}")

    await seller.rest(first, "DELETE", "/api/v1/sessions/current")
    ended_at = time.monotonic()

    assert await socket.closed(within_s=REMEMBERED_S) == 4401
    assert time.monotonic() - ended_at < REMEMBERED_S
    with pytest.raises(Refused, match=r"session\.expired"):
        await seller.rest(second, "POST", f"/api/v1/stalls/{stall_id}/tickets")


async def test_without_a_doorbell_an_ended_session_is_refused_within_two_seconds(
    shared_cluster: Cluster,
) -> None:
    first, second = await shared_cluster.serve(2)
    stall_id, seller = await open_stall(shared_cluster, first, double_tap_s=0)
    await seller.rest(second, "POST", f"/api/v1/stalls/{stall_id}/tickets")

    await seller.rest(first, "DELETE", "/api/v1/sessions/current")
    ended_at = time.monotonic()

    async def is_refused() -> bool:
        try:
            await seller.rest(second, "POST", f"/api/v1/stalls/{stall_id}/tickets")
        except Refused as refused:
            return refused.status == 401
        return False

    await until(is_refused, within_s=REMEMBERED_S)
    assert time.monotonic() - ended_at < REMEMBERED_S


async def test_the_month_is_charged_once_whoever_looks(
    shared_cluster: Cluster,
) -> None:
    (first,) = await shared_cluster.serve(1)
    stalls = [(await open_stall(shared_cluster, first, months=3))[0] for _ in range(3)]
    await first.stop()
    with Books.open(shared_cluster.database_url) as books:
        books.a_month_ago()

    first.launch()
    second = shared_cluster.node()
    second.launch()
    for node in (first, second):
        await until(node.answers, node)
    admin = await admin_of(shared_cluster, second)

    async def is_done() -> bool:
        runs = (await admin.rest(second, "GET", "/api/v1/admin/jobs?job=months"))["items"]
        return all(run["finished_at"] for run in runs) and "3" in {run["result"] for run in runs}

    await until(is_done)

    with Books.open(shared_cluster.database_url) as books:
        assert books.balances() == dict.fromkeys(stalls, 2)
        assert books.charges() == dict.fromkeys(stalls, 1)


@pytest.mark.torture
async def test_when_one_is_killed_the_other_goes_on(pair: tuple[Cluster, Node, Node]) -> None:
    cluster, first, second = pair
    stall_id, seller = await open_stall(cluster, first, double_tap_s=0)
    ear = await seller.socket(second)
    since = (await ear.ask("subscribe", topic=f"stall:{stall_id}"))["seq"]
    speaker = await seller.socket(first)
    issued = [await speaker.ask("ticket.issue", stall_id=stall_id, key="before")]

    waiting = asyncio.create_task(speaker.ask("ticket.issue", stall_id=stall_id, key="cut"))
    await asyncio.sleep(0)
    first.kill()
    try:
        issued.append(await waiting)
    except Unknown:
        pass
    speaker = await seller.socket(second)
    issued += [
        await speaker.ask("ticket.issue", stall_id=stall_id, key=key)
        for key in ("before", "cut", "after")
    ]
    await ear.hear(3)

    assert len({ticket["id"] for ticket in issued}) == 3
    assert_whole(ear, since)
    assert len(ear.events) == 3
