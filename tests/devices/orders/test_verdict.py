"""What becomes of a revision, by the numbers and at our prices."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devices.orders.model import Body, Line, Revision, Verdict, Why, accepted, under_review
from devices.orders.verdict import (
    Around,
    Standing,
    content_hash,
    doubted,
    is_late,
    judge,
    standing,
    was_decided,
)
from devices.sessions.model import DoorSession, State
from devices.vendors.port import Certainty, Item, OrderFact
from tests.devices.orders.shop import PRICES, fact

CERTAIN, PROVISIONAL, UNCERTAIN = Certainty.CERTAIN, Certainty.PROVISIONAL, Certainty.UNCERTAIN
TWO = {"cola": 2}


def around(**values: Any) -> Around:
    given: dict[str, Any] = {
        "prices": PRICES,
        "names": {},
        "limit_fen": 20_000,
        "stock": {"cola": 10, "tea": 1},
        "tolerance": 2,
        **values,
    }
    return Around(**given)


def known(said: OrderFact, n: int = 1, why: Why = Why.NONE, source: str = "vendor") -> Revision:
    """As it was kept when it was told."""
    waits = said.certainty is PROVISIONAL
    verdict = Verdict.REFUSED if why else Verdict.WAITING if waits else Verdict.ACCEPTED
    return Revision(
        order_id=1,
        rev=said.rev,
        n=n,
        source=source,
        certainty=said.certainty,
        content_hash=content_hash(said.items, said.total_fen),
        body=Body(fact=said),
        total_fen=said.total_fen,
        verdict=verdict,
        why=why,
        at=0,
    )


# ---------------------------------------------------------------- where it stands


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (fact(None, TWO, 2), Standing.REPEATED),
        (fact(None, {"cola": 3}, 2), Standing.CONFLICT),
        (fact(None, TWO, 3), Standing.NEW),
        (fact(None, {"cola": 3}, 3), Standing.NEW),
        (fact(None, {"cola": 3}, 1), Standing.OLD),
        (fact(None, TWO, 2, certainty=UNCERTAIN), Standing.REPEATED),
        (fact(None, TWO, 2, total_fen=701), Standing.CONFLICT),
    ],
)
def test_revisions_are_told_apart_by_number_and_content(
    said: OrderFact, expected: Standing
) -> None:
    assert standing(said, [known(fact(None, TWO, 2))]) is expected


def test_the_first_revision_is_news_whatever_its_number() -> None:
    assert standing(fact(None, TWO, 5), []) is Standing.NEW


def test_what_becomes_certain_is_news_once() -> None:
    first = known(fact(None, TWO, 1, certainty=PROVISIONAL))
    certain = fact(None, TWO, 1)

    assert standing(certain, [first]) is Standing.NEW
    assert standing(certain, [first, known(certain, 2)]) is Standing.REPEATED
    assert standing(fact(None, TWO, 1, certainty=PROVISIONAL), [first]) is Standing.REPEATED


def test_what_becomes_certain_after_a_higher_number_is_not_news() -> None:
    first = known(fact(None, TWO, 1, certainty=PROVISIONAL))

    assert standing(fact(None, TWO, 1), [first, known(fact(None, {}, 2))]) is Standing.REPEATED


def test_what_is_doubted_is_news_once() -> None:
    first = known(fact(None, TWO))
    abnormal = doubted(fact(None, TWO))

    assert standing(abnormal, [first]) is Standing.NEW
    assert standing(abnormal, [first, known(abnormal, 2, Why.ABNORMAL)]) is Standing.REPEATED
    assert standing(abnormal, [first, known(fact(None, {}, 2))]) is Standing.REPEATED
    # What is sure again without a word that is new stays a person's.
    assert standing(fact(None, TWO), [known(abnormal, 1, Why.ABNORMAL)]) is Standing.REPEATED


@pytest.mark.parametrize(
    ("given", "kept"),
    [((), ("other",)), (("video",), ("video", "other")), (("gravity", "video"),) * 2],
)
def test_an_order_told_as_abnormal_is_in_doubt_whatever_the_reasons(
    given: tuple[str, ...], kept: tuple[str, ...]
) -> None:
    said = doubted(fact(None, TWO, abnormal=given))

    assert said.abnormal == kept
    assert judge(said, around()).why is Why.ABNORMAL


def test_a_conflict_told_again_is_a_repeat() -> None:
    other = fact(None, {"tea": 1}, 2)
    both = [known(fact(None, TWO, 2)), known(other, 2, Why.CONFLICT)]

    assert standing(other, both) is Standing.REPEATED
    assert standing(fact(None, {"nuts": 1}, 2), both) is Standing.CONFLICT


@given(st.permutations(["cola", "nuts", "tea"]))
def test_the_order_of_items_is_no_content(order: list[str]) -> None:
    things = [Item(sku=sku, quantity=1, price_fen=PRICES[sku]) for sku in order]
    usual = [Item(sku=sku, quantity=1, price_fen=PRICES[sku]) for sku in sorted(order)]

    assert content_hash(things, 950) == content_hash(usual, 950)


# ---------------------------------------------------------------- the verdict


def test_a_certain_order_at_our_prices_is_accepted() -> None:
    judged = judge(fact(None, {"cola": 2, "nuts": 1}), around())

    assert (judged.verdict, judged.why) == (Verdict.ACCEPTED, Why.NONE)
    assert judged.lines == (
        Line("cola", "Cola", 2, 350, 700),
        Line("nuts", "Nuts", 1, 100, 100),
    )


def test_nothing_taken_is_accepted() -> None:
    judged = judge(fact(None, {}), around(is_late=True))

    assert (judged.verdict, judged.lines) == (Verdict.ACCEPTED, ())


@pytest.mark.parametrize(
    ("said", "values", "why"),
    [
        (fact(None, TWO, certainty=UNCERTAIN), {}, Why.UNCERTAIN),
        (fact(None, TWO, abnormal=("foreign_item",)), {}, Why.ABNORMAL),
        (fact(None, {"gum": 1}), {}, Why.UNKNOWN_ITEM),
        (fact(None, TWO, total_fen=699), {}, Why.MISMATCH),
        (fact(None, {"cola": -1}), {}, Why.MISMATCH),
        (fact(None, TWO), {"limit_fen": 699}, Why.OVER_LIMIT),
        (fact(None, {"tea": 4}), {}, Why.OVER_LIMIT),
        (fact(None, TWO), {"is_late": True}, Why.LATE),
        (fact(None, {}), {"is_late": True, "is_closed_book": True}, Why.LATE),
        (fact(None, TWO), {"was_decided": True}, Why.CONFLICT),
    ],
)
def test_what_is_in_doubt_is_for_a_person(
    said: OrderFact, values: dict[str, Any], why: Why
) -> None:
    judged = judge(said, around(**values))

    assert (judged.verdict, judged.why) == (Verdict.REFUSED, why)
    assert judged.text


@pytest.mark.parametrize(
    ("said", "values"),
    [
        (fact(None, TWO), {"limit_fen": 700}),
        (fact(None, {"tea": 3}), {}),
        (fact(None, {"nuts": 90}), {}),
        (fact(None, TWO, abnormal=("video",)), {}),
    ],
)
def test_what_is_just_within_is_accepted(said: OrderFact, values: dict[str, Any]) -> None:
    assert judge(said, around(**values)).verdict is Verdict.ACCEPTED


def test_what_is_being_looked_at_waits_whatever_else_is_wrong() -> None:
    said = fact(None, {"gum": 1}, certainty=PROVISIONAL, total_fen=9)

    assert judge(said, around(is_late=True)).verdict is Verdict.WAITING


def test_the_same_thing_listed_twice_is_counted_together() -> None:
    twice = (*fact(None, TWO).items, *fact(None, TWO).items)

    judged = judge(fact(None, {}, items=twice, total_fen=1_400), around())

    assert judged.lines == (Line("cola", "Cola", 4, 350, 1_400),)


# ---------------------------------------------------------------- since when


def test_the_latest_accepted_one_is_due_and_later_doubts_wait() -> None:
    first = known(fact(None, TWO, 1))
    doubt = known(fact(None, {"cola": 9}, 2), 1, Why.OVER_LIMIT)
    old = known(fact(None, {}, 1), 2, Why.OLD)
    second = known(fact(None, {"tea": 1}, 3))

    assert accepted([first, doubt, old]) == first
    assert under_review([first, doubt, old]) == [doubt]
    assert accepted([second, first, doubt]) == second
    assert under_review([first, doubt, second]) == []
    assert accepted([doubt]) is None


def a_session(**values: Any) -> DoorSession:
    row: dict[str, Any] = dict.fromkeys(DoorSession.__struct_fields__, 0)
    return DoorSession(**{**row, "state": State.CLOSED, "fail_code": "", **values})


@pytest.mark.parametrize(
    "state", [State.NOT_OPENED, State.REJECTED, State.TIMEOUT, State.NO_PURCHASE]
)
def test_an_order_after_the_session_was_over_is_late(state: State) -> None:
    assert is_late(a_session(state=state), [])


def test_an_order_stays_late_until_a_person_has_decided() -> None:
    abnormal = a_session(state=State.ABNORMAL)
    late = known(fact(None, TWO, 1), 1, Why.LATE)
    decided = known(fact(None, TWO, 2), source="staff:11")

    assert is_late(abnormal, [late])
    assert not is_late(abnormal, [late, decided])
    assert is_late(a_session(state=State.ABNORMAL, fail_code="opened_late"), [])
    assert not is_late(abnormal, [])
    assert was_decided([late, decided])
    assert not was_decided([late])
    assert not was_decided([known(fact(None, TWO, 1))])
