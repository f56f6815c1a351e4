"""Chromium, a scripted till, and a seller who looks at the renewal page."""

from collections.abc import AsyncIterator
from typing import Any

import pytest_asyncio
from playwright.async_api import Browser, BrowserContext, Locator, Page, async_playwright

from tests.board.conftest import FLAGS
from tests.renew.till import Till


class Seller:
    """A seller's browser. `sees` and its like wait until it is so."""

    def __init__(self, context: BrowserContext, page: Page, till: Till) -> None:
        self.context = context
        self.page = page
        self.till = till
        self.faults: list[str] = []
        page.on("pageerror", lambda error: self.faults.append(str(error)))
        page.on("console", lambda message: self._hear(message.text))

    def _hear(self, text: str) -> None:
        if "Content Security Policy" in text:
            self.faults.append(text)

    async def open(self, query: str = "lang=zh") -> None:
        await self.page.goto(f"{self.till.address}/h5/renew/?{query}")

    async def sign_in(self, code: str = "good", lang: str = "zh") -> None:
        await self.open(f"lang={lang}&code={code}")
        await self.is_at("choose")

    async def order(self, months: int = 3) -> None:
        """Signs in, chooses and presses; returns when the QR code is seen."""
        await self.sign_in()
        await self.page.locator(f'input[value="{months}"]').check()
        await self.press("微信支付")
        await self.sees_qr()

    async def is_at(self, view: str) -> None:
        await self.page.locator(f"#{view}").wait_for(state="visible")

    async def press(self, name: str) -> None:
        await self.button(name).click()

    def button(self, name: str) -> Locator:
        return self.page.get_by_role("button", name=name)

    async def sees(self, text: str) -> None:
        await self.page.get_by_text(text).locator("visible=true").first.wait_for()

    async def sees_qr(self) -> None:
        await self.has("document.getElementById('qr').naturalWidth > 100")
        await self.page.locator("#qr").wait_for(state="visible")

    async def has(self, expression: str) -> None:
        """Wait until a JavaScript expression is true in the page."""
        await self.page.wait_for_function(f"() => ({expression})")

    async def text(self, selector: str) -> str:
        return (await self.page.locator(selector).first.inner_text()).strip()

    async def ask(self, expression: str) -> Any:
        return await self.page.evaluate(expression)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def browser() -> AsyncIterator[Browser]:
    async with async_playwright() as playwright:
        yield await playwright.chromium.launch(executable_path="/usr/bin/chromium", args=FLAGS)


@pytest_asyncio.fixture(loop_scope="session")
async def till() -> AsyncIterator[Till]:
    till = Till()
    yield till
    await till.close()


@pytest_asyncio.fixture(loop_scope="session")
async def seller(browser: Browser, till: Till) -> AsyncIterator[Seller]:
    context = await browser.new_context(viewport={"width": 1100, "height": 900})
    context.set_default_timeout(20_000)
    seller = Seller(context, await context.new_page(), till)
    yield seller
    await context.close()
    assert seller.faults == []
