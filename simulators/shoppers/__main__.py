"""`python -m simulators.shoppers`: people at the cabinets of a running server; the report comes
on stdout at the end.

Exit code 1 when a promise was broken. The first SIGTERM or SIGINT lets nobody else come, the
second ends at once.
"""

import asyncio
import contextlib
import json
import signal
import sys

import click

from simulators.shoppers.crowd import Crowd, Plan

NEWS_EVERY_S = 30.0
SHOWN = ("scanned", "session_paid", "session_no_purchase", "for_a_person", "restocked", "refused")


@click.command()
@click.option("--base-url", default="http://127.0.0.1:8000", show_default=True)
@click.option("--control-url", required=True, help="Of the Xiaomai simulator, its introduction.")
@click.option("--control-token", required=True, envvar="SHOPPERS_CONTROL_TOKEN")
@click.option("--wechat-url", default="", help="The WeChat simulator; without it, codes are made.")
@click.option("--staff-token", default="", envvar="SHOPPERS_STAFF_TOKEN", help="To restock with.")
@click.option("--shoppers", default=12, show_default=True, type=click.IntRange(1, 500))
@click.option("--speed", default=1.0, show_default=True, type=click.FloatRange(0.1, 100))
@click.option("--seed", default=1, show_default=True)
@click.option("--duration", default=0.0, help="Seconds until nobody comes; 0 is until stopped.")
@click.option("--trips", default=0, help="At most so many; 0 is as many as there are.")
def main(**options: object) -> None:
    """Let people shop at the cabinets of a running server."""
    plan = Plan(
        base_url=str(options["base_url"]),
        control_url=str(options["control_url"]),
        control_token=str(options["control_token"]),
        wechat_url=str(options["wechat_url"]),
        staff_token=str(options["staff_token"]),
        shoppers=int(str(options["shoppers"])),
        speed=float(str(options["speed"])),
        seed=int(str(options["seed"])),
        duration_s=float(str(options["duration"])),
        trips=int(str(options["trips"])),
    )
    crowd = asyncio.run(run(plan))
    click.echo(json.dumps(crowd.report(), ensure_ascii=False, indent=2))
    sys.exit(1 if crowd.notes.violations else 0)


async def run(plan: Plan) -> Crowd:
    crowd = Crowd(plan)
    day = asyncio.create_task(crowd.run())
    news = asyncio.create_task(tell_news(crowd))

    def stop() -> None:
        if crowd.closing.is_set():
            day.cancel()
        crowd.stop()

    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, stop)
    loop.add_signal_handler(signal.SIGINT, stop)
    with contextlib.suppress(asyncio.CancelledError):
        await day
    news.cancel()
    return crowd


async def tell_news(crowd: Crowd) -> None:
    """One line now and then, on stderr, for whoever watches."""
    while True:
        await asyncio.sleep(NEWS_EVERY_S)
        counts = crowd.notes.counts
        shown = ", ".join(f"{name} {counts[name]}" for name in SHOWN)
        click.echo(f"shoppers: {shown}, violations {counts['violations']}", err=True)


if __name__ == "__main__":
    main()
