"""`python -m simulators`: the outside parties on one port each, until told to stop."""

import asyncio
import json
import signal
from pathlib import Path

import click

from simulators.wechat import (
    DINER_APPID,
    DINER_SECRET,
    SELLER_APPID,
    SELLER_SECRET,
    WeChat,
)

# What the mini-programs are registered with: whoever starts us sets it at the server.
APPS = {
    "diner_appid": DINER_APPID,
    "diner_secret": DINER_SECRET,
    "seller_appid": SELLER_APPID,
    "seller_secret": SELLER_SECRET,
}
NOT_YET = ("xiaomai", "erp")


@click.command()
@click.option("--wechat-port", default=9101, show_default=True, help="0 takes a free port.")
@click.option("--xiaomai-port", type=int, help="Not part of this release.")
@click.option("--erp-port", type=int, help="Not part of this release.")
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
def main(
    *,
    wechat_port: int,
    xiaomai_port: int | None,
    erp_port: int | None,
    wechat_tls_port: int | None,
    keys_dir: Path | None,
    native_notify_url: str,
) -> None:
    """Run the simulators; one JSON line on stdout for each that listens."""
    for name, port in zip(NOT_YET, (xiaomai_port, erp_port), strict=True):
        if port is not None:
            click.echo(f"simulators: {name} is not part of this release", err=True)
    click.echo("simulators: this is no WeChat, and its payments are worth no money", err=True)
    try:
        asyncio.run(run(wechat_port, wechat_tls_port, keys_dir, native_notify_url))
    except OSError as error:
        raise click.ClickException(f"wechat cannot listen on {wechat_port}: {error}") from error


async def run(
    wechat_port: int, tls_port: int | None, keys_dir: Path | None, native_notify_url: str
) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    loop.add_signal_handler(signal.SIGINT, stop.set)
    wechat = WeChat(keys_dir=keys_dir, native_notify_url=native_notify_url)
    await wechat.start(wechat_port)
    try:
        introduction = {"name": "wechat", "url": wechat.url, "apps": APPS}
        pay = wechat.pay.introduction(wechat.url)
        if tls_port is not None:
            pay["tls_url"] = await wechat.start_tls(tls_port)
            pay["tls_ca_file"] = str(wechat.pay.tls_certificate_file)
        # click.echo flushes, so whoever started us can read the address at once.
        click.echo(json.dumps({**introduction, "is_simulator": True, "pay": pay}))
        await stop.wait()
    finally:
        await wechat.stop()


if __name__ == "__main__":
    main()
