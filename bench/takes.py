"""P1, P2, P3: durable numbers, over WebSocket, in the old dialect, on MariaDB.

"with finishes": every caller takes a number and finishes it, in turn, and only the takes are
counted. "alone": the clock stands while what was taken is finished.
"""

import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager

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
    with _mariadb() as (url, why):
        outcome = _measured(
            setup, "P3", "durable take over WebSocket, MariaDB", Callme.takers, url, why
        )
    ours, alone, echo = outcome.row(OURS), outcome.row(OURS, ALONE), outcome.row(BareTornado.name)
    outcome.goals = [
        ratio_goal("takes with finishes ≥ 1.45 × the bare echo", ours, echo, 1.45),
        ratio_goal("takes alone ≥ 1.45 × the bare echo", alone, echo, 1.45),
        none_goal("no duplicate", [ours, alone], "duplicates"),
    ]
    return outcome


def _measured(
    setup: Setup, name: str, title: str, plan: Plan, url: str = "", why_not: str = ""
) -> Outcome:
    callme = Callme(url=url, stalls=STALLS, sellers_each=-(-CALLERS // STALLS))
    makers: list[Callable[[], Contender]] = [BareTornado]
    if not why_not:
        makers.insert(0, lambda: callme)
    with running(makers) as (present, absent):
        entries = []
        for one in present:
            if one is callme:
                entries += _our_entries(setup, callme, plan(callme, CALLERS, STALLS))
            else:
                entries.append(_echo_entry(setup, one))
        rows = interleaved(setup.rounds, entries)
    if why_not:
        absent[OURS] = why_not
    rows += absent_rows(absent, work=TOGETHER, unit=UNIT)
    return Outcome(id=name, title=title, rows=rows, goals=[])


def _our_entries(setup: Setup, callme: Callme, plan: list[str]) -> list[Entry]:
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

    pid = callme.process.pid
    return [
        Entry(work=TOGETHER, who=OURS, unit=UNIT, pid=pid, measure=lambda: measure(apart=False)),
        Entry(work=ALONE, who=OURS, unit=UNIT, pid=pid, measure=lambda: measure(apart=True)),
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
def _mariadb() -> Iterator[tuple[str, str]]:
    """A MariaDB on the server's core: (url of an empty database, or why there is none)."""
    try:
        server = MariaDB()
        server.start()
    except ServerError as failure:
        yield "", "not installed" if "not installed" in str(failure) else "MariaDB did not start"
        return
    try:
        command = ["taskset", "--all-tasks", "--cpu-list", "--pid", str(SERVER_CORE)]
        subprocess.run([*command, str(server.pid)], check=True, stdout=subprocess.DEVNULL)
        yield server.fresh_database(), ""
    finally:
        server.close()
