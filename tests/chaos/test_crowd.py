"""Many clients, and bad ones, at the whole server: nobody else pays for them."""

import asyncio
import gc
import re
import time
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from server.app import App, start
from server.config import load
from simulators.wechat import WeChat
from tests.chaos.cluster import Cluster, Node, all_of, settings, until
from tests.chaos.people import Socket, open_stall
from tests.chaos.wire import Wire

CONNECTIONS = 1000
# The database's readers open their files when they are first needed.
READERS_FILES = 6
AT_A_TIME = 100
# A person notices half a second; a machine that is busy with other tests may need some of it.
HEALTHY_S = 0.5


async def figure(cluster: Cluster, node: Node, name: str) -> float:
    """A figure of /metrics."""
    text = (await cluster.http.get(f"{node.url}/metrics")).text
    found = re.search(rf"^{re.escape(name)} (\S+)$", text, re.MULTILINE)
    assert found, name
    return float(found[1])


SLOW = 'callme_socket_dropped_total{reason="slow"}'


@pytest.mark.torture
async def test_who_stops_reading_is_let_go_at_its_bound_and_nobody_else_notices(
    cluster: Cluster,
) -> None:
    (node,) = await cluster.serve()
    stall_id, seller = await open_stall(cluster, node, double_tap_s=0)
    subscribe = {"id": 2, "type": "subscribe", "topic": f"stall:{stall_id}"}
    deaf = []
    for _ in range(5):
        wire = await Wire.connect(node.port, receive_buffer=4096)
        wire.send(b'{"id":1,"type":"auth","board":true}')
        wire.send(msgspec.json.encode(subscribe))
        deaf.append(wire)
    healthy = await Socket.connect(cluster, node)
    await healthy.ask("auth", board=True)
    since = (await healthy.ask("subscribe", topic=f"stall:{stall_id}"))["seq"]
    tablets = [await seller.socket(node) for _ in range(4)]
    ticket = await tablets[0].ask("ticket.issue", stall_id=stall_id)
    await tablets[0].ask("ticket.call", ticket_id=ticket["id"])
    memory = await figure(cluster, node, "process_resident_memory_bytes")
    slowest_s, told = 0.0, 2

    async def recall(tablet: Socket) -> None:
        nonlocal slowest_s, told
        for _ in range(50):
            asked_at = time.monotonic()
            await tablet.ask("ticket.recall", ticket_id=ticket["id"])
            told += 1
            slowest_s = max(slowest_s, time.monotonic() - asked_at)

    async def are_let_go() -> bool:
        await all_of(recall(tablet) for tablet in tablets)
        return await figure(cluster, node, SLOW) >= len(deaf)

    await until(are_let_go, node, within_s=60)
    await healthy.hear(told)

    assert [event["seq"] for event in healthy.events] == list(range(since + 1, since + 1 + told))
    assert slowest_s < HEALTHY_S
    assert healthy.close_code is None
    grown = await figure(cluster, node, "process_resident_memory_bytes") - memory
    assert grown < 30 * 2**20
    for wire in deaf:
        while await wire.text() is not None:
            pass
        assert wire.close_code in {1013, 1006}


@pytest.fixture
async def app(tmp_path: Path, sqlite_url: str) -> AsyncIterator[App]:
    """A server in this process, so that its tasks can be counted."""
    wechat = WeChat()
    await wechat.start()
    given = settings(wechat, sqlite_url, tmp_path) | {"CALLME_SERVER__PORT": "0"}
    running = await start(load(environment=given))
    yield running
    await running.stop()
    await wechat.stop()


def held() -> tuple[int, int]:
    """Open files and tasks of this process."""
    gc.collect()
    return len(list(Path("/proc/self/fd").iterdir())), len(asyncio.all_tasks())


async def visit(port: int, number: int) -> None:
    """Come, look, and go: politely, without a word, or before having said who it is."""
    wire = await Wire.connect(port)
    assert await wire.text()
    if number % 3:
        wire.send(b'{"id":1,"type":"auth","board":true}')
        wire.send(b'{"id":2,"type":"subscribe","topic":"stall:1"}')
        assert await wire.text()
    if number % 2:
        wire.vanish()
        return
    wire.say_goodbye()
    while await wire.text() is not None:
        pass
    assert wire.close_code == 1000


@pytest.mark.torture
async def test_a_thousand_who_come_and_go_leave_nothing_behind(
    app: App, torture_rounds: int
) -> None:
    await all_of(visit(app.port, number) for number in range(AT_A_TIME))
    await settled(app)
    before = held()

    for _ in range(max(1, torture_rounds // 3)):
        for begin in range(0, CONNECTIONS, AT_A_TIME):
            await all_of(visit(app.port, number) for number in range(begin, begin + AT_A_TIME))

    await settled(app)

    async def are_back() -> bool:
        files, tasks = held()
        return files <= before[0] + READERS_FILES and tasks <= before[1]

    await until(are_back)
    assert app.hub.streams() == []
    assert app.hub.counters.opened >= CONNECTIONS


async def settled(app: App) -> None:
    async def is_empty() -> bool:
        return len(app.hub.clients) == 0

    await until(is_empty)
