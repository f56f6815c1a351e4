"""docs/protocol.md shows stories of tests/wire/, and the server behaves as they tell."""

import json
import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from queueing.model import Actor
from server.app import App
from simulators.erp import Erp
from simulators.wechat import WeChat
from simulators.wechat.pay.merchant import SERVICE_ID
from simulators.xiaomai import Xiaomai
from tests import stories
from tests.clock import Clock
from tests.edge.money import pay_settings
from tests.edge.street import street_settings
from tests.servers import free_port
from tests.street_stories import Street

PAGE = Path(__file__).parent.parent / "docs" / "protocol.md"
BLOCK = re.compile(r"<!-- tests/wire/([a-z_]+)\.json -->\n+```text\n(.*?)\n```", re.DOTALL)


@pytest.fixture
def settings(
    settings: dict[str, str], wechat: WeChat, platform: Xiaomai, erp: Erp
) -> dict[str, str]:
    """With WeChat Pay, and a second administrator to approve what the first one asks for.

    The port is known before, for WeChat's notices come to it.
    """
    admins = {"CALLME_QUEUE__ADMIN_OPENIDS": "admin-li,admin-zhao"}
    port = free_port()
    here = {
        "CALLME_SERVER__PORT": str(port),
        "CALLME_WECHATPAY__NOTIFY_BASE": f"http://127.0.0.1:{port}",
        "CALLME_WECHATPAY__PAYSCORE_SERVICE_ID": SERVICE_ID,
    }
    cabinets = street_settings(platform, erp)
    return {**settings, **pay_settings(wechat), **admins, **here, **cabinets}


@pytest.fixture
async def platform(clock: Clock) -> AsyncIterator[Xiaomai]:
    sim = Xiaomai(clock.now() / 1000)
    await sim.start()
    yield sim
    await sim.stop()


@pytest.fixture
async def erp(clock: Clock) -> AsyncIterator[Erp]:
    sim = Erp(clock.now() / 1000)
    await sim.start()
    yield sim
    await sim.stop()


@pytest.fixture
async def stage(
    name: str, app: App, clock: Clock, platform: Xiaomai, wechat: WeChat
) -> AsyncIterator[stories.Stage]:
    """A server with one stall, 兰州拉面, with six months left and nobody signed up; or with a
    cabinet, where the story is of one.
    """
    if name.startswith("cabinet"):
        street = Street(app, platform, wechat)
        await street.open(is_filled=name != "cabinet_setup")
        stage = stories.Stage(app, clock, street)
        yield stage
        stage.leave()
        return
    values = {"name": "兰州拉面", "phone": "13800000001", "menu": ("牛肉拉面", "刀削面")}
    await app.stalls.create(values, months=6, by=Actor("admin"))
    # WeChat is asked, and given refunds, when a story says so.
    await app.settling.stop()
    stage = stories.Stage(app, clock)
    yield stage
    stage.leave()


@pytest.mark.parametrize("name", stories.names())
async def test_the_server_tells_the_story(name: str, stage: stories.Stage) -> None:
    is_of_numbers = name != "sign_up" and not name.startswith("cabinet")
    steps = stories.read("sign_up") if is_of_numbers else []

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
