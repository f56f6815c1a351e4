"""`python -m simulators`: the outside parties on one port each, until told to stop."""

import asyncio
import json
import signal
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import click

from simulators.erp import Erp
from simulators.wechat import (
    DINER_APPID,
    DINER_SECRET,
    SELLER_APPID,
    SELLER_SECRET,
    WeChat,
)
from simulators.xiaomai import ENDPOINT_ID, LIFELIKE, Xiaomai

# What the mini-programs are registered with: whoever starts us sets it at the server.
APPS = {
    "diner_appid": DINER_APPID,
    "diner_secret": DINER_SECRET,
    "seller_appid": SELLER_APPID,
    "seller_secret": SELLER_SECRET,
}
# Cabinets of the demo, by code: the number of their doors.
CABINETS = {"XM-0001": 1, "XM-0002": 2, "XM-0003": 1, "XM-0004": 1, "XM-0005": 2, "XM-0006": 1}


@click.command()
@click.option("--wechat-port", default=9101, show_default=True, help="0 takes a free port.")
@click.option("--xiaomai-port", default=9102, show_default=True, help="0 takes a free port.")
@click.option("--erp-port", default=9103, show_default=True, help="0 takes a free port.")
@click.option("--wechat-tls-port", type=int, help="WeChat over TLS too; 0 takes a free port.")
@click.option(
    "--keys-dir",
    type=click.Path(file_okay=False, path_type=Path),
    help="Where the payment side keeps its keys; without it they end with the process.",
)
@click.option(
    "--native-notify-url",
    default="",
    help="Where the merchant is told of scanned standing codes (native mode one).",
)
@click.option(
    "--callback-base",
    default="",
    help="Where the cabinets' customer is told of events, without the path.",
)
def main(
    *,
    wechat_port: int,
    xiaomai_port: int,
    erp_port: int,
    wechat_tls_port: int | None,
    keys_dir: Path | None,
    native_notify_url: str,
    callback_base: str,
) -> None:
    """Run the simulators; one JSON line on stdout for each that listens."""
    click.echo("simulators: this is no WeChat, and its payments are worth no money", err=True)
    ports = Ports(wechat_port, xiaomai_port, erp_port, wechat_tls_port)
    wechat = WeChat(keys_dir=keys_dir, native_notify_url=native_notify_url)
    xiaomai = Xiaomai(pace=LIFELIKE)
    if callback_base:
        xiaomai.courier.url = f"{callback_base}/cb/xiaomai/{ENDPOINT_ID}/events"
    asyncio.run(run(ports, wechat, xiaomai))


class Ports(NamedTuple):
    """0 takes a free one; tls: None for no TLS."""

    wechat: int
    xiaomai: int
    erp: int
    tls: int | None


async def run(ports: Ports, wechat: WeChat, xiaomai: Xiaomai) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    loop.add_signal_handler(signal.SIGINT, stop.set)
    async with AsyncExitStack() as running:
        await start_wechat(running, ports, wechat)
        await start_xiaomai(running, ports.xiaomai, xiaomai)
        await start_erp(running, ports.erp)
        await stop.wait()


async def start_wechat(running: AsyncExitStack, ports: Ports, wechat: WeChat) -> None:
    running.push_async_callback(wechat.stop)
    with listening("wechat", ports.wechat):
        await wechat.start(ports.wechat)
    introduction = {"name": "wechat", "url": wechat.url, "apps": APPS}
    pay = wechat.pay.introduction(wechat.url)
    if ports.tls is not None:
        pay["tls_url"] = await wechat.start_tls(ports.tls)
        pay["tls_ca_file"] = str(wechat.pay.tls_certificate_file)
    introduce({**introduction, "is_simulator": True, "pay": pay})


async def start_xiaomai(running: AsyncExitStack, port: int, xiaomai: Xiaomai) -> None:
    """With cabinets that nobody has bound yet, and that live at a lifelike pace."""
    running.push_async_callback(xiaomai.stop)
    with listening("xiaomai", port):
        await xiaomai.start(port)
    for code, doors in CABINETS.items():
        xiaomai.add_cabinet(code, doors=doors)
    introduce(xiaomai.introduction())


async def start_erp(running: AsyncExitStack, port: int) -> None:
    erp = Erp()
    running.push_async_callback(erp.stop)
    with listening("erp", port):
        await erp.start(port)
    introduce(erp.introduction())


@contextmanager
def listening(name: str, port: int) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise click.ClickException(f"{name} cannot listen on {port}: {error}") from error


def introduce(introduction: dict[str, Any]) -> None:
    # click.echo flushes, so whoever started us can read the address at once.
    click.echo(json.dumps(introduction, ensure_ascii=False))


if __name__ == "__main__":
    main()
