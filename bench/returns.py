"""P7: everybody loses the connection and comes back with the last seq heard."""

from bench import generator
from bench.contenders import Contender, Nchan, NodeWs, running
from bench.generator import Figures
from bench.results import OURS, Entry, Outcome, absent_rows, interleaved, most_goal, none_goal
from bench.server import Callme
from bench.setup import Setup

TOPICS = 100
MISSED = 3
WORK = "until all are back and caught up"
# Peers have no sequence to resume from: for them it is only the connecting.
PEER_WORK = "until all are back, nothing to catch up"


def p7(setup: Setup) -> Outcome:
    callme = Callme(diners=setup.crowd)
    with running([lambda: callme, Nchan, NodeWs]) as (present, absent):
        rows = interleaved(setup.rounds, [_entry(setup, one) for one in present])
    rows += absent_rows(absent, work=WORK, unit="s")
    outcome = Outcome(
        id="P7", title=f"{setup.crowd:,} sockets cut and back with their seq", rows=rows, goals=[]
    )
    ours = outcome.row(OURS)
    outcome.goals = [
        most_goal("all caught up ≤ 6 s", ours.value, 6, "s"),
        none_goal("nothing wrong", [ours], "wrong"),
        none_goal("nothing missed", [ours], "missing"),
    ]
    return outcome


def _entry(setup: Setup, one: Contender) -> Entry:
    publishers: list[str] = []

    def measure() -> Figures:
        publishers[:] = publishers or one.publishers(TOPICS)
        return generator.run(
            "resume",
            one.process.port,
            one.subscribers(TOPICS, setup.crowd),
            publishers=publishers,
            connections=setup.crowd,
            missed=MISSED,
        )

    return Entry(
        work=WORK if one.name == OURS else PEER_WORK,
        who=one.name,
        unit="s",
        pid=one.process.pid,
        measure=measure,
        figure="back_s",
    )
