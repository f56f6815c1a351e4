"""P14: cabinets that were cut off come back with all they have to tell, while people open doors.

The whole server, with a vendor's server that opens every door at once. How long an opening takes
is measured where the shopper is, from the request to the answer that says the command was sent.
"""

import asyncio
import itertools
import json
import sqlite3
import time
from collections.abc import Callable, Coroutine, Iterable, Iterator
from contextlib import closing
from statistics import quantiles

from sqlalchemy import select

from bench import generator
from bench.generator import Figures
from bench.platform import PATH, Courier, Doors, code_of, event
from bench.presence import Fleet
from bench.process import StartFailed
from bench.results import OURS, Entry, Outcome, absent_rows, interleaved, most_goal, none_goal
from bench.seed import Login
from bench.server import SECRET
from bench.setup import Setup
from devices.fleet.qr import QrCodes
from payments.ledger.model import TICKET_ISSUE, Asset, tickets_of
from payments.ledger.store import post
from sql.database import Tx, open_database
from sql.tables.accounts import accounts

CALM = "a door is opened"
PACED = "the same while 5,000 callbacks come in 10 s"
AT_ONCE = "the same while 5,000 callbacks come at once"

DEVICES = 500
EACH = 10
SECONDS = 10.0
OPENINGS_PER_S = 20
# As many as a platform keeps to one of its customers.
CONNECTIONS = 64
TICKETS = 1_000


class Street(Fleet):
    """500 cabinets in a storm, and one more for each opening, with a shopper of its own."""

    def __init__(self, vendor: str, *, openings: int) -> None:
        super().__init__(DEVICES + openings, diners=openings, vendor=vendor)
        self._codes = QrCodes(SECRET)

    def prepare(self) -> None:
        super().prepare()
        asyncio.run(_give_tickets(self.url))
        pairs = zip(self.seeded.diners, self.ids[DEVICES:], strict=True)
        self.wishes: Iterator[tuple[Login, str]] = iter(
            [(login, self._codes.door(device_id, 1, 1)) for login, device_id in pairs]
        )

    def count_events(self) -> int:
        """How many are stored."""
        url = f"file:{self.path}?mode=ro"
        with closing(sqlite3.connect(url, uri=True)) as connection:
            return int(connection.execute("SELECT COUNT(*) FROM callback_inbox").fetchone()[0])


async def _give_tickets(url: str) -> None:
    db = await open_database(url, now=lambda: time.time_ns() // 1_000_000)
    try:
        await db.write(_give)
    finally:
        await db.close()


def _give(tx: Tx) -> None:
    """To all who may shop."""
    for account_id in tx.execute(select(accounts.c.id).where(accounts.c.app == "diner")).scalars():
        lines = [
            (TICKET_ISSUE, Asset.TICKET, -TICKETS),
            (tickets_of(account_id), Asset.TICKET, TICKETS),
        ]
        post(tx, "grant", str(account_id), "grant", lines)


def p14(setup: Setup) -> Outcome:
    outcome = Outcome(
        id="P14", title="a storm of callbacks while doors open, SQLite", rows=[], goals=[]
    )
    seconds = setup.seconds if setup.is_quick else SECONDS
    openings = int(OPENINGS_PER_S * seconds)
    doors = Doors()
    street = Street(doors.url, openings=3 * setup.rounds * openings)
    storms = {CALM: _nothing, PACED: _paced, AT_ONCE: _at_once}
    try:
        doors.start()
        street.start()
        outcome.rows = interleaved(
            setup.rounds,
            [_entry(street, work, storm, seconds, openings) for work, storm in storms.items()],
        )
    except StartFailed as failure:
        why = {OURS: f"did not start: {str(failure)[-200:]}"}
        outcome.rows = absent_rows(why, work=CALM, unit="ms")
    finally:
        street.stop()
        doors.stop()
    rows = [outcome.row(OURS, work) for work in storms]
    outcome.goals = [
        *(most_goal(f"p99 ≤ 300 ms: {row.work}", row.p99_ms, 300, "ms") for row in rows[1:]),
        none_goal("every callback answered 200 and stored, every door opened", rows, "missing"),
    ]
    return outcome


Storm = Callable[[Street, float], Coroutine[None, None, float]]
"""Rages for so many seconds at most; how many callbacks were not answered 200."""


def _entry(street: Street, work: str, storm: Storm, seconds: float, openings: int) -> Entry:
    def measure() -> Figures:
        return asyncio.run(_measured(street, storm, seconds, openings))

    return Entry(
        work=work, who=OURS, unit="ms", pid=street.process.pid, measure=measure, figure="p50_ms"
    )


async def _measured(street: Street, storm: Storm, seconds: float, openings: int) -> Figures:
    before = street.count_events()
    took_ms: list[float] = []
    raging = asyncio.create_task(storm(street, seconds))
    async with asyncio.TaskGroup() as group:
        for _ in range(openings):
            login, qr = next(street.wishes)
            group.create_task(_open(street.process.port, login, qr, took_ms))
            await asyncio.sleep(1 / OPENINGS_PER_S)
    failures = await raging
    told = 0 if storm is _nothing else DEVICES * EACH
    missing = failures + told - (street.count_events() - before) + openings - len(took_ms)
    cuts = quantiles(took_ms, n=100)
    return {"p50_ms": cuts[49], "p99_ms": cuts[98], "max_ms": max(took_ms), "missing": missing}


async def _open(port: int, login: Login, qr: str, took_ms: list[float]) -> None:
    """A shopper's phone, which is connected already."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    body = json.dumps({"qr": qr, "pay_with": "ticket"})
    head = (
        "POST /api/v1/cabinets/open HTTP/1.1\r\nHost: callme\r\nContent-Type: application/json\r\n"
        f"Authorization: Bearer {login.token}\r\nIdempotency-Key: {qr}\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    began = time.monotonic()
    writer.write(f"{head}{body}".encode())
    answer = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
    size = int(answer.partition("content-length: ")[2].partition("\r\n")[0])
    said = json.loads(await reader.readexactly(size))
    if said.get("session", {}).get("state") == "opening":
        took_ms.append((time.monotonic() - began) * 1000)
    writer.close()


# ---------------------------------------------------------------- weather


async def _nothing(street: Street, seconds: float) -> float:
    return 0.0


async def _paced(street: Street, seconds: float) -> float:
    courier = Courier(street.process.port, SECRET, connections=CONNECTIONS)
    began = time.monotonic()
    for number in range(DEVICES * EACH):
        await asyncio.sleep(began + number * seconds / (DEVICES * EACH) - time.monotonic())
        courier.put(code_of(number % DEVICES), *_word(number // DEVICES))
    await courier.finish()
    return float(courier.failures)


def _at_once(street: Street, seconds: float) -> Coroutine[None, None, float]:
    """By the generator, which is faster than we are."""
    start = generator.line(
        wire="http", path=PATH, header="Content-Type: application/json", expect='"code":0'
    )
    lines = [
        f"{start}\t{generator.posts(_words_of(range(first, DEVICES, CONNECTIONS)))}"
        for first in range(CONNECTIONS)
    ]
    return _all_of(street.process.port, lines, seconds)


async def _all_of(port: int, lines: list[str], seconds: float) -> float:
    figures = await asyncio.to_thread(
        generator.run, "http", port, lines, connections=CONNECTIONS, seconds=seconds
    )
    return DEVICES * EACH - figures["answers"]


def _words_of(numbers: Iterable[int]) -> Iterator[tuple[dict[str, str], str]]:
    """All that these cabinets have to say, the first of each before the second of any."""
    for place, number in itertools.product(range(EACH), numbers):
        yield event(SECRET, code_of(number), *_word(place))


def _word(place: int) -> tuple[str, dict[str, object]]:
    """What a cabinet says as its so-manyth: of doors that nobody opened, and how it is."""
    if place % 2:
        return "device.telemetry", {"temp_c10": 40 + place, "volume": 30, "power": "mains"}
    return "device.alarm", {"kind": "power", "text": "on battery"}
