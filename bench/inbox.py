"""P9: events of cabinets, each signed and with an id of its own: verified, stored, answered.

That each answered one is there is looked up in the database.
"""

import itertools
import json
import shutil
import sqlite3
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path

from bench import generator
from bench.contenders import BareTornado, Contender, running
from bench.generator import Figures
from bench.inbox_server import APP_ID, PATH, SECRET
from bench.machine import BUILD
from bench.process import Process
from bench.results import (
    OURS,
    Entry,
    Outcome,
    absent_rows,
    interleaved,
    least_goal,
    none_goal,
    ratio_goal,
)
from bench.setup import Setup
from devices.vendors.xiaomai.signing import Key

CALLERS = 256
DEVICES = 500
KEPT = "event kept"
WORKED = "event kept, and worked off beside"
ECHO = "POST echo"
UNIT = "events/s"
# An event is kept once: so many are made for each second, more than can be kept in it.
EVENTS_PER_S = 9_000

_numbers = itertools.count(1)


class InboxServer:
    """Callbacks only, on SQLite."""

    def __init__(self, name: str, *, works: bool) -> None:
        self.name = name
        self.process = Process(name.replace(" ", "-").replace(",", ""))
        self._works = works
        BUILD.mkdir(parents=True, exist_ok=True)
        self._folder = Path(tempfile.mkdtemp(dir=BUILD, prefix="inbox-"))

    def start(self) -> None:
        command = [sys.executable, "-m", "bench.inbox_server", str(self.process.port)]
        command += [f"sqlite:///{self._folder}/inbox.db", *(["--work"] if self._works else [])]
        self.process.spawn(command)
        self.process.await_status("/healthz")

    def stop(self) -> None:
        self.process.stop()
        shutil.rmtree(self._folder, ignore_errors=True)

    def subscribers(self, topics: int, count: int) -> list[str]:
        """Nobody listens here."""
        return []

    def publishers(self, topics: int) -> list[str]:
        return []

    def count(self) -> int:
        """How many events are stored, whoever else works on the file."""
        url = f"file:{self._folder}/inbox.db?mode=ro"
        with closing(sqlite3.connect(url, uri=True)) as connection:
            return int(connection.execute("SELECT COUNT(*) FROM callback_inbox").fetchone()[0])


def p9(setup: Setup) -> Outcome:
    kept, worked = InboxServer(OURS, works=False), InboxServer(f"{OURS} at work", works=True)
    with running([lambda: kept, lambda: worked, BareTornado]) as (present, absent):
        entries = [
            _our_entry(setup, one) if isinstance(one, InboxServer) else _echo_entry(setup, one)
            for one in present
        ]
        rows = interleaved(setup.rounds, entries)
    rows += absent_rows(absent, work=KEPT, unit=UNIT)
    outcome = Outcome(id="P9", title="events of cabinets, SQLite", rows=rows, goals=[])
    ours, busy = outcome.row(OURS), outcome.row(worked.name)
    outcome.goals = [
        least_goal("≥ 3,000/s", ours.value, 3000, "/s"),
        ratio_goal("≥ 0.45 × the bare echo", ours, outcome.row(BareTornado.name), 0.45),
        none_goal("every answered event stored", [ours, busy], "missing"),
    ]
    return outcome


def _our_entry(setup: Setup, one: InboxServer) -> Entry:
    each = int(EVENTS_PER_S * (setup.warmup_s + setup.seconds)) // CALLERS

    def measure() -> Figures:
        before = one.count()
        figures = generator.run(
            "http",
            one.process.port,
            [_line(each) for _ in range(CALLERS)],
            connections=CALLERS,
            warmup=setup.warmup_s,
            seconds=setup.seconds,
        )
        # What was under way at the end may be stored and not answered, never the other way.
        return figures | {"missing": max(0.0, figures["answers"] - (one.count() - before))}

    work = KEPT if one.name == OURS else WORKED
    return Entry(work=work, who=one.name, unit=UNIT, pid=one.process.pid, measure=measure)


def _line(count: int) -> str:
    """So many events of one sender, signed now: a signature is good for five minutes."""
    start = generator.line(
        wire="http", path=PATH, header="Content-Type: application/json", expect='"code":0'
    )
    return f"{start}\t{generator.posts(_event() for _ in range(count))}"


def _event() -> tuple[dict[str, str], str]:
    number = next(_numbers)
    now = time.time_ns() // 1_000_000
    body = json.dumps(
        {
            "event_id": f"ev_{number:024d}",
            "event_type": "door.closed",
            "occurred_at": now,
            "sent_at": now,
            "attempt": 1,
            "device_code": f"XM-{number % DEVICES:06d}",
            "door_no": 1,
            "seq": number,
            "boot_id": "b0001",
            "session_no": f"S{number:020d}",
            "request_id": f"R{number:020d}",
            "data": {},
        },
        separators=(",", ":"),
    )
    key = Key(APP_ID, "cb1", SECRET)
    nonce = f"{number:032d}"
    return key.headers(path=PATH, query="", body=body.encode(), now=now, nonce=nonce), body


def _echo_entry(setup: Setup, echo: Contender) -> Entry:
    """A bare echo of an event."""
    headers, body = _event()
    plan = [f"{generator.line(wire='http', path='/')}\t{generator.posts([(headers, body)])}"]

    def measure() -> Figures:
        return generator.run(
            "http",
            echo.process.port,
            plan,
            connections=CALLERS,
            warmup=setup.warmup_s,
            seconds=setup.seconds,
        )

    return Entry(work=ECHO, who=echo.name, unit="requests/s", pid=echo.process.pid, measure=measure)
