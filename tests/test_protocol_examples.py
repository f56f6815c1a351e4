"""docs/protocol.md shows stories of tests/wire/, and the server behaves as they tell."""

import json
import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from queueing.model import Actor
from server.app import App
from simulators.wechat import WeChat
from tests import stories
from tests.clock import Clock
from tests.edge.money import pay_settings

PAGE = Path(__file__).parent.parent / "docs" / "protocol.md"
BLOCK = re.compile(r"<!-- tests/wire/([a-z_]+)\.json -->\n+```text\n(.*?)\n```", re.DOTALL)


@pytest.fixture
def settings(settings: dict[str, str], wechat: WeChat) -> dict[str, str]:
    """With WeChat Pay, and a second administrator to approve what the first one asks for."""
    admins = {"CALLME_QUEUE__ADMIN_OPENIDS": "admin-li,admin-zhao"}
    return {**settings, **pay_settings(wechat), **admins}


@pytest.fixture
async def stage(app: App, clock: Clock) -> AsyncIterator[stories.Stage]:
    """A server with one stall, 兰州拉面, with six months left and nobody signed up."""
    values = {"name": "兰州拉面", "phone": "13800000001", "menu": ("牛肉拉面", "刀削面")}
    await app.stalls.create(values, months=6, by=Actor("admin"))
    # WeChat is asked, and given refunds, when a story says so.
    await app.settling.stop()
    stage = stories.Stage(app, clock)
    yield stage
    stage.leave()


@pytest.mark.parametrize("name", stories.names())
async def test_the_server_tells_the_story(name: str, stage: stories.Stage) -> None:
    steps = stories.read("sign_up") if name != "sign_up" else []

    await stage.play(steps + stories.read(name))


def test_the_page_shows_every_story_and_no_other() -> None:
    shown = dict(BLOCK.findall(PAGE.read_text("utf-8")))

    assert shown == {name: stories.as_text(stories.read(name)) for name in stories.names()}


def test_every_frame_on_the_page_belongs_to_a_story() -> None:
    rest = BLOCK.sub("", PAGE.read_text("utf-8"))

    stray = [line for line in rest.splitlines() if re.match(r"\w[\w ]* [→←] \{", line)]

    assert stray == []


@pytest.mark.parametrize("name", stories.names())
def test_a_story_has_one_step_a_line(name: str) -> None:
    lines = [json.dumps(step, ensure_ascii=False) for step in stories.read(name)]

    assert (stories.WIRE / f"{name}.json").read_text("utf-8") == "[\n" + ",\n".join(lines) + "\n]\n"
