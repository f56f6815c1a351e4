"""Everybody wants a number of one stall at the same moment."""

import asyncio
import itertools
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.chaos.cluster import Cluster, Node, all_of
from tests.chaos.people import Person, open_stall

SESSIONS = 120
WORKERS = 30
TURNS = 10


@pytest.fixture(params=["sqlite-1", pytest.param("mariadb-2", marks=pytest.mark.mariadb)])
async def nodes(
    request: pytest.FixtureRequest, tmp_path: Path
) -> AsyncIterator[tuple[Cluster, list[Node]]]:
    """One server on SQLite; two behind round-robin on one MariaDB."""
    kind, _, count = request.param.partition("-")
    url: str = request.getfixturevalue(f"{kind}_url")
    async with Cluster(tmp_path, url) as cluster:
        yield cluster, await cluster.serve(int(count))


async def seats(cluster: Cluster, nodes: list[Node], seller: Person, count: int) -> list[Person]:
    """So many sessions of the seller: tablets, phones, the neighbour's phone."""
    people = []
    for part in range(0, count, 60):
        # WeChat lets one person sign in a hundred times a minute.
        cluster.wechat.clock.advance(61)
        some = [
            Person(cluster, seller.openid, "seller") for _ in range(part, min(count, part + 60))
        ]
        people += await all_of(
            person.log_in(nodes[number % len(nodes)]) for number, person in enumerate(some)
        )
    return people


@pytest.mark.torture
async def test_ninety_nine_of_a_hundred_and_twenty_get_a_number_each_its_own(
    nodes: tuple[Cluster, list[Node]],
) -> None:
    cluster, servers = nodes
    _, seller = await open_stall(cluster, servers[0])
    people = await seats(cluster, servers, seller, SESSIONS)

    turn = itertools.cycle(servers)
    answers = await all_of(person.old(next(turn), "fetch") for person in people)

    numbers = [answer["marchSn"] for answer in answers if answer["fetchSuccess"] == "success"]
    refusals = [answer["failMsg"] for answer in answers if answer["fetchSuccess"] == "fail"]
    assert sorted(numbers) == list(range(1, 100))
    assert refusals == ["No Sn Valid"] * (SESSIONS - 99)


@pytest.mark.torture
async def test_a_number_is_never_live_twice_while_thirty_finish_and_fetch(
    nodes: tuple[Cluster, list[Node]], torture_rounds: int
) -> None:
    cluster, servers = nodes
    _, seller = await open_stall(cluster, servers[0], double_tap_s=0)
    # The pool is nearly dry, so that a number is wanted again as soon as it is free.
    hoard = await seats(cluster, servers, seller, 1)
    held = {(await hoard[0].old(servers[0], "fetch"))["marchSn"] for _ in range(80)}
    assert len(held) == 80
    workers = await seats(cluster, servers, seller, WORKERS)
    turn = itertools.cycle(servers)
    outcomes: Counter[str] = Counter()
    twice: list[int] = []

    async def work(person: Person) -> None:
        for _ in range(max(TURNS, torture_rounds)):
            answer = await person.old(next(turn), "fetch")
            outcomes[answer.get("failMsg", "success")] += 1
            if answer["fetchSuccess"] == "fail":
                continue
            number = answer["marchSn"]
            if number in held:
                twice.append(number)
            held.add(number)
            await asyncio.sleep(0)
            held.discard(number)
            await person.old(next(turn), "done", isseller="yes", marchSn=number)

    await all_of(work(person) for person in workers)

    assert twice == []
    assert outcomes.keys() <= {"success", "No Sn Valid"}
    assert outcomes["success"] >= 19
