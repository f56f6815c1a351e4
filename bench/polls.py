"""P10: asking for a queue that has not changed."""

from bench import generator
from bench.contenders import BareTornado, Contender, running
from bench.generator import Figures
from bench.results import OURS, Entry, Outcome, absent_rows, interleaved, least_goal
from bench.server import Callme
from bench.setup import Setup

POLLERS = 64
STALLS = 50
WORK = "poll answered 304"
ECHO = "POST echo"
UNIT = "requests/s"


def p10(setup: Setup) -> Outcome:
    callme = Callme(stalls=STALLS, sellers_each=1)
    with running([lambda: callme, BareTornado]) as (present, absent):
        rows = interleaved(setup.rounds, [_entry(setup, one, callme) for one in present])
    rows += absent_rows(absent, work=WORK, unit=UNIT)
    outcome = Outcome(id="P10", title="poll of an unchanged queue", rows=rows, goals=[])
    ours = outcome.row(OURS)
    outcome.goals = [least_goal("≥ 5,000/s", ours.value, 5000, "/s")]
    return outcome


def _entry(setup: Setup, one: Contender, callme: Callme) -> Entry:
    is_ours = one is callme
    plan = [generator.line(wire="http", path="/", body="{}")]
    if is_ours:
        plan = callme.polls(STALLS)

    def measure() -> Figures:
        return generator.run(
            "http",
            one.process.port,
            plan,
            connections=POLLERS,
            status=304 if is_ours else 200,
            warmup=setup.warmup_s,
            seconds=setup.seconds,
        )

    return Entry(
        work=WORK if is_ours else ECHO,
        who=one.name,
        unit=UNIT,
        pid=one.process.pid,
        measure=measure,
    )
