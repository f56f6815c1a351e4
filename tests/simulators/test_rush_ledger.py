"""The ledger: live numbers, counts and the report."""

from random import Random

from simulators.rush import menu
from simulators.rush.ledger import SURELY_LIVE_S, Ledger
from simulators.rush.links import Backoff


def test_a_number_given_out_twice_is_told_at_once() -> None:
    told: list[str] = []
    ledger = Ledger(tell=told.append)

    ledger.issued(1, 5, "first")
    ledger.issued(2, 5, "at another stall")
    ledger.issued(1, 5, "second")

    assert told == ["VIOLATION: stall 1 issued 5 to second while first holds it"]
    assert ledger.report()["counts"] == {"issued": 3, "violations": 1}


def test_a_number_may_come_again_once_somebody_asked_to_end_it() -> None:
    ledger = Ledger(tell=lambda text: None)
    ledger.issued(1, 5, "first")

    ledger.ending(1, 5)
    ledger.ending(1, 6)
    ledger.issued(1, 5, "second")

    assert ledger.violations == []
    assert ledger.is_held(1, 5)
    assert not ledger.is_held(1, 6)


def test_a_number_forgotten_for_hours_may_have_been_released() -> None:
    now_s = 0.0
    ledger = Ledger(tell=lambda text: None, now_s=lambda: now_s)
    ledger.issued(1, 5, "first")

    now_s = SURELY_LIVE_S
    ledger.issued(1, 5, "second")

    assert ledger.violations == []


def test_numbers_outside_the_pool_are_no_numbers() -> None:
    ledger = Ledger(tell=lambda text: None)

    ledger.issued(1, 100, "one")

    assert ledger.violations == ["stall 1 issued 100, which is no number of a pool"]


def test_the_report_has_refusals_and_latencies() -> None:
    ledger = Ledger(tell=lambda text: None)
    for ms in range(100):
        ledger.heard_within(float(ms))
    ledger.refuse("stall.due")
    ledger.refuse("stall.due")

    report = ledger.report()

    assert report["refused"] == {"stall.due": 2}
    assert report["call_to_phone_ms"] == {"p50": 50.0, "p95": 95.0, "p99": 99.0, "max": 99.0}


def test_the_menu_is_the_same_for_the_same_seed() -> None:
    first = [menu.note(Random(seed)) for seed in range(50)]

    assert first == [menu.note(Random(seed)) for seed in range(50)]
    assert len(set(first)) > 20
    assert all(1 <= len(note) <= 40 for note in first)


def test_patience_doubles_and_starts_anew() -> None:
    backoff = Backoff(Random(1))

    delays = [backoff.delay_s() for _ in range(12)]
    backoff.reset()

    assert delays[0] <= 0.3
    assert 4 <= delays[-1] <= 8
    assert backoff.delay_s(2.0) <= 2.3
