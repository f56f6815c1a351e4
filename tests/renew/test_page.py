"""The page itself: its build, its policy, its languages, its widths."""

import re
from pathlib import Path

import pytest

from tests.board.canteen import WEB
from tests.renew.conftest import Seller
from tests.renew.till import Till

browser_test = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]
PAGES = sorted((WEB / "h5").rglob("index.html"))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.parent.name))
def test_nothing_is_inline_and_nothing_comes_from_elsewhere(page: Path) -> None:
    source = page.read_text(encoding="utf-8")

    assert not re.search(r"<style|\sstyle=|\son\w+=|javascript:|data:|https?://", source)
    assert all("src=" in tag for tag in re.findall(r"<script[^>]*>", source))


def test_every_sentence_has_both_languages() -> None:
    words = (WEB.parent / "clients" / "renew" / "words.js").read_text(encoding="utf-8")
    page = (WEB.parent / "clients" / "renew" / "index.html").read_text(encoding="utf-8")
    chinese, english = words.split("\n  en: {\n")
    keys = re.compile(r'^    (?:  )?"?([\w.-]+)"?:', re.MULTILINE)
    in_page = set(re.findall(r'data-text="(\w+)"', page))

    translated = set(re.findall(r"^      (\w+):", english.split("\n    },")[0], re.MULTILINE))
    told = set(keys.findall(english.split("\n    },", 1)[1]))

    assert in_page == translated
    assert set(keys.findall(chinese)) == told


class TestInChromium:
    pytestmark = browser_test

    async def test_an_address_without_its_slash_keeps_the_code(
        self, till: Till, seller: Seller
    ) -> None:
        await seller.page.goto(f"{till.address}/h5/renew?lang=zh&code=good")

        await seller.is_at("choose")

    async def test_the_index_of_h5_leads_to_the_page(self, till: Till, seller: Seller) -> None:
        await seller.page.goto(f"{till.address}/h5/")

        await seller.page.get_by_role("link", name="档口续费").click()

        await seller.is_at("sign-in")

    async def test_in_english_nothing_is_left_in_chinese(self, till: Till, seller: Seller) -> None:
        assert till.stall is not None
        till.stall |= {"name": "Noodles", "person": "Wang"}
        seen = []
        await seller.open("lang=en")
        seen.append(await seller.text("body"))
        await seller.sign_in(lang="en")
        seen.append(await seller.text("body"))
        await seller.press("Pay ¥90.00 with WeChat")
        await seller.sees_qr()
        seen.append(await seller.text("body"))
        till.pay()
        await seller.sees("2 → 5 months")
        seen.append(await seller.text("body"))

        shown = "".join(seen).replace("中文", "")
        assert re.findall("[\u3000-\u9fff]+", shown) == []
        assert await seller.ask("document.documentElement.lang") == "en-GB"

    async def test_a_stall_name_with_markup_is_only_text(self, till: Till, seller: Seller) -> None:
        assert till.stall is not None
        till.stall["name"] = '<img src=x onerror="window.hurt=1">'

        await seller.order()

        assert await seller.ask("document.querySelectorAll('main img').length") == 1
        assert await seller.ask("window.hurt") is None

    @pytest.mark.parametrize("width", [320, 768, 1366])
    async def test_every_view_fits_its_window(self, till: Till, seller: Seller, width: int) -> None:
        fits = "document.documentElement.scrollWidth <= innerWidth"
        await seller.page.set_viewport_size({"width": width, "height": 800})
        await seller.open("lang=en")
        assert await seller.ask(fits)
        await seller.sign_in(lang="en")
        assert await seller.ask(fits)
        await seller.press("Pay ¥90.00 with WeChat")
        await seller.sees_qr()
        assert await seller.ask(fits)
        till.pay()
        await seller.sees("2 → 5 months")
        assert await seller.ask(fits)

    @pytest.mark.parametrize(("width", "is_told"), [(390, True), (1366, False)])
    async def test_a_phone_is_told_that_it_cannot_scan_itself(
        self, seller: Seller, width: int, is_told: bool
    ) -> None:
        await seller.page.set_viewport_size({"width": width, "height": 800})

        await seller.order()

        told = seller.page.get_by_text("手机扫不了自己的屏幕")
        assert await told.is_visible() == is_told
