"""How a board loses its link and comes back."""

import pytest

from tests.board.canteen import Canteen
from tests.board.conftest import Board

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

SOON_MS = 12_000


async def test_a_cut_board_resumes_with_its_seq_and_plays_exactly_what_it_missed(
    canteen: Canteen, board: Board
) -> None:
    await board.open()
    await board.link_is("live")
    canteen.call(1)
    await board.shows(1)
    first = await canteen.subscription()

    canteen.is_open = False
    canteen.cut()
    await board.link_is("cut")
    canteen.call(2, 3)
    canteen.happen("ticket.finished", 1)
    canteen.is_open = True
    again = await canteen.subscription()

    assert "since" not in first
    assert again["since"] == {"epoch": "e1", "seq": 1}
    await board.shows(3, 2)
    assert (await board.spoken(3))[1:] == ["zh-CN 请零二号取餐", "zh-CN 请零三号取餐"]
    await board.link_is("live")


async def test_a_rebooted_board_neither_repeats_nor_skips(canteen: Canteen, board: Board) -> None:
    await board.open()
    await board.link_is("live")
    canteen.call(1, 2)
    await board.spoken(2)
    await board.has("JSON.parse(localStorage['callme.board.stall:7']).unsaid.length === 0")
    await board.page.goto("about:blank")
    canteen.call(3)

    await board.open()

    await board.shows(3, 2, 1)
    assert await board.spoken(1) == ["zh-CN 请零三号取餐"]
    await board.has("JSON.parse(localStorage['callme.board.stall:7']).unsaid.length === 0")
    assert await board.ask("spoken.length") == 1


async def test_a_call_cut_off_by_a_power_failure_is_said_after_it(
    canteen: Canteen, board: Board
) -> None:
    await board.open(speech="begins")
    await board.link_is("live")
    canteen.call(1, 2)
    await board.spoken(1)

    await board.open()

    assert await board.spoken(2) == ["zh-CN 请零一号取餐", "zh-CN 请零二号取餐"]
    assert (await canteen.subscription()) != (await canteen.subscription())


async def test_calls_of_long_ago_are_shown_but_not_spoken(canteen: Canteen, board: Board) -> None:
    await board.open()
    await board.link_is("live")
    await board.page.goto("about:blank")
    canteen.happen("ticket.called", 1, ago_s=300)
    canteen.happen("ticket.called", 2, ago_s=10)

    await board.open()

    await board.shows(2, 1)
    assert await board.spoken(1) == ["zh-CN 请零二号取餐"]


@pytest.mark.parametrize("id_field", ["id", "ticket_id"])
async def test_a_new_board_shows_the_snapshot_and_says_only_what_comes(
    canteen: Canteen, board: Board, id_field: str
) -> None:
    canteen.stalls[7].id_field = id_field
    canteen.call(1, 2)
    await board.open()
    await board.shows(2, 1)

    canteen.call(3)
    canteen.happen("ticket.finished", 1)
    await board.shows(3, 2)

    assert await board.spoken(1) == ["zh-CN 请零三号取餐"]


async def test_another_epoch_brings_a_snapshot_and_no_call_twice(
    canteen: Canteen, board: Board
) -> None:
    await board.open()
    await board.link_is("live")
    canteen.call(1, 2)
    await board.spoken(2)

    canteen.cut()
    canteen.stalls[7].epoch = "restored"
    canteen.stalls[7].seq = 40
    canteen.happen("ticket.called", 3)

    await board.shows(3, 2, 1)
    assert (await board.spoken(3))[2:] == ["zh-CN 请零三号取餐"]
    canteen.call(4)
    await board.shows(4, 3, 2, 1)


async def test_a_gap_makes_the_board_ask_again(canteen: Canteen, board: Board) -> None:
    await board.open()
    await board.link_is("live")
    canteen.call(1)
    await board.shows(1)
    await canteen.subscription()

    canteen.stalls[7].happen("ticket.called", 2)  # happens, and the frame is lost
    canteen.call(3)

    assert (await canteen.subscription())["since"] == {"epoch": "e1", "seq": 1}
    await board.shows(3, 2, 1)
    assert (await board.spoken(3))[1:] == ["zh-CN 请零二号取餐", "zh-CN 请零三号取餐"]


async def test_a_stall_that_is_too_busy_to_answer_is_asked_again(
    canteen: Canteen, board: Board
) -> None:
    canteen.busy_answers = 2
    canteen.call(1)
    await board.page.clock.install()

    await board.open()
    for _ in range(2):
        await canteen.subscription()
        await board.page.clock.run_for(4_000)

    await board.shows(1)
    assert await board.text(".hero-label") == "请取餐"
    assert len(canteen.boards) == 1


async def test_an_event_sent_twice_counts_once(canteen: Canteen, board: Board) -> None:
    await board.open()
    await board.link_is("live")
    event = canteen.stalls[7].happen("ticket.called", 1)

    canteen.send(event)
    canteen.send(event)
    canteen.call(2)

    await board.shows(2, 1)
    assert await board.spoken(2) == ["zh-CN 请零一号取餐", "zh-CN 请零二号取餐"]


async def test_an_answer_with_a_hole_in_it_is_not_believed(canteen: Canteen, board: Board) -> None:
    await board.open()
    canteen.call(1)
    await board.shows(1)
    canteen.is_open = False
    canteen.cut()
    await board.link_is("cut")
    canteen.call(2, 3)
    del canteen.stalls[7].events[1]

    canteen.is_open = True

    await board.shows(3, 2, 1)
    assert canteen.subscriptions.qsize() == 3  # at first, with its seq, and for a snapshot


@pytest.mark.parametrize("code", [1012, 1013, 1009, 4401, 4409, 4429])
async def test_no_close_code_stops_a_board(canteen: Canteen, board: Board, code: int) -> None:
    await board.page.clock.install()
    await board.open()
    await board.link_is("live")

    canteen.cut(code)
    await board.link_is("cut")
    await board.page.clock.fast_forward(SOON_MS)

    await board.link_is("live")
    canteen.call(5)
    await board.shows(5)


async def test_a_board_never_gives_up_and_says_since_when(canteen: Canteen, board: Board) -> None:
    await board.page.clock.install()
    await board.open()
    await board.link_is("live")
    canteen.is_open = False
    canteen.cut()

    for _ in range(15):
        await canteen.refusal()
        await board.link_is("cut")
        await board.page.clock.fast_forward(SOON_MS)
    cut = await board.text("#link-text")
    canteen.is_open = True
    await board.page.clock.fast_forward(SOON_MS)

    assert cut.startswith("断线，自 ")
    await board.link_is("live")
    assert await board.text("#link-text") == "实时"


async def test_a_link_that_fell_silent_is_asked_and_then_replaced(
    canteen: Canteen, board: Board
) -> None:
    canteen.answers_pings = False
    await board.page.clock.install()
    await board.open()
    await board.link_is("live")
    await canteen.subscription()
    canteen.call(1)
    await board.shows(1)

    await board.page.clock.fast_forward(63_000)
    await canteen.ping()
    await board.page.clock.fast_forward(6_000)
    await board.link_is("cut")
    await board.page.clock.fast_forward(SOON_MS)

    assert (await canteen.subscription())["since"]["seq"] == 1
    await board.link_is("live")


async def test_a_quiet_but_living_link_stays(canteen: Canteen, board: Board) -> None:
    await board.page.clock.install()
    await board.open()
    await board.link_is("live")

    for _ in range(3):
        await board.page.clock.fast_forward(63_000)
        await canteen.ping()

    assert canteen.subscriptions.qsize() == 1
    assert len(canteen.boards) == 1


async def test_the_network_coming_back_ends_the_wait_at_once(
    canteen: Canteen, board: Board
) -> None:
    await board.page.clock.install()
    await board.open()
    await board.link_is("live")
    await canteen.subscription()
    await board.page.clock.pause_at(await board.ask("Date.now() + 1000"))
    canteen.cut()
    await board.link_is("cut")

    await board.ask("dispatchEvent(new Event('online'))")

    await canteen.subscription()  # though no timer of the page runs any more
    await board.link_is("live")


async def test_a_board_that_starts_before_its_server_waits_for_it(
    canteen: Canteen, board: Board
) -> None:
    canteen.is_open = False
    await board.open()
    await canteen.refusal()
    await board.link_is("cut")

    canteen.is_open = True
    canteen.call(1)

    await board.shows(1)
    await board.link_is("live")


async def test_a_board_without_a_memory_works(canteen: Canteen, board: Board) -> None:
    await board.context.add_init_script(
        "Object.defineProperty(window, 'localStorage', {get() { throw new Error('forbidden') }})"
    )
    await board.open()
    await board.link_is("live")

    canteen.call(1)

    await board.shows(1)
    assert await board.spoken(1) == ["zh-CN 请零一号取餐"]


async def test_a_spoilt_memory_is_no_memory(canteen: Canteen, board: Board) -> None:
    await board.context.add_init_script(
        """if (location.protocol === "http:")
             localStorage.setItem("callme.board.stall:7", '{"place": {"seq"')"""
    )

    await board.open()
    canteen.call(1)

    await board.shows(1)
    assert "since" not in await canteen.subscription()
