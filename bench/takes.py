"""P1, P2, P3: durable numbers, over WebSocket, in the old dialect, on MariaDB.

"with finishes": every caller takes a number and finishes it, in turn, and only the takes are
counted. "alone": the clock stands while what was taken is finished.
"""

import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

import msgspec

from bench import generator
from bench.contenders import BareTornado, Contender, running
from bench.generator import Figures
from bench.machine import SERVER_CORE
from bench.results import (
    OURS,
    Entry,
    Outcome,
    absent_rows,
    interleaved,
    most_goal,
    none_goal,
    ratio_goal,
)
from bench.server import Callme
from bench.setup import Setup
from tests.servers import MariaDB, ServerError

CALLERS = 256
STALLS = 50
TOGETHER = "takes with finishes"
ALONE = "takes alone"
ECHO = "POST echo"
UNIT = "takes/s"


class Database(msgspec.Struct):
    """What ours works on; without a url, a SQLite file of its own."""

    url: str = ""
    pid: int | None = None
    why_not: str = ""


Plan = Callable[[Callme, int, int], list[str]]


def p1(setup: Setup) -> Outcome:
    outcome = _measured(setup, "P1", "durable take over WebSocket, SQLite", Callme.takers)
    ours, alone, echo = outcome.row(OURS), outcome.row(OURS, ALONE), outcome.row(BareTornado.name)
    outcome.goals = [
        ratio_goal("takes with finishes ≥ 1.8 × the bare echo", ours, echo, 1.8),
        ratio_goal("takes alone ≥ 1.8 × the bare echo", alone, echo, 1.8),
        most_goal("p99 of a take ≤ 40 ms", ours.p99_ms, 40, "ms"),
        none_goal("no duplicate", [ours, alone], "duplicates"),
    ]
    return outcome


def p2(setup: Setup) -> Outcome:
    outcome = _measured(setup, "P2", "durable take over POST /, SQLite", Callme.old_takers)
    ours, alone, echo = outcome.row(OURS), outcome.row(OURS, ALONE), outcome.row(BareTornado.name)
    outcome.goals = [
        ratio_goal("takes with finishes ≥ 0.72 × the bare echo", ours, echo, 0.72),
        ratio_goal("takes alone ≥ 0.72 × the bare echo", alone, echo, 0.72),
        none_goal("no duplicate", [ours, alone], "duplicates"),
    ]
    return outcome


def p3(setup: Setup) -> Outcome:
    title = "durable take over WebSocket, MariaDB"
    with _mariadb() as database:
        outcome = _measured(setup, "P3", title, Callme.takers, database)
    ours, alone, echo = outcome.row(OURS), outcome.row(OURS, ALONE), outcome.row(BareTornado.name)
    outcome.goals = [
        ratio_goal("takes with finishes ≥ 1.45 × the bare echo", ours, echo, 1.45),
        ratio_goal("takes alone ≥ 1.45 × the bare echo", alone, echo, 1.45),
        none_goal("no duplicate", [ours, alone], "duplicates"),
    ]
    return outcome


def _measured(
    setup: Setup, name: str, title: str, plan: Plan, database: Database | None = None
) -> Outcome:
    database = database or Database()
    callme = Callme(url=database.url, stalls=STALLS, sellers_each=-(-CALLERS // STALLS))
    makers: list[Callable[[], Contender]] = [BareTornado]
    if not database.why_not:
        makers.insert(0, lambda: callme)
    with running(makers) as (present, absent):
        entries = []
        for one in present:
            if one is callme:
                entries += _our_entries(setup, callme, plan(callme, CALLERS, STALLS), database.pid)
            else:
                entries.append(_echo_entry(setup, one))
        rows = interleaved(setup.rounds, entries)
    if database.why_not:
        absent[OURS] = database.why_not
    rows += absent_rows(absent, work=TOGETHER, unit=UNIT)
    return Outcome(id=name, title=title, rows=rows, goals=[])


def _our_entries(
    setup: Setup, callme: Callme, plan: list[str], database: int | None
) -> list[Entry]:
    def measure(*, apart: bool) -> Figures:
        return generator.run(
            "take",
            callme.process.port,
            plan,
            connections=CALLERS,
            warmup=setup.warmup_s,
            seconds=setup.seconds,
            apart=apart,
        )

    return [
        Entry(
            work=work,
            who=OURS,
            unit=UNIT,
            pid=callme.process.pid,
            database=database,
            measure=partial(measure, apart=apart),
        )
        for work, apart in ((TOGETHER, False), (ALONE, True))
    ]


def _echo_entry(setup: Setup, echo: Contender) -> Entry:
    """A bare echo of a body as long as a fetch of the old dialect."""
    plan = [generator.line(wire="http", path="/", body="query=fetch&sessionKey=" + "0" * 40)]

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


@contextmanager
def _mariadb() -> Iterator[Database]:
    """A MariaDB on the server's core, with an empty database."""
    try:
        server = MariaDB()
        server.start()
    except ServerError as failure:
        is_missing = "not installed" in str(failure)
        yield Database(why_not="not installed" if is_missing else "MariaDB did not start")
        return
    try:
        command = ["taskset", "--all-tasks", "--cpu-list", "--pid", str(SERVER_CORE)]
        subprocess.run([*command, str(server.pid)], check=True, stdout=subprocess.DEVNULL)
        yield Database(url=server.fresh_database(), pid=server.pid)
    finally:
        server.close()
