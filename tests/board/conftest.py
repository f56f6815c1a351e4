"""Chromium, a scripted canteen, and boards that look at it."""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest_asyncio
from playwright.async_api import Browser, BrowserContext, Page, async_playwright

from tests.board.canteen import Canteen

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--no-first-run",
    "--mute-audio",
]
SOUND_AT_ONCE = "--autoplay-policy=no-user-gesture-required"
SOUND_AFTER_A_TOUCH = "--autoplay-policy=document-user-activation-required"

# The page's speech engine and clip player, with a record of what they were asked to do.
# window.speech: "speaks", "stalls" (never tells anything), "begins" (tells no end), "fails".
RECORDER = """
window.speech = new URL(location.href).hash.slice(1) || "speaks";
window.spoken = [];
window.overlaps = 0;
window.clips = [];
window.chimes = 0;
{
  let current = null;
  const tell = (spoken, name) => current === spoken && spoken[name]?.({});
  const engine = Object.assign(new EventTarget(), {
    paused: false,
    getVoices: () => ["zh-HK", "zh-CN", "en-GB"].map((lang) => ({ lang, localService: true })),
    cancel: () => (current = null),
    resume: () => {},
    speak: (spoken) => {
      if (current) window.overlaps += 1;
      current = spoken;
      window.spoken.push(`${spoken.voice.lang} ${spoken.text}`);
      if (window.speech === "stalls") return;
      if (window.speech === "fails") {
        current = null;
        return spoken.onerror({ error: "synthesis-failed" });
      }
      setTimeout(() => tell(spoken, "onstart"), 5);
      if (window.speech === "begins") return;
      setTimeout(() => {
        const wasCurrent = current === spoken;
        if (wasCurrent) current = null;
        if (wasCurrent) spoken.onend({});
      }, 30);
    },
  });
  Object.defineProperty(window, "speechSynthesis", { value: engine });
  window.SpeechSynthesisUtterance = class {
    constructor(text) {
      this.text = text;
    }
  };
  const play = AudioBufferSourceNode.prototype.start;
  AudioBufferSourceNode.prototype.start = function (at) {
    window.clips.push({ at, until: at + this.buffer.duration });
    return play.call(this, at);
  };
  const ring = OscillatorNode.prototype.start;
  OscillatorNode.prototype.start = function (at) {
    window.chimes += 1;
    return ring.call(this, at);
  };
}
"""

# Whatever Playwright evaluates counts as a user's gesture, so the browser's own rule (no
# resume before a touch) has to be kept up by hand.
NO_SOUND_BEFORE_A_TOUCH = """
{
  let isTouched = false;
  addEventListener("pointerdown", (event) => (isTouched ||= event.isTrusted), true);
  const resume = AudioContext.prototype.resume;
  AudioContext.prototype.resume = function () {
    return isTouched ? resume.call(this) : new Promise(() => {});
  };
}
"""


class Board:
    """A board in a browser of its own; `open` again in the same one is a reboot."""

    def __init__(self, context: BrowserContext, page: Page, address: str) -> None:
        self.context = context
        self.page = page
        self.address = address
        self.faults: list[str] = []
        page.on("pageerror", lambda error: self.faults.append(str(error)))
        page.on("console", lambda message: self._hear(message.text))

    def _hear(self, text: str) -> None:
        if "Content Security Policy" in text:
            self.faults.append(text)

    async def open(self, query: str = "stall=7&lang=zh", speech: str = "speaks") -> None:
        await self.page.goto("about:blank")
        await self.page.goto(f"{self.address}/board/?{query}#{speech}")

    async def shows(self, *numbers: int, stall: int = 7) -> None:
        """Wait until exactly these numbers are shown, the newest call first."""
        await self.page.wait_for_function(
            """([stall, numbers]) => {
              const panel = document.querySelector(`[data-stall="${stall}"]`);
              const shown = panel.querySelectorAll(
                ".hero:not(.is-idle) .hero-number, .call-number");
              return [...shown].map((node) => node.textContent).join() === numbers.join();
            }""",
            arg=[stall, [f"{number:02}" for number in numbers]],
        )

    async def link_is(self, state: str) -> None:
        await self.page.wait_for_function(
            "(state) => document.documentElement.dataset.link === state", arg=state
        )

    async def has(self, expression: str) -> None:
        """Wait until a JavaScript expression is true in the page."""
        await self.page.wait_for_function(f"() => ({expression})")

    async def spoken(self, count: int) -> list[str]:
        """Wait until that many announcements were begun, and return them."""
        await self.page.wait_for_function("(count) => spoken.length >= count", arg=count)
        said: list[str] = await self.page.evaluate("spoken")
        return said

    async def text(self, selector: str) -> str:
        return (await self.page.locator(selector).first.inner_text()).strip()

    async def ask(self, expression: str) -> Any:
        return await self.page.evaluate(expression)


OpenBoard = Callable[..., Awaitable[Board]]


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def browser() -> AsyncIterator[Browser]:
    async with async_playwright() as playwright:
        yield await playwright.chromium.launch(
            executable_path="/usr/bin/chromium", args=[*FLAGS, SOUND_AT_ONCE]
        )


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def quiet_browser() -> AsyncIterator[Browser]:
    """A browser as it comes: no sound before somebody touches the page."""
    async with async_playwright() as playwright:
        yield await playwright.chromium.launch(
            executable_path="/usr/bin/chromium", args=[*FLAGS, SOUND_AFTER_A_TOUCH]
        )


@pytest_asyncio.fixture(loop_scope="session")
async def canteen() -> AsyncIterator[Canteen]:
    canteen = Canteen("兰州拉面", "川味小炒")
    yield canteen
    await canteen.close()


@pytest_asyncio.fixture(loop_scope="session")
async def board(browser: Browser, canteen: Canteen) -> AsyncIterator[Board]:
    async for board in looking_at(browser, canteen):
        yield board


@pytest_asyncio.fixture(loop_scope="session")
async def untouched_board(quiet_browser: Browser, canteen: Canteen) -> AsyncIterator[Board]:
    async for board in looking_at(quiet_browser, canteen):
        await board.context.add_init_script(NO_SOUND_BEFORE_A_TOUCH)
        yield board


async def looking_at(browser: Browser, canteen: Canteen) -> AsyncIterator[Board]:
    context = await browser.new_context(viewport={"width": 1366, "height": 768})
    context.set_default_timeout(20_000)
    await context.add_init_script(RECORDER)
    board = Board(context, await context.new_page(), canteen.address)
    yield board
    await context.close()
    assert board.faults == []
