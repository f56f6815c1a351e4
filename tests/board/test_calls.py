"""What a board shows and says while its link is good."""

import pytest

from tests.board.canteen import Canteen
from tests.board.conftest import Board

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]


async def test_calls_are_shown_newest_first_and_announced_in_order(
    canteen: Canteen, board: Board
) -> None:
    await board.open()
    await board.link_is("live")

    canteen.call(39, 7, 12)

    await board.shows(12, 7, 39)
    assert await board.spoken(3) == [
        "zh-CN 请三九号取餐",
        "zh-CN 请零七号取餐",
        "zh-CN 请一二号取餐",
    ]
    assert await board.ask("overlaps") == 0
    assert await board.text("#spoken") == "请一二号取餐"


async def test_a_recall_is_announced_again_and_comes_first(canteen: Canteen, board: Board) -> None:
    await board.open()
    await board.link_is("live")
    canteen.call(39, 7)

    canteen.happen("ticket.recalled", 39)

    await board.shows(39, 7)
    assert (await board.spoken(3))[2] == "zh-CN 请三九号取餐"
    assert "×2" in await board.text(".hero-note")


async def test_numbers_that_ended_leave_the_board(canteen: Canteen, board: Board) -> None:
    await board.open()
    await board.link_is("live")
    canteen.call(1, 2, 3, 4, 5, 6)

    canteen.happen("ticket.finished", 6)
    canteen.happen("ticket.no_show", 1)
    canteen.happen("ticket.cancelled", 2)
    canteen.happen("ticket.released", 3)
    canteen.happen("ticket.requeued", 4)

    await board.shows(5)


async def test_a_call_that_ended_before_its_turn_is_not_spoken(
    canteen: Canteen, board: Board
) -> None:
    await board.open()
    await board.link_is("live")

    canteen.call(1, 2, 3)
    canteen.happen("ticket.finished", 2)

    assert await board.spoken(2) == ["zh-CN 请零一号取餐", "zh-CN 请零三号取餐"]


async def test_the_waiting_are_counted(canteen: Canteen, board: Board) -> None:
    for number in range(1, 6):
        canteen.happen("ticket.issued", number)
    await board.open()
    await board.has("document.querySelector('.waiting-count').textContent === '5'")

    canteen.happen("ticket.issued", 6)
    canteen.happen("ticket.noted", 6)
    canteen.call(1, 2)

    await board.has("document.querySelector('.waiting-count').textContent === '4'")


async def test_events_without_meaning_for_a_board_only_move_its_seq(
    canteen: Canteen, board: Board
) -> None:
    await board.open()
    await board.link_is("live")
    canteen.call(39)

    canteen.happen("stall.quiet")
    canteen.happen("ticket.imagined_later")
    canteen.call(40)

    await board.shows(40, 39)
    assert canteen.subscriptions.qsize() == 1


async def test_two_stalls_stand_side_by_side_and_are_named_when_called(
    canteen: Canteen, board: Board
) -> None:
    await board.open("stall=7&stall=8&lang=zh")
    await board.link_is("live")

    canteen.call(39, stall=7)
    canteen.call(39, stall=8)

    await board.shows(39, stall=7)
    await board.shows(39, stall=8)
    assert await board.spoken(2) == [
        "zh-CN 兰州拉面，请三九号取餐",
        "zh-CN 川味小炒，请三九号取餐",
    ]


async def test_english_is_shown_and_spoken_when_asked_for(canteen: Canteen, board: Board) -> None:
    await board.open("stall=7&lang=en")
    await board.link_is("live")

    canteen.call(39)

    assert await board.spoken(1) == ["en-GB number three nine, please collect"]
    assert await board.text(".hero-label") == "Please collect"
    assert await board.text("#link-text") == "Live"


async def test_a_name_with_markup_is_only_text(canteen: Canteen, board: Board) -> None:
    evil = '<img src=x onerror="window.hurt=1"><script>window.hurt=1</script>'
    canteen.stalls[7].name = evil
    await board.open("stall=7&stall=8&lang=zh")
    await board.link_is("live")

    canteen.happen("stall.changed")
    canteen.call(39)

    assert (await board.spoken(1))[0].startswith(f"zh-CN {evil}")
    assert await board.text("[data-stall='7'] .stall-name") == evil
    assert await board.ask("document.querySelectorAll('main img, main script').length") == 0
    assert await board.ask("window.hurt") is None


async def test_a_new_name_of_the_stall_arrives(canteen: Canteen, board: Board) -> None:
    await board.open()
    await board.link_is("live")

    canteen.stalls[7].name = "西北面馆"
    canteen.happen("stall.changed")

    await board.has("document.getElementById('title').textContent === '西北面馆'")


async def test_without_a_stall_the_board_offers_those_there_are(
    canteen: Canteen, board: Board
) -> None:
    await board.open("lang=zh")

    await board.page.get_by_role("link", name="川味小炒").click()

    await board.link_is("live")
    assert await board.text("#title") == "川味小炒"


async def test_an_unknown_stall_is_said_to_be_unknown(canteen: Canteen, board: Board) -> None:
    await board.open("stall=99&lang=zh")

    await board.has("document.querySelector('.stall-state').textContent === '没有这个档口'")


@pytest.mark.parametrize("size", [(1920, 1080), (1366, 768), (1080, 1920), (768, 1366)])
@pytest.mark.parametrize("query", ["stall=7&lang=zh", "stall=7&stall=8&lang=en"])
async def test_everything_fits_on_the_screen(
    canteen: Canteen, board: Board, size: tuple[int, int], query: str
) -> None:
    canteen.call(*range(1, 30))
    canteen.call(*range(60, 64), stall=8)
    await board.page.set_viewport_size({"width": size[0], "height": size[1]})

    await board.open(query)
    await board.link_is("live")

    outside = await board.ask(
        """[...document.querySelectorAll("header, .hero, .hero *, .call, .call *, footer *")]
        .filter((node) => {
          const box = node.getBoundingClientRect();
          return box.right > innerWidth || box.bottom > innerHeight || box.left < 0 || box.top < 0;
        }).map((node) => node.className)"""
    )
    cut_off = await board.ask(
        """[...document.querySelectorAll(".hero > *, .call > *")]
        .filter((node) => node.offsetParent).filter((node) => {
          const [inner, outer] = [node, node.parentNode].map((n) => n.getBoundingClientRect());
          return inner.top < outer.top || inner.bottom > outer.bottom
            || inner.left < outer.left || inner.right > outer.right;
        }).map((node) => `${node.className} ${node.innerText}`)"""
    )
    assert outside == []
    assert cut_off == []
    assert await board.ask("document.querySelectorAll('[data-stall=\"7\"] .call').length") == 20
