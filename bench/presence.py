"""P13: ten thousand cabinets report each minute, and a console hears what becomes of them.

The whole server, with signed callbacks over HTTP at the pace of such a fleet. What it costs is the
processor time of the process; how soon a change is known is measured at a console's WebSocket,
from the callback's first byte to the event's last.
"""

import asyncio
import itertools
import json
import random
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from functools import partial
from statistics import quantiles

from sqlalchemy import insert
from tornado.websocket import WebSocketClientConnection, websocket_connect

from accounts.audit.model import By
from accounts.service import Sessions
from accounts.staff import store as staff
from bench.generator import Figures, LoadFailed
from bench.machine import cpu_s
from bench.platform import APP_ID, ENDPOINT, Courier, code_of
from bench.process import StartFailed
from bench.results import OURS, Entry, Outcome, absent_rows, interleaved, most_goal, none_goal
from bench.server import SECRET, SOCKET, Callme
from bench.setup import Setup
from devices.fleet.store import LIVE_START
from sql.database import Tx, open_database
from sql.tables.devices import device_doors, devices, stores

DEVICES = 10_000
BEAT_S = 60
SECONDS = 60.0
"""A fleet's whole round; a shorter look asks some of the devices only, at the same pace."""
CHANGES_PER_S = 5
# Enough that none waits for another's commit, however slow the disk is.
CONNECTIONS = 64

COST = f"{DEVICES:,} cabinets report every {BEAT_S} s"
NEWS = f"the same, and {CHANGES_PER_S} links a second fall and rise"

# Nobody answers there: what is asked of the vendor is unknown, and ours is measured.
NOBODY = "http://127.0.0.1:9"


class Fleet(Callme):
    """The server with devices that have just been heard of, and one who looks at them."""

    def __init__(self, count: int = DEVICES, *, diners: int = 0, vendor: str = NOBODY) -> None:
        super().__init__(stalls=1, sellers_each=1, diners=diners)
        self.token = ""
        self.ids: list[int] = []
        self._count = count
        self._vendor = vendor

    def prepare(self) -> None:
        super().prepare()
        self.token, self.ids = asyncio.run(_seed(self.url, self._count))

    def _environment(self) -> dict[str, str]:
        return super()._environment() | {
            "CALLME_XIAOMAI__URL": self._vendor,
            "CALLME_XIAOMAI__APP_ID": APP_ID,
            "CALLME_XIAOMAI__KEY_ID": "k1",
            "CALLME_XIAOMAI__SECRET": SECRET,
            "CALLME_XIAOMAI__CALLBACK_SECRET": SECRET,
            "CALLME_XIAOMAI__ENDPOINT_ID": ENDPOINT,
            "CALLME_CABINET__HEARTBEAT_S": str(BEAT_S),
        }


def p13(setup: Setup) -> Outcome:
    outcome = Outcome(id="P13", title="live cabinets, SQLite", rows=[], goals=[])
    fleet = Fleet()
    seconds = setup.seconds if setup.is_quick else SECONDS
    try:
        fleet.start()
        outcome.rows = interleaved(
            setup.rounds,
            [
                _entry(COST, fleet, seconds, changes_per_s=0, figure="share", unit="cores"),
                _entry(
                    NEWS, fleet, seconds, changes_per_s=CHANGES_PER_S, figure="max_ms", unit="ms"
                ),
            ],
        )
    except StartFailed as failure:
        why = {OURS: f"did not start: {str(failure)[-200:]}"}
        outcome.rows = absent_rows(why, work=COST, unit="cores")
    finally:
        fleet.stop()
    cost, news = outcome.row(OURS, COST), outcome.row(OURS, NEWS)
    outcome.goals = [
        most_goal("less than a quarter of a core", cost.value, 0.25, "cores"),
        most_goal("a change is at the console within 1 s", news.value, 1000, "ms"),
        none_goal("every change heard", [news], "missing"),
        none_goal("every callback taken", [cost, news], "failures"),
    ]
    return outcome


def _entry(
    work: str, fleet: Fleet, seconds: float, *, changes_per_s: int, figure: str, unit: str
) -> Entry:
    def measure() -> Figures:
        return asyncio.run(_measured(fleet, seconds, changes_per_s))

    return Entry(
        work=work, who=OURS, unit=unit, pid=fleet.process.pid, measure=measure, figure=figure
    )


async def _measured(fleet: Fleet, seconds: float, changes_per_s: int) -> Figures:
    crowd = Crowd(fleet.process.port, fleet.ids)
    console = Console(fleet.process.port, fleet.token)
    await console.listen()
    # Between two measurements nobody reported: a fleet that comes back costs more than one that
    # is there.
    await crowd.report(seconds, 0, console)
    before_s, began = cpu_s(fleet.process.pid), time.monotonic()
    await crowd.report(seconds, changes_per_s, console)
    took_s = time.monotonic() - began
    share = (cpu_s(fleet.process.pid) - before_s) / took_s
    await console.await_all(patience_s=10)
    console.close()
    await crowd.finish()
    figures = {"share": share, "failures": float(crowd.failures)}
    if changes_per_s:
        figures |= console.figures()
    return figures


class Console:
    """Somebody who watches all cabinets; what it waits for, and how long each took."""

    def __init__(self, port: int, token: str) -> None:
        self._url = f"ws://127.0.0.1:{port}{SOCKET}"
        self._token = token
        self._waited: dict[tuple[int, str], float] = {}
        self._took_ms: list[float] = []
        self._heard_all = asyncio.Event()
        self._socket: WebSocketClientConnection | None = None
        self._reading: asyncio.Task[None] | None = None

    async def listen(self) -> None:
        self._socket = await websocket_connect(self._url)
        await self._socket.read_message()
        for asked in (
            {"id": 1, "type": "auth", "token": self._token},
            {"id": 2, "type": "subscribe", "topic": "cabinets"},
        ):
            await self._socket.write_message(json.dumps(asked))
            answer = json.loads(await self._socket.read_message() or "{}")
            if not answer.get("ok"):
                raise LoadFailed(f"the console was refused: {answer}")
        self._reading = asyncio.create_task(self._read(self._socket))

    def expect(self, device_id: int, link: str) -> None:
        self._waited[device_id, link] = time.monotonic()

    async def _read(self, socket: WebSocketClientConnection) -> None:
        while (frame := await socket.read_message()) is not None:
            event = json.loads(frame)
            if event.get("name") == "device.link":
                key = (event["data"]["device_id"], event["data"]["link"])
                since = self._waited.pop(key, None)
                if since is not None:
                    self._took_ms.append((time.monotonic() - since) * 1000)
            if not self._waited:
                self._heard_all.set()

    async def await_all(self, *, patience_s: float) -> None:
        """Until nothing is waited for any more; who says no more does not hold us up."""
        self._heard_all.clear()
        if self._waited:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._heard_all.wait(), patience_s)

    def close(self) -> None:
        if self._reading is not None:
            self._reading.cancel()
        if self._socket is not None:
            self._socket.close()

    def figures(self) -> Figures:
        if len(self._took_ms) < 2:
            raise LoadFailed("the console heard of no change")
        cuts = quantiles(self._took_ms, n=100)
        return {
            "max_ms": max(self._took_ms),
            "p50_ms": cuts[49],
            "p99_ms": cuts[98],
            "missing": float(len(self._waited)),
        }


class Crowd:
    """All the devices, each of which reports once a beat, and the platform that passes it on."""

    def __init__(self, port: int, ids: list[int]) -> None:
        self._courier = Courier(port, SECRET, connections=CONNECTIONS)
        self._ids = ids
        self._random = random.Random(7)

    @property
    def failures(self) -> int:
        return self._courier.failures

    async def report(self, seconds: float, changes_per_s: int, console: Console) -> None:
        """At an even pace for so long; links fall, and rise a second later."""
        beats = itertools.cycle(range(len(self._ids)))
        fallen: list[int] = []
        began, beaten, changed = time.monotonic(), 0, 0
        while (at := time.monotonic() - began) < seconds:
            while beaten < at * len(self._ids) / BEAT_S:
                self._courier.put(code_of(next(beats)), "device.telemetry", self._telemetry())
                beaten += 1
            while changed < at * changes_per_s:
                changed += 1
                # Half a beat away from those that report: nothing else tells of their links.
                number = (beaten + len(self._ids) // 2) % len(self._ids)
                self._tell(console, number, "device.offline", "suspect")
                fallen.append(number)
                if len(fallen) > changes_per_s:
                    self._tell(console, fallen.pop(0), "device.online", "online")
            await asyncio.sleep(0.005)
        for number in fallen:
            self._tell(console, number, "device.online", "online")
        await self._courier.rest()

    async def finish(self) -> None:
        await self._courier.finish()

    def _tell(self, console: Console, number: int, event_type: str, link: str) -> None:
        expect = partial(console.expect, self._ids[number], link)
        self._courier.put(code_of(number), event_type, {}, expect)

    def _telemetry(self) -> dict[str, object]:
        """A sensor that flickers, and in one beat of ten a true change."""
        away = self._random.randint(-40, 40) if self._random.random() < 0.1 else 0
        return {
            "temp_c10": 40 + away + self._random.randint(-1, 1),
            "target_temp_c10": 40,
            "volume": 30,
            "power": "mains",
            "doors": [{"door_no": 1, "lock": "locked", "door": "closed"}],
            "faults": [],
        }


# ---------------------------------------------------------------- what is there before


async def _seed(url: str, count: int) -> tuple[str, list[int]]:
    """An owner's token, and the ids of devices as they are between two beats."""
    db = await open_database(url, now=lambda: time.time_ns() // 1_000_000)
    try:
        boss = await db.write(_hire)
        sessions = Sessions(db, secret=SECRET, now=db.now)
        opened = await sessions.open(boss, "staff")
        await sessions.close()
        return opened.jwt, await db.write(_make_devices, count)
    finally:
        await db.close()


def _hire(tx: Tx) -> int:
    blank = {"nickname": "", "mobile": "", "email": "", "sex": 0, "avatar": "", "status": 1}
    row = {**blank, "login_name": "bench", "role": "owner", "password_hash": "!"}
    return staff.create(tx, row, by=By("system")).id


def _make_devices(tx: Tx, count: int) -> list[int]:
    shop = {
        "id": 1, "code": "S-1", "name": "shop", "type": "kids", "property": "own", "address": "",
        "phone": "", "created_at": tx.now, "updated_at": tx.now,
    }  # fmt: skip
    tx.execute(insert(stores), shop)
    ids = list(range(1, count + 1))
    tx.execute(insert(devices), list(_rows(tx, ids)))
    door = {"door_no": 1, "lock": "locked", "door": "closed"}
    tx.execute(insert(device_doors), [{"device_id": number, **door} for number in ids])
    return ids


def _rows(tx: Tx, ids: Sequence[int]) -> Iterable[dict[str, object]]:
    reported = {"temp_c10": 40, "target_temp_c10": 40, "volume": 30, "power": "mains", "faults": []}
    for number in ids:
        # As if they had begun one after another, so that samples are due one after another.
        begun_at = tx.now - 300_000 * number // len(ids)
        yield {
            **LIVE_START,
            "id": number,
            "vendor": "xiaomai",
            "code": code_of(number - 1),
            "name": f"cabinet {number}",
            "store_id": 1,
            "status": "bound",
            "service": "open",
            "qr_version": 1,
            "created_at": tx.now,
            "updated_at": tx.now,
            "link": "online",
            "link_since": begun_at,
            "last_seen_at": tx.now,
            "deadline_at": tx.now + 150_000 * number // len(ids),
            "boot_id": "b0001",
            "reported": json.dumps(reported),
            "reported_at": tx.now,
            "sampled_at": begun_at,
        }
