"""Numbers at a stall, under double taps, races, guesses, and holders of yesterday."""

import asyncio
from typing import Any

import pytest

from queueing.model import Actor, TicketNotCalled
from tests.dialect.canteen import Canteen, Rows

FETCHED = {"fetchSuccess": "success"}
TOO_MANY = {"queryErr": "Too Many Requests"}


@pytest.fixture
async def counter(canteen: Canteen) -> Canteen:
    """The seller chen, the diners wang and zhao, all signed in."""
    for who in ("chen", "wang", "zhao"):
        await canteen.sign_in(who)
    await canteen.hold_the_jobs()
    return canteen


def tickets(rows: Rows) -> list[tuple[Any, ...]]:
    return rows["tickets"]


async def test_ninety_nine_numbers_then_none_then_the_one_that_came_back(counter: Canteen) -> None:
    numbers = [await counter.fetch() for _ in range(99)]
    counter.clock.advance(seconds=2)

    assert sorted(numbers) == list(range(1, 100))
    answer = await counter.ask("chen", "fetch")
    assert answer == {"fetchSuccess": "fail", "failMsg": "No Sn Valid"}
    await counter.ask("chen", "done", isseller="yes", marchSn=numbers[41])
    assert await counter.fetch() == numbers[41]


async def test_two_taps_at_the_same_moment_are_one_number(counter: Canteen) -> None:
    answers = await asyncio.gather(*(counter.ask("chen", "fetch") for _ in range(8)))

    assert {answer["marchSn"] for answer in answers} == {1}
    assert len(tickets(await counter.rows())) == 1


async def test_two_tablets_of_one_seller_get_two_numbers_at_the_same_moment(
    counter: Canteen,
) -> None:
    keys = [counter.keys["chen"], await counter.sign_in("chen"), await counter.sign_in("chen")]

    answers = await asyncio.gather(
        *(counter.send("chen", {"query": "fetch", "sessionKey": key}) for key in keys)
    )

    assert sorted(answer["marchSn"] for answer in answers) == [1, 2, 3]


async def test_of_many_diners_at_once_the_first_gets_the_number(counter: Canteen) -> None:
    number = await counter.fetch()
    diners = [f"diner-{index}" for index in range(10)]
    for who in diners:
        await counter.sign_in(who)

    answers = await asyncio.gather(
        *(counter.ask(d, "push", sellerId=1, marchSn=number, noteContent=d) for d in diners)
    )

    assert sorted(answer.get("failMsg", "-") for answer in answers) == ["-", *["Taken Error"] * 9]
    winner = next(d for d, a in zip(diners, answers, strict=True) if "failMsg" not in a)
    note = await counter.ask("chen", "note", marchSn=number)
    assert note["noteContent"] == winner


async def test_no_stall_is_open(counter: Canteen) -> None:
    for stall_id in (1, 3, 5, 6):
        await counter.app.stalls.change(stall_id, {"disabled": True})

    answer = await counter.ask("wang", "seller_list")

    missing = {"seller_listSuccess": "fail", "failMsg": "Null List Error", "count": "0", "list": []}
    assert answer == missing
    closed = {"fetchSuccess": "fail", "failMsg": "Due Date Error"}
    assert await counter.ask("chen", "fetch") == closed


async def test_calling_again_is_a_recall_that_everyone_hears(counter: Canteen) -> None:
    number = await counter.fetch()

    for _ in range(3):
        await counter.ask("chen", "call", marchSn=number)

    _, events = await counter.app.queues.missed("stall:1", 0, 100, 0)
    called = [event.name for event in events if event.name.startswith("ticket.")]
    assert called == ["ticket.issued", "ticket.called", "ticket.recalled", "ticket.recalled"]


async def test_who_polls_hungry_has_been_reached(counter: Canteen) -> None:
    number = await counter.fetch()
    await counter.ask("wang", "push", sellerId=1, marchSn=number, noteContent="拌面")
    await counter.ask("chen", "call", marchSn=number)

    await counter.ask("zhao", "hungry", sellerId=1, marchSn=number)
    (strangers,) = await counter.app.queues.live_tickets(1)
    await counter.ask("wang", "hungry", sellerId=1, marchSn=number)
    (own,) = await counter.app.queues.live_tickets(1)

    assert (strangers.is_reached, own.is_reached) == (None, True)


async def test_a_call_taken_back_while_its_diner_polls_is_not_ready(
    counter: Canteen, monkeypatch: pytest.MonkeyPatch
) -> None:
    number = await counter.fetch()
    await counter.ask("wang", "push", sellerId=1, marchSn=number, noteContent="拌面")
    await counter.ask("chen", "call", marchSn=number)

    async def taken_back(ticket_id: int, by: Actor, *, seq: int = 0) -> None:
        # What the undo between the look and the acknowledgement leads to.
        raise TicketNotCalled

    monkeypatch.setattr(counter.app.queues, "acknowledge", taken_back)
    answer = await counter.ask("wang", "hungry", sellerId=1, marchSn=number)

    assert answer == {"hungrySuccess": "fail", "failMsg": "Not Ready Yet"}


async def test_ready_stays_ready_for_who_did_not_show_up(counter: Canteen) -> None:
    number = await counter.fetch()
    await counter.ask("wang", "push", sellerId=1, marchSn=number, noteContent="拌面")
    await counter.ask("chen", "call", marchSn=number)
    (ticket,) = await counter.app.queues.live_tickets(1)
    await counter.app.queues.change("no_show", ticket.id, Actor("admin"))

    answer = await counter.ask("wang", "hungry", sellerId=1, marchSn=number)

    assert answer == {"hungrySuccess": "success"}


# ---------------------------------------------------------------- former holders


async def next_holder(counter: Canteen, *, bound: bool) -> int:
    """The number went from wang, who collected, to the next one in the queue at once."""
    await counter.app.stalls.change(1, {"pick": "lowest"})
    number = await counter.fetch()
    await counter.ask("wang", "push", sellerId=1, marchSn=number, noteContent="拌面")
    await counter.ask("chen", "call", marchSn=number)
    await counter.ask("chen", "done", isseller="yes", marchSn=number)
    assert await counter.fetch() == number
    if bound:
        await counter.ask("zhao", "push", sellerId=1, marchSn=number, noteContent="牛肉面")
    return number


@pytest.mark.parametrize("bound", [True, False])
async def test_a_late_word_of_the_former_holder_touches_nobody(
    counter: Canteen, bound: bool
) -> None:
    number = await next_holder(counter, bound=bound)
    before = await counter.rows()
    mine = {"sellerId": 1, "marchSn": number}

    late_done = await counter.ask("wang", "done", **mine)
    late_poll = await counter.ask("wang", "hungry", **mine)
    late_push = await counter.ask("wang", "push", **mine, noteContent="拌面")

    assert late_done == {"doneSuccess": "success"}
    assert late_poll == {"hungrySuccess": "success"}
    assert late_push["pushSuccess"] == "fail"
    assert await counter.rows() == before


async def test_the_former_holder_is_not_told_of_the_next_ones_call(counter: Canteen) -> None:
    number = await next_holder(counter, bound=True)
    (live,) = await counter.app.queues.live_tickets(1)
    await counter.app.queues.change("cancel", live.id, Actor("admin"))
    assert await counter.fetch() == number
    await counter.ask("wang", "push", sellerId=1, marchSn=number, noteContent="again")
    await counter.ask("chen", "call", marchSn=number)

    zhao = await counter.ask("zhao", "hungry", sellerId=1, marchSn=number)
    wang = await counter.ask("wang", "hungry", sellerId=1, marchSn=number)

    assert zhao == {"hungrySuccess": "fail", "failMsg": "Not Ready Yet"}
    assert wang == {"hungrySuccess": "success"}


async def test_yesterdays_order_is_no_answer_about_todays_number(counter: Canteen) -> None:
    await counter.app.stalls.change(1, {"pick": "lowest"})
    number = await counter.fetch()
    await counter.ask("wang", "push", sellerId=1, marchSn=number, noteContent="拌面")
    await counter.ask("wang", "done", sellerId=1, marchSn=number)
    counter.clock.advance(days=1)
    for who in ("chen", "wang"):
        await counter.sign_in(who)
    assert await counter.fetch() == number

    answer = await counter.ask("wang", "hungry", sellerId=1, marchSn=number)

    assert answer == {"hungrySuccess": "fail", "failMsg": "Not Ready Yet"}


async def test_a_regular_may_bind_the_same_number_again_soon(counter: Canteen) -> None:
    number = await next_holder(counter, bound=False)
    counter.clock.advance(seconds=10)

    answer = await counter.ask("wang", "push", sellerId=1, marchSn=number, noteContent="拌面")

    assert answer == {"pushSuccess": "success"}


async def test_a_number_rests_before_it_goes_round(counter: Canteen) -> None:
    number = await counter.fetch()
    await counter.ask("wang", "push", sellerId=1, marchSn=number, noteContent="拌面")
    await counter.ask("wang", "done", sellerId=1, marchSn=number)

    others = [await counter.fetch() for _ in range(98)]

    assert number not in others
    late = await counter.ask("wang", "push", sellerId=1, marchSn=number, noteContent="拌面")
    assert late == {"pushSuccess": "fail", "failMsg": "Invalid Sn Error"}


# ---------------------------------------------------------------- renewals


async def test_the_same_renewal_from_many_taps_is_made_once(canteen: Canteen) -> None:
    admin = await canteen.admin()

    taps = [canteen.ask(admin, "renew", telNum="13800000003", term=6) for _ in range(6)]
    made = [canteen.ask(admin, "renew", telNum="13800009999", term=6) for _ in range(6)]
    answers = await asyncio.gather(*taps, *made)

    assert answers == [{"renewSuccess": "success"}] * 12
    assert (await canteen.app.stalls.get(3)).balance_months == 8
    total, stalls = await canteen.app.stalls.page(offset=0, most=100)
    assert (total, stalls[-1].phone, stalls[-1].balance_months) == (7, "13800009999", 6)


async def test_a_second_renewal_counts_when_the_window_is_over(canteen: Canteen) -> None:
    admin = await canteen.admin()

    for pause_s in (0, 10, 1, 10.001):
        canteen.clock.advance(seconds=pause_s)
        await canteen.ask(admin, "renew", telNum="13800000003", term=1)

    # At 0, 10, 11 and 21.001 s: the second is within the window of the first.
    assert (await canteen.app.stalls.get(3)).balance_months == 5


# ---------------------------------------------------------------- limits


@pytest.fixture
def limited(settings: dict[str, str]) -> dict[str, str]:
    settings["CALLME_LIMITS__ENABLED"] = "true"
    settings["CALLME_LIMITS__SIGN_IN_PER_MIN"] = "50"
    return settings


async def test_ten_wrong_numbers_a_minute_and_no_more(
    limited: dict[str, str], counter: Canteen
) -> None:
    number = await counter.fetch()
    guess = {"sellerId": 1, "noteContent": "mine now"}

    for wrong in range(60, 70):
        answer = await counter.ask("wang", "push", marchSn=wrong, **guess)
        assert answer == {"pushSuccess": "fail", "failMsg": "Invalid Sn Error"}
    assert await counter.ask("wang", "push", marchSn=number, **guess) == TOO_MANY

    # Another session and other queries are free; a try comes back every six seconds.
    assert "queryErr" not in await counter.ask("wang", "hungry", sellerId=1, marchSn=number)
    assert "queryErr" not in await counter.ask("zhao", "push", marchSn=70, **guess)
    counter.clock.advance(seconds=5.9)
    assert await counter.ask("wang", "push", marchSn=number, **guess) == TOO_MANY
    counter.clock.advance(seconds=0.2)
    assert await counter.ask("wang", "push", marchSn=number, **guess) == {"pushSuccess": "success"}


async def test_taken_numbers_count_as_guesses_too(
    limited: dict[str, str], counter: Canteen
) -> None:
    number = await counter.fetch()
    await counter.ask("zhao", "push", sellerId=1, marchSn=number, noteContent="拌面")

    answers = [
        await counter.ask("wang", "push", sellerId=1, marchSn=number, noteContent="x")
        for _ in range(11)
    ]

    assert [answer.get("failMsg") for answer in answers] == ["Taken Error"] * 10 + [None]
    assert answers[-1] == TOO_MANY


async def test_five_sign_ups_an_hour(limited: dict[str, str], canteen: Canteen) -> None:
    await canteen.sign_in("lin")
    wrong = {"signupSuccess": "fail", "failMsg": "Invalid Tel Error"}

    for code in range(5):
        assert await canteen.ask("lin", "signup", telNum="13800000005", signupCode=code) == wrong
    # The right one comes too late; and a new session of the same person does not help.
    assert await canteen.ask("lin", "signup", telNum="13800000005#4711") == TOO_MANY
    await canteen.sign_in("lin")
    assert await canteen.ask("lin", "signup", telNum="13800000005#4711") == TOO_MANY

    canteen.clock.advance(minutes=12, seconds=1)
    assert await canteen.ask("lin", "signup", telNum="13800000005#4711") == {
        "signupSuccess": "success"
    }


async def test_the_one_time_code_is_good_once(canteen: Canteen) -> None:
    await canteen.sign_in("lin")
    await canteen.ask("lin", "signup", telNum="13800000005#4711")
    await canteen.app.stalls.release_sellers(5)
    await canteen.app.stalls.change(5, {"claim_code": "1234"})

    old = await canteen.ask("lin", "signup", telNum="13800000005#4711")
    new = await canteen.ask("lin", "signup", telNum="13800000005", signupCode="1234")

    assert old == {"signupSuccess": "fail", "failMsg": "Invalid Tel Error"}
    assert new == {"signupSuccess": "success"}


async def test_of_two_who_sign_up_at_once_one_gets_the_stall(canteen: Canteen) -> None:
    sellers = [f"seller-{index}" for index in range(5)]
    for who in sellers:
        await canteen.send(who, {"query": "login", "isseller": "yes", "code": canteen.code(who)})

    answers = await asyncio.gather(
        *(canteen.ask(who, "signup", telNum="13800000003", personName=who) for who in sellers)
    )

    won = [who for who, answer in zip(sellers, answers, strict=True) if "failMsg" not in answer]
    assert len(won) == 1
    stall = await canteen.app.stalls.get(3)
    assert (len(stall.sellers), stall.person) == (1, won[0])


async def test_too_many_sign_ins_and_too_many_questions(
    limited: dict[str, str], canteen: Canteen
) -> None:
    answers = [await canteen.send("wang", {"query": "login"}) for _ in range(51)]
    assert answers[-2] == {"loginSuccess": "fail", "failMsg": "Login Error"}
    assert answers[-1] == TOO_MANY

    canteen.clock.advance(seconds=60)
    await canteen.sign_in("wang")
    answers = [await canteen.ask("wang", "nothing") for _ in range(201)]
    assert answers[-2:] == [{"queryErr": "Illegal query"}, TOO_MANY]
