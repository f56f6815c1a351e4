"""`python -m simulators.rush`: noon at a running server; the report comes on stdout at the end.

Exit code 1 when a promise was broken. The first SIGTERM or SIGINT closes the stalls and lets
the last dishes be collected, the second ends at once.
"""

import asyncio
import contextlib
import json
import signal
import sys

import click

from simulators.rush.canteen import Plan, Rush

NEWS_EVERY_S = 30.0
SHOWN = ("issued", "bound", "called", "heard_live", "heard_after_resume", "collected", "refused")


@click.command()
@click.option("--base-url", default="http://127.0.0.1:8000", show_default=True)
@click.option("--wechat-url", default="", help="The WeChat simulator; without it, codes are made.")
@click.option("--stalls", default=8, show_default=True, type=click.IntRange(1, 99))
@click.option("--speed", default=1.0, show_default=True, type=click.FloatRange(0.1, 20))
@click.option("--seed", default=1, show_default=True)
@click.option("--duration", default=0.0, help="Seconds until the stalls close; 0 is until stopped.")
def main(**options: object) -> None:
    """Let a canteen's noon happen at a running server."""
    plan = Plan(
        base_url=str(options["base_url"]),
        wechat_url=str(options["wechat_url"]),
        stalls=int(str(options["stalls"])),
        speed=float(str(options["speed"])),
        seed=int(str(options["seed"])),
        duration_s=float(str(options["duration"])),
    )
    rush = asyncio.run(run(plan))
    click.echo(json.dumps(rush.report(), ensure_ascii=False, indent=2))
    sys.exit(1 if rush.ledger.violations else 0)


async def run(plan: Plan) -> Rush:
    rush = Rush(plan)
    noon = asyncio.create_task(rush.run())
    news = asyncio.create_task(tell_news(rush))

    def stop() -> None:
        if rush.closing.is_set():
            noon.cancel()
        rush.stop()

    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, stop)
    loop.add_signal_handler(signal.SIGINT, stop)
    with contextlib.suppress(asyncio.CancelledError):
        await noon
    news.cancel()
    return rush


async def tell_news(rush: Rush) -> None:
    """One line now and then, on stderr, for whoever watches."""
    while True:
        await asyncio.sleep(NEWS_EVERY_S)
        counts = rush.ledger.counts
        shown = ", ".join(f"{name} {counts[name]}" for name in SHOWN)
        click.echo(f"rush: {shown}, violations {counts['violations']}", err=True)


if __name__ == "__main__":
    main()
