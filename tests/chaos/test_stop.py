"""The end of a server in good order, and starts that cannot be."""

import asyncio
import random
import socket
import time
from pathlib import Path

import pytest

from tests.chaos.cluster import Cluster, run_py
from tests.chaos.database import Books
from tests.chaos.load import Load
from tests.chaos.people import Socket, Unknown, open_stall

STOP_MAX_S = 10.0


@pytest.mark.torture
@pytest.mark.timeout(7200)
async def test_a_server_told_to_stop_answers_what_it_has_in_hand(
    cluster: Cluster, torture_rounds: int
) -> None:
    node = cluster.node()
    await node.start()
    load = Load(cluster)
    await load.open(node)

    for _ in range(max(5, torture_rounds)):
        await load.connect(node)
        idle = await Socket.connect(cluster, node)
        working = load.start()
        await asyncio.sleep(random.uniform(0.1, 0.4))

        node.terminate()
        told_at = time.monotonic()
        code = await node.ended()
        took_s = time.monotonic() - told_at
        await working

        assert code == 0, node.output
        assert took_s < STOP_MAX_S
        assert {each.close_code for each in (idle, *load.sockets)} == {1012}
        with Books.open(cluster.database_url) as books:
            # All that was done was answered, and the other way round.
            issued = {wish.answer["id"] for wish in load.wishes if wish.answer is not None}
            assert {row[0] for row in books.rows("SELECT id FROM tickets")} == issued
            assert list(load.breaches(books)) == []
        assert load.refused == set()
        await node.start()
    assert "Traceback" not in node.output
    assert "error" not in node.output


@pytest.mark.torture
async def test_what_is_done_over_http_is_answered_before_the_end(
    cluster: Cluster, torture_rounds: int
) -> None:
    node = cluster.node()
    await node.start()
    stall_id, seller = await open_stall(cluster, node, double_tap_s=0)
    answered = set()

    async def take() -> None:
        while True:
            try:
                ticket = await seller.rest(node, "POST", f"/api/v1/stalls/{stall_id}/tickets")
                answered.add(ticket["id"])
                await seller.rest(node, "POST", f"/api/v1/tickets/{ticket['id']}/finish")
            except Unknown:
                return

    for _ in range(max(2, torture_rounds)):
        taking = asyncio.gather(*(take() for _ in range(16)))
        await asyncio.sleep(random.uniform(0.1, 0.3))
        assert await node.stop() == 0
        await taking

        with Books.open(cluster.database_url) as books:
            assert {row[0] for row in books.rows("SELECT id FROM tickets")} == answered
        await node.start()
        await seller.rest(node, "POST", f"/api/v1/stalls/{stall_id}/clear")


async def outcome(cluster: Cluster, *arguments: str, **more: str) -> tuple[int, list[str]]:
    """Exit code of a command, and what it complains about; what is off is no complaint."""
    environment = {**cluster.given, **more}
    process = run_py(*arguments, environment=environment, folder=cluster.folder)
    _, errors = await asyncio.to_thread(process.communicate)
    lines = errors.decode().splitlines()
    return process.returncode, [line for line in lines if not line.startswith("off: ")]


async def test_a_second_server_on_one_sqlite_file_ends_with_one_line(
    cluster: Cluster, tmp_path: Path
) -> None:
    (node,) = await cluster.serve()

    code, (line,) = await outcome(cluster, "serve", "--port", "0")

    assert code == 1
    assert "in use by another process" in line
    assert str(tmp_path / "callme.db") in line
    assert await node.answers()


async def test_a_taken_port_is_one_line(cluster: Cluster) -> None:
    with socket.socket() as occupant:
        occupant.bind(("127.0.0.1", 0))
        occupant.listen()
        port = occupant.getsockname()[1]

        code, (line,) = await outcome(cluster, "serve", "--port", str(port))

    assert code == 1
    assert "in use" in line
    assert str(port) in line


async def test_a_database_that_is_not_there_is_one_line(cluster: Cluster) -> None:
    code, (line,) = await outcome(
        cluster, "serve", CALLME_DATABASE__URL="mysql://root:hidden-word@127.0.0.1:1/callme"
    )

    assert code == 1
    assert "cannot be reached" in line
    assert "hidden-word" not in line


@pytest.mark.parametrize(
    ("name", "value", "key"),
    [
        ("CALLME_SERVER__PORT", "eighty", "server.port"),
        ("CALLME_SERVER__SECRET", "short", "server.secret"),
        ("CALLME_SERVER__SECRETT", "x", "secrett"),
        ("CALLME_QUEUE__REST_S", "-1", "queue.rest_s"),
        ("CALLME_DATABASE__URL", "postgres://x", "database.url"),
        ("CALLME_NOTHING__KEY", "x", "nothing"),
        ("CALLME_NOTHING", "x", "CALLME_NOTHING"),
    ],
)
async def test_a_wrong_setting_is_named(cluster: Cluster, name: str, value: str, key: str) -> None:
    code, (line,) = await outcome(cluster, "serve", **{name: value})

    assert code == 2
    assert key in line
