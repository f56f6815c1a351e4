"""The front page."""

import pytest

from tests.board.canteen import Canteen
from tests.board.conftest import Board

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]


async def test_the_front_page_leads_to_the_board_of_each_stall(
    canteen: Canteen, board: Board
) -> None:
    await board.page.goto(f"{canteen.address}/?lang=zh")

    await board.page.get_by_role("link", name="兰州拉面").click()

    await board.link_is("live")
    assert await board.text("#title") == "兰州拉面"


async def test_the_front_page_names_what_the_server_offers(canteen: Canteen, board: Board) -> None:
    await board.page.goto(f"{canteen.address}/?lang=en")
    await board.has("document.getElementById('health').dataset.state === 'healthy'")

    links = await board.ask("[...document.querySelectorAll('.links a')].map((a) => a.pathname)")

    assert {"/board/", "/h5/renew/", "/docs", "/metrics", "/healthz", "/readyz"} <= set(links)
    assert "/api/v1/openapi.json" in links
    assert await board.text("h1") == "Take a number, be called"
    assert await board.text("#health-text") == "The server is ready"


async def test_every_sentence_of_the_front_page_is_in_english_too(
    canteen: Canteen, board: Board
) -> None:
    canteen.stalls.clear()
    await board.page.goto(f"{canteen.address}/?lang=en")
    await board.has("document.getElementById('stalls-note').textContent !== ''")

    main = await board.text("main")

    assert not any("\u4e00" <= letter <= "\u9fff" for letter in main)


async def test_a_stall_name_with_markup_is_only_text(canteen: Canteen, board: Board) -> None:
    canteen.stalls[7].name = '<img src=x onerror="window.hurt=1">'

    await board.page.goto(f"{canteen.address}/")
    await board.has("document.querySelectorAll('#stalls li').length === 2")

    assert await board.ask("document.querySelectorAll('#stalls img').length") == 0
    assert await board.ask("window.hurt") is None


@pytest.mark.parametrize("width", [360, 768, 1366])
async def test_the_front_page_fits_its_window(canteen: Canteen, board: Board, width: int) -> None:
    await board.page.set_viewport_size({"width": width, "height": 800})

    await board.page.goto(f"{canteen.address}/?lang=en")
    await board.has("document.querySelectorAll('#stalls li').length === 2")

    assert await board.ask("document.documentElement.scrollWidth <= innerWidth")
