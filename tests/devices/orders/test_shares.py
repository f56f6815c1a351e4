"""What a chain of orders comes to, and what follows for its money: arithmetic, tried at random."""

from hypothesis import given
from hypothesis import strategies as st

from devices.orders.model import Line, Lines, Means, OrderState
from devices.orders.shares import (
    Part,
    Tally,
    add,
    negative,
    plan,
    quantities,
    share,
    sold,
    state_after,
    subtract,
)
from devices.orders.verdict import allowed, total_of

PRICES = {"cola": 350, "nuts": 100, "tea": 500}


def lines(**taken: int) -> Lines:
    return tuple(
        Line(sku, sku.title(), quantity, PRICES[sku], quantity * PRICES[sku])
        for sku, quantity in sorted(taken.items())
        if quantity
    )


baskets = st.dictionaries(st.sampled_from(sorted(PRICES)), st.integers(0, 9)).map(
    lambda taken: lines(**taken)
)
fen = st.integers(0, 5_000)


# ---------------------------------------------------------------- shares


def test_the_first_revision_is_the_first_orders() -> None:
    assert share(lines(cola=2), [Part(0, (), is_open=True)]) == [Part(700, lines(cola=2))]


def test_what_is_dearer_after_payment_is_a_supplement() -> None:
    paid = Part(700, lines(cola=2))

    first, supplement = share(lines(cola=2, tea=1), [paid])

    assert first == paid
    assert supplement == Part(500, lines(tea=1))


def test_another_thing_in_place_of_a_cheaper_one_is_taken_off_and_put_on() -> None:
    (_, supplement) = share(lines(tea=2), [Part(700, lines(cola=2))])

    assert supplement.due_fen == 300
    assert quantities(supplement.lines) == {"cola": -2, "tea": 2}


def test_what_is_dearer_while_unpaid_is_the_same_order() -> None:
    chain = [Part(700, lines(cola=2)), Part(500, lines(tea=1), is_open=True)]

    assert share(lines(cola=3, tea=1), chain) == [
        Part(700, lines(cola=2)),
        Part(850, lines(cola=1, tea=1)),
    ]


def test_what_is_cheaper_takes_from_the_last_first() -> None:
    chain = [Part(700, lines(cola=2)), Part(500, lines(tea=1))]

    assert share(lines(cola=2, nuts=1), chain) == [
        Part(700, lines(cola=2)),
        Part(100, lines(nuts=1)),
    ]
    assert share(lines(cola=1), chain) == [Part(350, lines(cola=1)), Part(0, ())]
    assert share((), chain) == [Part(0, ()), Part(0, ())]


def test_the_same_price_in_other_goods_changes_the_lines_only() -> None:
    assert share(lines(tea=1), [Part(500, lines(nuts=5))]) == [Part(500, lines(tea=1))]


@given(baskets, st.lists(st.tuples(baskets, st.booleans()), min_size=1, max_size=4))
def test_a_chain_always_comes_to_what_was_accepted(
    target: Lines, history: list[tuple[Lines, bool]]
) -> None:
    parts = [Part(0, (), is_open=True)]
    for basket, is_paid in [*history, (target, True)]:
        before = parts
        shared = share(basket, parts)
        assert [part.due_fen for part in shared] == [total_of(part.lines) for part in shared]
        assert sum(part.due_fen for part in shared) == total_of(basket)
        assert add(*(part.lines for part in shared)) == add(basket)
        # What is paid never becomes dearer.
        assert all(
            new.due_fen <= old.due_fen
            for new, old in zip(shared, before, strict=False)
            if not old.is_open
        )
        parts = [Part(part.due_fen, part.lines, not is_paid) for part in shared]


# ---------------------------------------------------------------- lines


@given(baskets, baskets)
def test_what_is_taken_off_comes_back(some: Lines, others: Lines) -> None:
    assert add(subtract(some, others), others) == add(some)
    assert add(some, negative(some)) == ()


@given(baskets, fen)
def test_an_allowance_lowers_the_sum_and_nothing_else(some: Lines, less: int) -> None:
    lowered = allowed(some, less)

    assert total_of(lowered) == max(0, total_of(some) - less)
    assert quantities(lowered) == quantities(some)
    assert all(line.amount_fen >= 0 for line in lowered)


def test_an_allowance_takes_nothing_from_what_is_taken_off_anyway() -> None:
    (_, supplement) = share(lines(tea=2), [Part(700, lines(cola=2))])

    assert total_of(allowed(supplement.lines, 300)) == 0


@given(baskets, baskets, fen)
def test_what_is_sold_always_comes_to_what_has_come_in(
    some: Lines, booked: Lines, net: int
) -> None:
    found = sold(some, net, booked)

    if some or booked:
        assert total_of(found) == net
        assert quantities(found) == quantities(some or booked)
    else:
        assert found == ()


# ---------------------------------------------------------------- one order's money


@given(
    due=fen,
    captured=fen,
    back=fen,
    pending=st.dictionaries(st.sampled_from([Means.SCORE, Means.WECHAT]), st.integers(1, 5_000)),
)
def test_charges_are_the_difference_and_never_both_ways(
    due: int, captured: int, back: int, pending: dict[Means, int]
) -> None:
    back = min(back, captured)
    money = Tally(captured_fen=captured, back_fen=back, pending=pending)

    follows = plan(due, money)

    net = captured - back
    assert follows.charge_fen == max(0, due - net - max(pending.values(), default=0))
    assert follows.refund_fen == max(0, net - due)
    assert not (follows.needed_fen and follows.refund_fen)
    # Once done, nothing follows.
    then = Tally(
        captured_fen=captured + follows.charge_fen,
        back_fen=back + follows.refund_fen,
        pending=pending,
    )
    again = plan(due, then)
    assert again.charge_fen == 0 or again.charge_fen < follows.charge_fen
    assert again.refund_fen == 0


def test_two_ways_to_pay_the_same_are_not_two_payments() -> None:
    money = Tally(pending={Means.SCORE: 700, Means.WECHAT: 700})

    follows = plan(700, money)

    assert (follows.charge_fen, follows.too_much) == (0, frozenset())
    assert plan(300, money).too_much == {Means.SCORE, Means.WECHAT}


def test_a_refund_that_was_stopped_is_not_asked_for_again_by_itself() -> None:
    stopped = Tally(captured_fen=1_000, kept_fen=200)

    assert plan(800, stopped).refund_fen == 0
    assert plan(700, stopped).refund_fen == 100
    assert plan(900, stopped).charge_fen == 0


def test_what_is_waived_is_not_needed() -> None:
    follows = plan(700, Tally(captured_fen=100), is_waived=True)

    assert (follows.needed_fen, follows.charge_fen, follows.refund_fen) == (0, 0, 0)


def test_the_state_follows_from_the_money() -> None:
    score = Tally(pending={Means.SCORE: 700})
    paid = Tally(captured_fen=700)
    gone = Tally(captured_fen=700, back_fen=700)

    assert state_after(700, Tally(), is_waived=False) is OrderState.UNPAID
    assert state_after(700, Tally(), is_waived=True) is OrderState.WAIVED
    assert state_after(700, score, is_waived=False) is OrderState.CHARGING
    assert state_after(700, paid, is_waived=False) is OrderState.PAID
    assert state_after(0, gone, is_waived=False) is OrderState.PAID
    assert state_after(0, Tally(), is_waived=False) is OrderState.EMPTY
