"""P4, P5: one event to many sockets, as many as possible and as soon as possible."""

from collections.abc import Callable

from bench import generator
from bench.contenders import BareTornado, Contender, Nchan, NodeWs, running
from bench.generator import Figures
from bench.results import (
    OURS,
    Entry,
    Goal,
    Outcome,
    absent_rows,
    interleaved,
    most_goal,
    none_goal,
    ratio_goal,
)
from bench.server import Callme
from bench.setup import Setup

# Messages of one topic under way at once: enough that no server ever waits for the next.
WINDOW_OF_ONE = 32
WINDOW_OF_MANY = 2
MANY = 100
CALLS_PER_S = 200
ONE_TOPIC = "all on 1 topic"
MANY_TOPICS = f"spread over {MANY} topics"
UNIT = "deliveries/s"
PEERS: list[Callable[[], Contender]] = [Nchan, NodeWs, BareTornado]


def p4(setup: Setup) -> Outcome:
    with running([lambda: Callme(diners=setup.crowd), *PEERS]) as (present, absent):
        entries = [_throughput(setup, one, 1) for one in present]
        entries += [_throughput(setup, one, MANY) for one in present]
        rows = interleaved(setup.rounds, entries)
    rows += absent_rows(absent, work=ONE_TOPIC, unit=UNIT)
    outcome = Outcome(id="P4", title=f"fan-out to {setup.crowd:,} connections", rows=rows, goals=[])
    outcome.goals = _throughput_goals(outcome)
    return outcome


def _throughput(setup: Setup, one: Contender, topics: int) -> Entry:
    # Made when it is first needed: our server must be asked for tickets to call.
    publishers: list[str] = []

    def measure() -> Figures:
        publishers[:] = publishers or one.publishers(topics)
        figures = generator.run(
            "fanout",
            one.process.port,
            one.subscribers(topics, setup.crowd),
            publishers=publishers,
            connections=setup.crowd,
            window=WINDOW_OF_ONE if topics == 1 else WINDOW_OF_MANY,
            pipeline=WINDOW_OF_ONE if one.name == Nchan.name else 4,
            warmup=setup.warmup_s,
            seconds=setup.seconds,
        )
        # With every server busy all the time, latency only tells how long the window is.
        return {name: value for name, value in figures.items() if not name.endswith("_ms")}

    work = ONE_TOPIC if topics == 1 else MANY_TOPICS
    return Entry(work=work, who=one.name, unit=UNIT, pid=one.process.pid, measure=measure)


def _throughput_goals(outcome: Outcome) -> list[Goal]:
    goals = []
    ours = [outcome.row(OURS, work) for work in (ONE_TOPIC, MANY_TOPICS)]
    for row, work in zip(ours, (ONE_TOPIC, MANY_TOPICS), strict=True):
        nchan, node = outcome.row(Nchan.name, work), outcome.row(NodeWs.name, work)
        goals.append(ratio_goal(f"{work}: ≥ Nchan", row, nchan, 1.0))
        goals.append(ratio_goal(f"{work}: ≥ 1.1 × node ws", row, node, 1.1))
    nchan = outcome.row(Nchan.name, ONE_TOPIC)
    goals.append(ratio_goal(f"{ONE_TOPIC}: ≥ 3 × Nchan", ours[0], nchan, 3.0))
    goals.append(none_goal("no gap", ours, "gaps"))
    goals.append(none_goal("nobody closed", ours, "closed"))
    return goals


def p5(setup: Setup) -> Outcome:
    work = f"{CALLS_PER_S} calls/s over {MANY} stalls"
    with running([lambda: Callme(diners=setup.crowd), *PEERS]) as (present, absent):
        rows = interleaved(setup.rounds, [_latency(setup, one, work) for one in present])
    rows += absent_rows(absent, work=work, unit="ms")
    outcome = Outcome(
        id="P5", title=f"from call to socket, {setup.crowd:,} connected, p99", rows=rows, goals=[]
    )
    ours = outcome.row(OURS)
    outcome.goals = [
        most_goal("p99 ≤ 5 ms", ours.value, 5, "ms"),
        none_goal("no gap", [ours], "gaps"),
    ]
    return outcome


def _latency(setup: Setup, one: Contender, work: str) -> Entry:
    publishers: list[str] = []

    def measure() -> Figures:
        publishers[:] = publishers or one.publishers(MANY)
        return generator.run(
            "fanout",
            one.process.port,
            one.subscribers(MANY, setup.crowd),
            publishers=publishers,
            connections=setup.crowd,
            rate=CALLS_PER_S,
            warmup=setup.warmup_s,
            seconds=setup.seconds * 2,
        )

    return Entry(
        work=work, who=one.name, unit="ms", pid=one.process.pid, measure=measure, figure="p99_ms"
    )
