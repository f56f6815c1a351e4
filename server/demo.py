"""`run.py demo`: a canteen at noon on this machine, with everything around it simulated."""

from __future__ import annotations

import asyncio
import secrets
import socket
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import msgspec

from accounts.service import People
from queueing.model import Actor
from queueing.stalls.service import Stalls
from server import app as wiring
from server.config import Config, load
from server.demo_cabinets import SHOPPERS, seed_cabinets
from server.wechatpay import V2_NATIVE

FOLDER = Path("var/demo")
ADMIN_OPENID = "demo-admin"
STALLS = 8
MONTHS = 6
ROOT = Path(__file__).parent.parent

# What the simulator says of its merchant, under the names of our settings.
PAY_SETTINGS = (
    "mch_id",
    "api_v2_key",
    "api_v3_key",
    "merchant_key_file",
    "merchant_cert_file",
    "platform_keys_dir",
    "payscore_service_id",
)

XIAOMAI_SETTINGS = ("url", "app_id", "key_id", "secret", "callback_secret", "endpoint_id")

NAMES = (
    ("兰州拉面", ("牛肉拉面", "刀削面", "拌面")),
    ("川味小炒", ("回锅肉", "鱼香肉丝", "麻婆豆腐")),
    ("广式烧腊", ("叉烧饭", "烧鸭饭", "白切鸡")),
    ("麻辣烫", ("麻辣烫", "麻辣香锅")),
    ("东北水饺", ("猪肉白菜水饺", "韭菜鸡蛋水饺")),
    ("黄焖鸡米饭", ("黄焖鸡", "黄焖排骨")),
    ("桂林米粉", ("卤菜粉", "酸辣粉")),
    ("奶茶果汁", ("珍珠奶茶", "鲜榨橙汁")),
)


class Simulated(msgspec.Struct, frozen=True):
    """What a simulator says of itself; much of it is settings of ours by name."""

    name: str
    url: str
    apps: dict[str, str] = {}
    pay: dict[str, Any] = {}
    control_url: str = ""
    control_token: str = ""
    app_id: str = ""
    key_id: str = ""
    secret: str = ""
    callback_secret: str = ""
    endpoint_id: str = ""
    token: str = ""
    cabinets: dict[str, int] = {}


async def run(*, port: int, rush: bool, stop: asyncio.Event) -> None:
    """Serve until told to stop. The simulators and the rush are processes of their own."""
    port = _free_port(port)
    processes = [
        await _spawn(
            *("simulators", "--wechat-port", "0", "--xiaomai-port", "0", "--erp-port", "0"),
            *("--keys-dir", str(_folder() / "keys")),
            *("--native-notify-url", f"http://127.0.0.1:{port}{V2_NATIVE}"),
            *("--callback-base", f"http://127.0.0.1:{port}"),
        )
    ]
    running: wiring.App | None = None
    try:
        wechat, xiaomai, erp = [await _introduce(processes[0]) for _ in range(3)]
        config = demo_config(port, wechat, xiaomai, erp)
        running = await wiring.start(config)
        await seed(running.stalls, running.people)
        await seed_cabinets(running.cabinets, running.people, xiaomai.cabinets)
        seller = await _sign_in(running.people, "demo-seller-1")
        admin = await _sign_in(running.people, ADMIN_OPENID)
        if rush:
            processes.append(await _start_rush(config, wechat.url))
            processes.append(await _start_shoppers(config, wechat, xiaomai))
        wiring.tune_process()
        click.echo(_addresses(config, wechat.url, seller))
        click.echo(_cabinet_addresses(config, admin))
        await stop.wait()
    finally:
        for process in reversed(processes):
            await _end(process)
        if running is not None:
            await running.stop()


def demo_config(port: int, wechat: Simulated, xiaomai: Simulated, erp: Simulated) -> Config:
    """Settings of the demo; what the environment says still wins."""
    return load(
        overrides={
            "server": {
                "port": port,
                "base_url": f"http://127.0.0.1:{port}",
                "secret": _secret(),
                "media_dir": str(FOLDER / "media"),
                "access_log": False,
                "log_level": "warning",
            },
            "database": {"url": f"sqlite:///{FOLDER / 'callme.db'}"},
            "wechat": {
                "api_url": wechat.url,
                **wechat.apps,
            },
            "wechatpay": {
                "url": wechat.url,
                **{name: wechat.pay[name] for name in PAY_SETTINGS},
                "allow_simulator": True,
            },
            "queue": {"admin_openids": ADMIN_OPENID},
            "xiaomai": {name: getattr(xiaomai, name) for name in XIAOMAI_SETTINGS},
            "erp": {"url": erp.url, "token": erp.token},
            "cabinet": {"complaints_dir": str(FOLDER / "complaints")},
            # Eight stalls' crowds share one address here.
            "limits": {
                "address_per_s": 3000,
                "address_burst": 15000,
                "sign_in_per_min": 6000,
                "openings_per_min": 6000,
            },
        }
    )


def _folder() -> Path:
    FOLDER.mkdir(parents=True, exist_ok=True)
    return FOLDER.resolve()


def _secret() -> str:
    """A secret of this folder's own, so that tokens outlive a restart."""
    file = _folder() / "secret"
    if not file.exists():
        file.touch(mode=0o600)
        file.write_text(secrets.token_hex(32))
    return file.read_text().strip()


async def seed(stalls: Stalls, people: People) -> None:
    """Eight stalls with months and a seller each, unless they are there already."""
    total, _ = await stalls.page(offset=0, most=1)
    if total:
        return
    operator = Actor("admin")
    for number, (name, menu) in enumerate(NAMES[:STALLS], start=1):
        phone = f"1380000{number:04d}"
        await stalls.create(
            {"name": name, "phone": phone, "menu": menu}, months=MONTHS, by=operator
        )
        opened = await people.sign_in("seller", f"sim:demo-seller-{number}:seed")
        seller = Actor("seller", opened.session.account_id, opened.session.id)
        await stalls.sign_up(seller, phone=phone, name=name, person=f"店主{number}")


async def _sign_in(people: People, openid: str) -> str:
    opened = await people.sign_in("seller", f"sim:{openid}:{secrets.token_hex(4)}")
    return opened.jwt


async def _spawn(module: str, *arguments: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", module, *arguments, stdout=asyncio.subprocess.PIPE, cwd=ROOT
    )


async def _introduce(simulators: asyncio.subprocess.Process) -> Simulated:
    assert simulators.stdout is not None
    async with asyncio.timeout(20):
        line = await simulators.stdout.readline()
    if not line:
        raise OSError("the simulators did not start")
    return msgspec.json.decode(line, type=Simulated)


async def _start_rush(config: Config, wechat: str) -> asyncio.subprocess.Process:
    arguments = ("--stalls", str(STALLS), "--seed", "1", "--wechat-url", wechat)
    return await _start_crowd("rush", config, *arguments)


async def _start_shoppers(
    config: Config, wechat: Simulated, xiaomai: Simulated
) -> asyncio.subprocess.Process:
    return await _start_crowd(
        "shoppers",
        config,
        *("--wechat-url", wechat.url, "--control-url", xiaomai.control_url),
        *("--control-token", xiaomai.control_token),
        *("--shoppers", str(SHOPPERS), "--seed", "1"),
    )


async def _start_crowd(name: str, config: Config, *arguments: str) -> asyncio.subprocess.Process:
    log = (FOLDER / f"{name}.log").open("ab")
    try:
        return await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", f"simulators.{name}", "--base-url", config.base_url, *arguments),
            stdout=log,
            stderr=log,
            cwd=ROOT,
        )
    finally:
        log.close()


async def _end(process: asyncio.subprocess.Process) -> None:
    """Ask a process of ours to end, insist after a while."""
    for signal_to in (process.terminate, process.terminate, process.kill):
        if process.returncode is not None:
            return
        signal_to()
        try:
            async with asyncio.timeout(3):
                await process.wait()
        except TimeoutError:
            continue


def _free_port(wanted: int) -> int:
    """The wanted port, or another when somebody has it."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", wanted))
        except OSError:
            probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def _addresses(config: Config, wechat: str, token: str) -> str:
    base = config.base_url
    socket_url = base.replace("http", "ws", 1) + "/api/v1/ws"
    first = '{"id":1,"type":"auth","token":"' + token + '"}'
    then = '{"id":2,"type":"subscribe","topic":"stall:1:staff"}'
    lines: Sequence[str] = (
        "",
        "  callme — a canteen at noon · 食堂的中午",
        "",
        f"  board 叫号屏        {base}/board/?stall=1",
        f"  all stalls          {base}/board/?stall=1&stall=2&stall=3&stall=4",
        f"  front page          {base}/",
        f"  API documents       {base}/docs",
        f"  metrics             {base}/metrics",
        f"  WeChat (simulated)  {wechat}/",
        f"  a seller renews     {base}/h5/renew/?code=sim:demo-seller-1:{secrets.token_hex(3)}",
        "",
        "  REST, as the seller of stall 1:",
        f"    curl -X POST {base}/api/v1/stalls/1/tickets -H 'Authorization: Bearer {token}'",
        "",
        f"  WebSocket {socket_url} — paste:",
        f"    {first}",
        f"    {then}",
        "",
    )
    return "\n".join(lines)


def _cabinet_addresses(config: Config, token: str) -> str:
    admin = f"{config.base_url}/api/v1/admin"
    header = f"-H 'Authorization: Bearer {token}'"
    lines: Sequence[str] = (
        "  Cabinets 智能柜, as an administrator: what was taken, and what was charged for it;",
        f"    curl '{admin}/cabinet-orders' {header}",
        "  how the cabinets are; and on the WebSocket above, as it happens:",
        f"    curl '{admin}/devices/live' {header}",
        '    {"id":1,"type":"auth","token":"' + token + '"}',
        '    {"id":2,"type":"subscribe","topic":"cabinets"}',
        "",
        "  Ctrl-C stops everything; the data stays in var/demo/.",
        "",
    )
    return "\n".join(lines)
