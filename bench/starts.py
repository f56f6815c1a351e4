"""P12: how soon the server answers, after a rest and after having been killed at work."""

import time

from bench import generator
from bench.generator import Figures, LoadFailed
from bench.process import START_TIMEOUT_S, NotInstalled, StartFailed, status_of
from bench.results import OURS, Entry, Outcome, absent_rows, interleaved, most_goal
from bench.server import Callme
from bench.setup import Setup

COLD = "cold start to /healthz"
KILLED = "after kill -9 at work"
CALLERS = 64
STALLS = 16
ROUNDS = 5


def p12(setup: Setup) -> Outcome:
    outcome = Outcome(id="P12", title="from start to healthy", rows=[], goals=[])
    callme = Callme(stalls=STALLS, sellers_each=CALLERS // STALLS)
    try:
        callme.prepare()
        entries = [
            Entry(work=COLD, who=OURS, unit="s", figure="s", measure=lambda: _cold(callme)),
            Entry(work=KILLED, who=OURS, unit="s", figure="s", measure=lambda: _killed(callme)),
        ]
        outcome.rows = interleaved(setup.rounds if setup.is_quick else ROUNDS, entries)
    except NotInstalled:
        outcome.rows = absent_rows({OURS: "not installed"}, work=COLD, unit="s")
    except StartFailed as failure:
        why = {OURS: f"did not start: {str(failure)[-200:]}"}
        outcome.rows = absent_rows(why, work=COLD, unit="s")
    finally:
        callme.stop()
    cold, killed = outcome.row(OURS, COLD), outcome.row(OURS, KILLED)
    outcome.goals = [
        most_goal("cold start ≤ 0.7 s", cold.value, 0.7, "s"),
        most_goal("after kill -9 ≤ 1 s", killed.value, 1.0, "s"),
    ]
    return outcome


def _cold(callme: Callme) -> Figures:
    callme.process.stop()
    return _start(callme)


def _killed(callme: Callme) -> Figures:
    """Kill it while numbers are being taken, so that there is something to recover."""
    plan = callme.takers(CALLERS, STALLS)
    with generator.started(
        "take", callme.process.port, plan, connections=CALLERS, seconds=30
    ) as load:
        load.await_ready()
        time.sleep(1)
        callme.process.kill()
    return _start(callme)


def _start(callme: Callme) -> Figures:
    begun = time.monotonic()
    callme.spawn()
    while status_of(callme.process.port, "/healthz") != 200:
        if time.monotonic() - begun > START_TIMEOUT_S:
            raise LoadFailed(f"no health after {START_TIMEOUT_S:.0f} s")
        time.sleep(0.002)
    took_s = time.monotonic() - begun
    callme.process.await_status("/readyz")
    return {"s": took_s}
