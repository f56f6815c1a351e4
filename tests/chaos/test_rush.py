"""Noon at a server that is killed in the middle of it."""

import asyncio
import json
import os
import subprocess
import sys

import pytest

from tests.chaos.cluster import RUN, Cluster
from tests.chaos.database import Books
from tests.chaos.people import open_stall

STALLS = 4
DURATION_S = 20
SPEED = 8


@pytest.mark.torture
async def test_a_noon_with_a_kill_in_it_breaks_no_promise(cluster: Cluster) -> None:
    # A number rests, as it does at a stall: a diner who lost the net is late, not cheated.
    node = cluster.node(CALLME_QUEUE__REST_S="300")
    await node.start()
    for number in range(1, STALLS + 1):
        stall_id, _ = await open_stall(cluster, node, openid=f"demo-seller-{number}")
        assert stall_id == number

    rush = subprocess.Popen(
        [
            *(sys.executable, "-m", "simulators.rush", "--base-url", node.url),
            *("--wechat-url", cluster.wechat.url, "--stalls", str(STALLS)),
            *("--speed", str(SPEED), "--duration", str(DURATION_S), "--seed", str(os.getpid())),
        ],
        cwd=RUN.parent,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        await asyncio.sleep(DURATION_S / 2)
        node.kill()
        await node.start()
        output, errors = await asyncio.to_thread(rush.communicate, timeout=90)
    finally:
        rush.kill()
        rush.wait()

    report = json.loads(output)
    assert report["violations"] == [], errors.decode()
    assert rush.returncode == 0
    counts = report["counts"]
    assert counts["issued"] > 10
    assert counts["reconnects"] > 0
    assert counts["heard_live"] > 0
    with Books.open(cluster.database_url) as books:
        assert books.torn_streams() == []
        assert books.twice_live() == []
        assert books.value("SELECT COUNT(*) FROM tickets") >= counts["issued"]
    assert "Traceback" not in node.output
