"""The callbacks of cabinets on a server of their own: nothing else has a part in the figures.

With --work the inbox is worked off beside, as it is in the whole server.
"""

import argparse
import asyncio
import time
from typing import Final

from accounts.model import SessionExpired
from devices.inbox.model import InboxRow
from devices.inbox.service import Inbox
from devices.vendors.port import CabinetVendor, Event
from devices.vendors.xiaomai import Xiaomai
from devices.vendors.xiaomai.signing import Key
from handlers import callbacks
from handlers.http import Front, http_server
from handlers.limits import Limits
from handlers.operations import Health
from handlers.request import Edge
from handlers.routing import Route, Table
from sql.database import Tx, open_database

APP_ID: Final = "xm_app_bench"
SECRET: Final = "a secret of the benchmarks, of no use to anyone else"
ENDPOINT: Final = "ep_bench"
PATH: Final = f"/cb/xiaomai/{ENDPOINT}/events"


async def main(port: int, url: str, *, works: bool) -> None:
    db = await open_database(url, now=now)
    await db.migrate()
    xiaomai = Xiaomai(
        "http://127.0.0.1:9", Key(APP_ID, "k", SECRET), endpoints={ENDPOINT: [SECRET]}, now=now
    )
    vendors: dict[str, CabinetVendor] = {xiaomai.code: xiaomai}
    inbox = Inbox(db, vendors, handle)
    health = Route("GET", "/healthz", lambda _: Health("ok"), returns=Health)
    table = Table([health, *callbacks.routes(inbox.receive, vendors, now=now)])
    edge = Edge(now=now, authenticate=nobody, limits=Limits(enabled=False), access_log=False)
    server = http_server(Front(table, edge))
    server.listen(port, "127.0.0.1", backlog=4096)
    while True:
        if works:
            await inbox.work_due()
        await asyncio.sleep(0.05)


def now() -> int:
    return time.time_ns() // 1_000_000


def handle(tx: Tx, row: InboxRow, event: Event) -> None:
    """What events mean is not measured here."""


def nobody(token: str) -> None:
    raise SessionExpired


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("port", type=int)
    parser.add_argument("url")
    parser.add_argument("--work", action="store_true")
    arguments = parser.parse_args()
    asyncio.run(main(arguments.port, arguments.url, works=arguments.work))
