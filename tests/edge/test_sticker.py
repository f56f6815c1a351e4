"""Where a sticker leads: an ordinary scanner gets a page, and no door opens from it."""

import re
from urllib.parse import urlsplit

import pytest
from playwright.async_api import async_playwright, expect

from tests.board.conftest import FLAGS
from tests.edge.web import Web
from tests.edge.world import World

# What stands there until the server has answered.
ASKING = re.compile(r"^(正在查询…|Asking…|)$")


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    return sqlite_url


async def test_a_sticker_leads_to_a_page_that_opens_nothing(world: World, web: Web) -> None:
    device = await world.street.device("A")
    sticker = urlsplit(world.street.sticker(device, 2))
    before = await world.rows()

    found = await web.ask("GET", f"{sticker.path}?{sticker.query}")
    script = await web.ask("GET", f"{sticker.path}cabinet.js")
    label = await web.ask("GET", f"/api/v1/cabinets/{sticker.query.removeprefix('c=')}")

    assert (found.status, script.status) == (200, 200)
    page = found.body.decode()
    assert "cabinet.js" in page
    assert "智能柜" in page
    assert "小程序" in page
    assert label.json == {
        "kind": "door",
        "name": device.name,
        "store_name": "store A",
        "door_no": 2,
    }
    assert await world.rows() == before
    folder = await web.ask("GET", f"/h5/cabinet?{sticker.query}")
    assert folder.status in {301, 302, 308}
    assert folder.header("location").endswith(f"/h5/cabinet/?{sticker.query}")


@pytest.mark.browser
async def test_the_page_names_the_cabinet_in_both_languages(world: World) -> None:
    device = await world.street.device("A")
    sticker = urlsplit(world.street.sticker(device, 2))
    of_store = urlsplit(world.app.cabinets.fleet.qr.store(world.street.stores["A"]))
    address = f"http://127.0.0.1:{world.app.port}/h5/cabinet/"
    faults: list[str] = []

    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path="/usr/bin/chromium", args=FLAGS)
        page = await browser.new_page(locale="zh-CN")
        page.on("pageerror", lambda error: faults.append(str(error)))
        said = []
        for query in (sticker.query, f"{of_store.query}&lang=en", "c=C1.S.1.x&lang=zh", ""):
            await page.goto(f"{address}?{query}")
            # Not by a function of ours: the page's policy lets nobody evaluate a text.
            await expect(page.locator("#cabinet")).not_to_have_text(ASKING)
            said.append(await page.text_content("#cabinet"))
        await page.goto(f"{address}?{sticker.query}&lang=en")
        english = await page.text_content("main section") or ""
        await page.click("nav [lang=zh-CN]")
        await expect(page.locator("#cabinet")).to_contain_text("门")
        title = await page.title()
        await browser.close()

    assert said[0] == f"store A · {device.name}，2 号门"
    assert said[1] == "store A: choose a cabinet in the mini-program."
    assert said[2] == said[3] == "这个码已经作废，或者不是我们的。请找工作人员。"
    assert "opens no door" in english
    assert not any("\u4e00" <= letter <= "\u9fff" for letter in english.partition("显示柜子")[0])
    assert title == "这是智能柜的二维码"
    assert faults == []
