"""P6: what a connection costs while nothing happens on it."""

from bench import generator
from bench.contenders import BareTornado, Contender, Nchan, NodeWs, running
from bench.generator import Figures
from bench.machine import rss_kib, settle
from bench.results import OURS, Entry, Outcome, absent_rows, interleaved, most_goal
from bench.server import Callme
from bench.setup import Setup

WORK = "memory per signed-in, subscribed connection"
UNIT = "KiB"
TOPICS = 100


def p6(setup: Setup) -> Outcome:
    with running([lambda: Callme(diners=setup.crowd), NodeWs, Nchan, BareTornado]) as (
        present,
        absent,
    ):
        rows = interleaved(setup.rounds, [_entry(setup, one) for one in present])
    rows += absent_rows(absent, work=WORK, unit=UNIT)
    outcome = Outcome(
        id="P6", title=f"memory per idle connection, {setup.crowd:,} open", rows=rows, goals=[]
    )
    ours = outcome.row(OURS)
    outcome.goals = [
        most_goal("≤ 16 KiB", ours.value, 16, "KiB"),
        most_goal("then ≤ 4 KiB", ours.value, 4, "KiB"),
    ]
    return outcome


def _entry(setup: Setup, one: Contender) -> Entry:
    def measure() -> Figures:
        # A fresh process each time: memory once taken is seldom given back.
        one.process.stop()
        one.start()
        settle(one.process.pid)
        before_kib = rss_kib(one.process.pid)
        with generator.started(
            "idle",
            one.process.port,
            one.subscribers(TOPICS, setup.crowd),
            connections=setup.crowd,
            hold=True,
        ) as load:
            load.await_ready()
            settle(one.process.pid)
            after_kib = rss_kib(one.process.pid)
            load.go_on()
            figures = load.result()
        return figures | {"kib": (after_kib - before_kib) / setup.crowd}

    return Entry(work=WORK, who=one.name, unit=UNIT, measure=measure, figure="kib")
