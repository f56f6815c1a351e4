"""The simulator as a process: what its first line says, and what it keeps in its folder."""

import asyncio
import json
import signal
import ssl
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx

from simulators.wechat import WeChat
from tests.simulators.pay.merchant import look, place, refund

Told = dict[str, Any]


@asynccontextmanager
async def simulators(*options: str) -> AsyncIterator[tuple[Told, asyncio.subprocess.Process]]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "simulators", "--wechat-port", "0"),
        *("--xiaomai-port", "0", "--erp-port", "0", *options),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    try:
        yield json.loads(await process.stdout.readline()), process
    finally:
        process.send_signal(signal.SIGTERM)
        await process.communicate()


async def test_the_first_line_is_all_a_merchant_configures(tmp_path: Path) -> None:
    folder = tmp_path / "keys"

    async with simulators("--keys-dir", str(folder), "--wechat-tls-port", "0") as (told, process):
        pay = told["pay"]
        trusting = ssl.create_default_context(cafile=pay["tls_ca_file"])
        trusting.load_cert_chain(pay["merchant_cert_file"], pay["merchant_key_file"])
        async with httpx.AsyncClient(
            base_url=pay["tls_url"], verify=trusting, trust_env=False
        ) as client:
            placed = await place(client)
            refused = await refund(client)
        assert process.stderr is not None
        warning = await process.stderr.readline()

    assert placed["result_code"] == "SUCCESS"
    assert refused["err_code"] == "TRADE_STATE_ERROR"
    assert told["is_simulator"] is True
    assert pay["url"] == told["url"]
    assert b"no WeChat" in warning
    names = {path.name for path in Path(pay["platform_keys_dir"]).iterdir()}
    assert len(names) == 2
    assert f"{pay['public_key_id']}.pem" in names


async def test_a_folder_of_keys_outlives_the_process(tmp_path: Path) -> None:
    async with simulators("--keys-dir", str(tmp_path)) as (first, _):
        pass
    began_s = time.monotonic()
    async with simulators("--keys-dir", str(tmp_path)) as (second, _):
        took_s = time.monotonic() - began_s

    kept = ("merchant_serial", "public_key_id", "merchant_key_file")
    assert [first["pay"][n] for n in kept] == [second["pay"][n] for n in kept]
    assert took_s < 30


async def test_where_scans_are_told_of_is_known_from_the_start_and_after_a_reset(
    tmp_path: Path,
) -> None:
    url = "http://127.0.0.1:9/scans"
    options = ("--keys-dir", str(tmp_path), "--native-notify-url", url)

    async with (
        simulators(*options) as (told, _),
        httpx.AsyncClient(base_url=told["url"], trust_env=False) as client,
    ):
        first = await look(client, "settings")
        await client.post("/sim/reset")
        second = await look(client, "settings")

    assert first["native_notify_url"] == second["native_notify_url"] == url


async def test_what_is_introduced_can_be_asked_again(
    caller: httpx.AsyncClient, wechat: WeChat
) -> None:
    assert await look(caller, "introduction") == wechat.pay.introduction(wechat.url)


async def test_the_phone_shows_what_is_to_pay(caller: httpx.AsyncClient) -> None:
    pages = [await caller.get(path) for path in ("/", "/scan?url=weixin%3A%2F%2Fwxpay")]

    assert {page.headers["X-Simulator"] for page in pages} == {"wechat"}
    assert all("待支付 · To pay" in page.text for page in pages)
