"""`python -m bench [P1 P4 …] [--quick]`: run benchmarks, print tables, draw plots into docs/."""

import argparse
import sys
import time
from collections.abc import Callable

import msgspec

from bench import (
    fanouts,
    generator,
    idle,
    inbox,
    machine,
    notices,
    polls,
    presence,
    report,
    returns,
    setup,
    starts,
    storms,
    takes,
)
from bench.process import NotInstalled
from bench.results import Outcome
from bench.setup import Setup

BENCHMARKS: dict[str, Callable[[Setup], Outcome]] = {
    "P1": takes.p1,
    "P2": takes.p2,
    "P3": takes.p3,
    "P4": fanouts.p4,
    "P5": fanouts.p5,
    "P6": idle.p6,
    "P7": returns.p7,
    "P8": notices.p8,
    "P9": inbox.p9,
    "P10": polls.p10,
    "P12": starts.p12,
    "P13": presence.p13,
    "P14": storms.p14,
}


def main() -> int:
    arguments = _arguments()
    chosen = setup.QUICK if arguments.quick else setup.FULL
    if arguments.rounds:
        chosen = msgspec.structs.replace(chosen, rounds=arguments.rounds)
    try:
        generator.build()
    except NotInstalled as missing:
        print(f"the load generator needs {missing}", file=sys.stderr)
        return 1
    print(machine.description())
    for name in arguments.ids or BENCHMARKS:
        print(f"\n{name}", flush=True)
        outcome = BENCHMARKS[name](chosen)
        outcome.made_on = time.strftime("%Y-%m-%d", time.gmtime())
        outcome.machine = machine.description()
        outcome.is_quick = chosen.is_quick
        report.print_outcome(outcome)
        print(f"  → {report.save(outcome)}")
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument(
        "ids", nargs="*", type=str.upper, metavar="ID", help=f"one of {' '.join(BENCHMARKS)}"
    )
    parser.add_argument(
        "--quick", action="store_true", help="a look only: short, smaller, kept out of docs/"
    )
    parser.add_argument("--rounds", type=int, default=0, help="how often each is measured")
    arguments = parser.parse_args()
    unknown = [name for name in arguments.ids if name not in BENCHMARKS]
    if unknown:
        parser.error(f"no such benchmark: {' '.join(unknown)}")
    return arguments


if __name__ == "__main__":
    sys.exit(main())
