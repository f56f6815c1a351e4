"""`python -m simulators`: the outside parties on one port each, until told to stop."""

import asyncio
import json
import signal

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
def main(wechat_port: int, xiaomai_port: int | None, erp_port: int | None) -> None:
    """Run the simulators; one JSON line on stdout for each that listens."""
    for name, port in zip(NOT_YET, (xiaomai_port, erp_port), strict=True):
        if port is not None:
            click.echo(f"simulators: {name} is not part of this release", err=True)
    try:
        asyncio.run(run(wechat_port))
    except OSError as error:
        raise click.ClickException(f"wechat cannot listen on {wechat_port}: {error}") from error


async def run(wechat_port: int) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    loop.add_signal_handler(signal.SIGINT, stop.set)
    wechat = WeChat()
    await wechat.start(wechat_port)
    # click.echo flushes, so whoever started us can read the address at once.
    click.echo(json.dumps({"name": "wechat", "url": wechat.url, "apps": APPS}))
    await stop.wait()
    await wechat.stop()


if __name__ == "__main__":
    main()
