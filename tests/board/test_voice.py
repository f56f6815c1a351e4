"""The queue of announcements: in order, bounded, and never held up by a voice."""

import itertools
from typing import Any

import pytest

from tests.board.canteen import Canteen
from tests.board.conftest import Board

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]


def overlapping(clips: list[dict[str, Any]]) -> list[dict[str, Any]]:
    pairs = itertools.pairwise(clips)
    return [later for earlier, later in pairs if later["at"] < earlier["until"]]


async def test_speech_that_never_answers_gives_way_to_recorded_words(
    canteen: Canteen, board: Board
) -> None:
    await board.page.clock.install()
    await board.open(speech="stalls")
    await board.link_is("live")

    canteen.call(39, 7)
    await board.spoken(1)
    await board.page.clock.fast_forward(4_500)
    await board.has("clips.length >= 10")

    assert overlapping(await board.ask("clips")) == []
    assert await board.ask("spoken.length") == 1  # not tried again for a minute
    assert await board.text("#voice-text") == "录音播报"


async def test_speech_that_begins_and_never_ends_holds_nothing_up(
    canteen: Canteen, board: Board
) -> None:
    await board.page.clock.install()
    await board.open(speech="begins")
    await board.link_is("live")

    canteen.call(39, 7)
    await board.spoken(1)
    await board.page.clock.run_for(8_500)

    assert await board.spoken(2) == ["zh-CN 请三九号取餐", "zh-CN 请零七号取餐"]
    assert await board.ask("clips.length") == 0  # it was heard: not said a second time
    assert await board.ask("overlaps") == 0


async def test_without_speech_the_recorded_words_say_it(canteen: Canteen, board: Board) -> None:
    await board.open(speech="fails")
    await board.link_is("live")

    canteen.call(39, 7)
    await board.has("clips.length === 10")  # 请 三 九 号 取餐, 请 零 七 号 取餐

    assert overlapping(await board.ask("clips")) == []


async def test_without_recorded_words_a_chime_sounds(canteen: Canteen, board: Board) -> None:
    await board.context.route("**/voice/**", lambda route: route.abort())
    await board.open(speech="fails")
    await board.link_is("live")

    canteen.call(39)

    await board.has("chimes === 2")
    await board.has("document.getElementById('voice-text').textContent === '提示音'")


@pytest.mark.parametrize(
    ("voice", "heard"),
    [
        ("speech", "spoken.length === 1"),
        ("clips", "clips.length === 5"),
        ("chime", "chimes === 2"),
    ],
)
async def test_a_voice_can_be_chosen(
    canteen: Canteen, board: Board, voice: str, heard: str
) -> None:
    await board.open(f"stall=7&lang=zh&voice={voice}")
    await board.link_is("live")

    canteen.call(39)

    await board.has(heard)
    tried = [await board.ask(f"{name} > 0") for name in ("spoken.length", "clips.length", "chimes")]
    assert tried.count(True) == 1


async def test_a_muted_board_shows_and_is_silent(canteen: Canteen, untouched_board: Board) -> None:
    board = untouched_board
    await board.open("stall=7&lang=zh&voice=off")
    await board.link_is("live")

    canteen.call(39, 7)

    await board.shows(7, 39)
    await board.has("document.getElementById('spoken').textContent === '请零七号取餐'")
    assert await board.ask("[spoken.length, clips.length, chimes]") == [0, 0, 0]
    assert await board.text("#voice-text") == "静音"
    assert await board.page.locator("#banner").is_hidden()


async def test_a_blocked_board_goes_on_visually_until_it_is_touched(
    canteen: Canteen, untouched_board: Board
) -> None:
    board = untouched_board
    await board.open(speech="fails")
    await board.link_is("live")
    await board.has("!document.getElementById('banner').hidden")
    banner = await board.text("#banner")

    canteen.call(39, 7)
    await board.shows(7, 39)
    await board.has("JSON.parse(localStorage['callme.board.stall:7']).unsaid.length === 0")
    silent = await board.ask("[clips.length, chimes]")
    await board.page.mouse.click(200, 200)
    await board.has("document.getElementById('banner').hidden")
    canteen.call(12)

    assert banner == "轻触屏幕，打开叫号声音"
    assert silent == [0, 0]
    await board.has("clips.length === 5")


async def test_in_a_rush_each_number_is_said_once_as_its_newest_call(
    canteen: Canteen, board: Board
) -> None:
    await board.open()
    await board.link_is("live")

    for _ in range(4):
        canteen.call(1, 2, 3)
    canteen.call(4)
    await board.has("spoken.length > 0 && spoken.at(-1).includes('零四')")

    said = await board.ask("spoken")
    assert len(said) <= 9
    assert await board.ask("overlaps") == 0
    await board.has("JSON.parse(localStorage['callme.board.stall:7']).unsaid.length === 0")


async def test_the_number_being_spoken_is_marked(canteen: Canteen, board: Board) -> None:
    await board.open(speech="begins")
    await board.link_is("live")

    canteen.call(39, 7)

    await board.has("document.querySelector('.call.is-spoken')?.textContent.startsWith('39')")
    assert await board.ask("document.querySelector('.hero').matches('.is-spoken')") is False


async def test_no_recorded_word_is_missing_or_heavy(canteen: Canteen, board: Board) -> None:
    await board.open("stall=7&lang=en&voice=clips")
    await board.link_is("live")

    canteen.call(10, 23, 45, 67, 89)

    await board.has("clips.length === 20")  # number x x, please collect
    assert overlapping(await board.ask("clips")) == []
