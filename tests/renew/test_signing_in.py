"""How a seller comes in, and what is left behind when they go."""

import pytest

from tests.renew.conftest import Seller
from tests.renew.till import Till

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]


async def test_a_typed_code_opens_the_sellers_own_stall(till: Till, seller: Seller) -> None:
    await seller.open()

    await seller.page.get_by_label("登录码").fill(" good ")
    await seller.page.keyboard.press("Enter")

    await seller.is_at("choose")
    assert await seller.text("#stall-name") == "兰州拉面"
    assert await seller.text("#balance-months") == "2"
    assert till.count("POST /api/v1/sessions") == 1


async def test_a_code_in_the_address_signs_in_and_leaves_the_address(seller: Seller) -> None:
    await seller.open("lang=zh&code=good")

    await seller.is_at("choose")
    assert seller.page.url.endswith("/h5/renew/?lang=zh")
    assert await seller.ask("history.length") <= 2


async def test_a_refused_code_leaves_the_address_too_and_stays_in_its_field(seller: Seller) -> None:
    await seller.open("lang=zh&code=used")

    await seller.sees("微信不认这个登录码")
    assert "used" not in seller.page.url
    assert await seller.page.get_by_label("登录码").input_value() == "used"
    assert await seller.ask("document.activeElement.id") == "code"


async def test_the_token_is_kept_in_this_tab_only(till: Till, seller: Seller) -> None:
    await seller.sign_in()

    await seller.page.reload()
    await seller.is_at("choose")
    other = await seller.context.new_page()
    await other.goto(f"{till.address}/h5/renew/")

    await other.locator("#sign-in").wait_for(state="visible")
    assert till.count("POST /api/v1/sessions") == 1
    assert await seller.ask("[localStorage.length, document.cookie]") == [0, ""]


async def test_pressing_twice_uses_the_code_once(till: Till, seller: Seller) -> None:
    await seller.open()
    await seller.page.get_by_label("登录码").fill("good")

    await seller.page.locator("#sign-in-button").dblclick()

    await seller.is_at("choose")
    assert till.count("POST /api/v1/sessions") == 1


async def test_no_code_is_not_sent(till: Till, seller: Seller) -> None:
    await seller.open()

    await seller.press("登录")

    await seller.sees("请填登录码。")
    assert till.count("POST") == 0


async def test_a_sign_in_without_network_is_told_and_can_be_repeated(
    till: Till, seller: Seller
) -> None:
    till.is_away = True
    await seller.open("lang=zh&code=good")
    await seller.sees("网络不通，请再试一次。")

    till.is_away = False
    await seller.press("登录")

    await seller.is_at("choose")


@pytest.mark.parametrize(
    ("status", "code", "words"),
    [
        (403, "forbidden", "这个账号不是卖家"),
        (404, "stall.not_found", "这个账号还没有档口"),
        (500, "internal", "没有办成（internal）"),
    ],
)
async def test_a_stall_that_cannot_be_had_is_told_in_words(
    till: Till, seller: Seller, status: int, code: str, words: str
) -> None:
    till.refuse("GET /api/v1/sellers/me/stall", status, code)
    await seller.open("lang=zh&code=good")
    await seller.sees(words)

    till.allow()
    await seller.press("再试一次")

    await seller.is_at("choose")


async def test_the_stall_is_asked_for_until_the_network_is_back(till: Till, seller: Seller) -> None:
    await seller.sign_in()
    till.is_away = True
    await seller.page.reload()
    await seller.sees("网络断了")

    till.is_away = False

    await seller.is_at("choose")
    assert await seller.text("#network") == ""


async def test_signing_out_ends_the_session_and_forgets_the_order(
    till: Till, seller: Seller
) -> None:
    await seller.order()

    async with seller.page.expect_response("**/sessions/current"):
        await seller.press("退出")

    await seller.is_at("sign-in")
    assert till.tokens == set()
    assert await seller.ask("sessionStorage.length") == 0


async def test_a_session_that_has_ended_asks_for_a_new_one(till: Till, seller: Seller) -> None:
    await seller.sign_in()
    till.tokens.clear()

    await seller.page.reload()

    await seller.sees("登录已过期")
    await seller.is_at("sign-in")
