"""P8: notices of WeChat Pay, each of an order of its own: verified, applied, committed, answered.

Of some orders the payment is all there is to note; of others months are bought, which a stall gets
in the same transaction. That each was booked once is looked up in the database.
"""

from collections.abc import Mapping
from functools import partial

from bench import generator, orders
from bench.contenders import BareTornado, Contender, running
from bench.generator import Figures
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
from bench.server import Callme
from bench.setup import Setup

CALLERS = 256
STALLS = 50
PAID = "notice of a payment"
MONTHS = "notice of months bought"
ECHO = "POST echo"
UNIT = "notices/s"
# An order can be paid once: so many are made for each second, more than can be paid in it.
ORDERS_PER_S = {PAID: 7_000, MONTHS: 5_000}


def p8(setup: Setup) -> Outcome:
    seconds = setup.warmup_s + setup.seconds
    each = {work: int(count * seconds) for work, count in ORDERS_PER_S.items()}
    callme = Callme(
        stalls=STALLS,
        sellers_each=1,
        orders=each[PAID] * setup.rounds,
        month_orders=each[MONTHS] * setup.rounds,
    )
    with running([lambda: callme, BareTornado]) as (present, absent):
        entries = []
        for one in present:
            if one is callme:
                entries += _our_entries(setup, callme, each)
            else:
                entries.append(_echo_entry(setup, one))
        rows = interleaved(setup.rounds, entries)
    rows += absent_rows(absent, work=PAID, unit=UNIT)
    outcome = Outcome(id="P8", title="notices of WeChat Pay, SQLite", rows=rows, goals=[])
    ours, months, echo = (
        outcome.row(OURS, PAID),
        outcome.row(OURS, MONTHS),
        outcome.row(BareTornado.name),
    )
    outcome.goals = [
        least_goal("≥ 3,000/s", ours.value, 3000, "/s"),
        ratio_goal("≥ 0.45 × the bare echo", ours, echo, 0.45),
        none_goal("every answer booked", [ours, months], "missing"),
    ]
    return outcome


def _our_entries(setup: Setup, callme: Callme, each: Mapping[str, int]) -> list[Entry]:
    def measure(work: str) -> Figures:
        before = orders.count_receipts(callme.path)
        figures = generator.run(
            "http",
            callme.process.port,
            callme.notices(CALLERS, each[work], months=work == MONTHS),
            connections=CALLERS,
            warmup=setup.warmup_s,
            seconds=setup.seconds,
        )
        booked = orders.count_receipts(callme.path) - before
        # What was under way at the end may be booked and not answered, never the other way.
        return figures | {"missing": max(0.0, figures["answers"] - booked)}

    return [
        Entry(
            work=work,
            who=OURS,
            unit=UNIT,
            pid=callme.process.pid,
            measure=partial(measure, work),
        )
        for work in each
    ]


def _echo_entry(setup: Setup, echo: Contender) -> Entry:
    """A bare echo of a notice."""
    plan = [generator.line(wire="http", path="/", body=orders.notice("0" * 32))]

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
